"""DROID-style folders: a JSON file an episode (`annotation/`), an mp4 file a camera (`videos/`)."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float32, UInt8

from roboscape.core.files import read_json
from roboscape.core.video import iterate_video, write_video
from roboscape.dataset.records import (
    FIRST_TEST_SEED,
    FIRST_VALIDATION_SEED,
    ActionConvention,
    CameraSpec,
    DatasetSpec,
    Episode,
)
from roboscape.sources.readers.protocol import SPLIT_UNSAID

CAMERAS = ("exterior_1", "exterior_2", "wrist")
"""DROID's three views, in the order of its videos; others are named by their number."""
POSE_NAMES = ("eef_x", "eef_y", "eef_z", "eef_rx", "eef_ry", "eef_rz")
ROTATION_X = 3
SPLIT_SEEDS = {"train": 0, "val": FIRST_VALIDATION_SEED, "test": FIRST_TEST_SEED}
"""Of an annotation in a folder of this name; one that lies in `annotation` itself says none."""


class DroidRecordings:
    """Teleoperated episodes of a Franka arm.

    The recordings hold poses, no commands: the action of a row is the pose of the next row (of the
    last row its own), which is how models of this data are driven. Rotation about x is kept in
    [0, 2 pi): the hand points down, near pi, where [-pi, pi) would jump all the time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def spec(self) -> DatasetSpec:
        """From the first annotation and the headers of its videos."""
        return self._spec

    def keys(self) -> list[str]:
        """Paths of the annotations within `annotation`, without `.json`."""
        return list(self._annotations)

    def read(self, key: str, *, cameras: tuple[str, ...] | None = None) -> Episode:
        """One episode: poses from the annotation, frames from the videos."""
        path = self._annotations[key]
        annotation = read_json(path)
        poses = _poses(annotation, path)
        videos = self._videos(annotation, path)
        wanted = [camera.name for camera in self.spec().cameras] if cameras is None else cameras
        if missing := sorted(set(wanted) - set(videos)):
            raise ValueError(f"{path} lists no video for {missing}; leave the episode out")
        return Episode(
            frames={
                name: _frames(videos[name], length=len(poses), annotation=path) for name in wanted
            },
            depth_m={},
            actions=np.concatenate([poses[1:], poses[-1:]]),
            state=poses,
            reward=np.zeros(len(poses), np.float32),
            task=next(iter(annotation.get("texts", [])), ""),
            success=bool(annotation.get("success", False)),
            seed=SPLIT_SEEDS.get(path.parent.name, SPLIT_UNSAID),
            behaviour="person",
            tracks={},
        )

    @cached_property
    def _annotations(self) -> dict[str, Path]:
        root = self.folder / "annotation"
        paths = sorted(root.rglob("*.json"))
        return {str(path.relative_to(root).with_suffix("")): path for path in paths}

    @cached_property
    def _spec(self) -> DatasetSpec:
        path = next(iter(self._annotations.values()))
        found = {
            name: _size_and_rate(video)
            for name, video in self._videos(read_json(path), path).items()
        }
        rates = sorted({rate for _, _, rate in found.values()})
        if len(rates) != 1:
            raise ValueError(
                f"{path}: expected videos of one frame rate, found {rates} Hz; convert them first"
            )
        return DatasetSpec(
            fps=rates[0],
            robot_type="franka_robotiq",
            cameras=tuple(
                CameraSpec(name=name, height=height, width=width)
                for name, (height, width, _) in found.items()
            ),
            state_names=(*POSE_NAMES, "gripper_closed_share"),
            action=ActionConvention(
                mode="absolute",
                names=(*POSE_NAMES, "gripper"),
                units=("m", "m", "m", "rad", "rad", "rad", "1"),
                scale=(1.0,) * 7,
                frame="robot_base",
                rotation="euler_xyz",
                gripper="0 opens, 1 closes",
                action_hz=rates[0],
                gripper_open=0.0,
                gripper_closed=1.0,
            ),
            source="DROID as mp4 and JSON",
        )

    def _videos(self, annotation: dict[str, Any], path: Path) -> dict[str, Path]:
        """The videos of an episode by camera name."""
        listed = annotation.get("videos")
        if not listed:
            raise ValueError(f"{path}: expected `videos` with a `video_path` each, found none")
        names = [*CAMERAS, *(f"camera_{number}" for number in range(len(CAMERAS), len(listed)))]
        return {
            name: self._find_video(Path(entry["video_path"]), path)
            for name, entry in zip(names, listed, strict=False)
        }

    def _find_video(self, listed: Path, annotation: Path) -> Path:
        """A video, also where its folder of the split (`videos/val/0001`) was left out."""
        places = (self.folder / listed, self.folder / "videos" / Path(*listed.parts[-2:]))
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise ValueError(
                f"{annotation} lists the video {listed}, which is neither {places[0]} nor "
                f"{places[1]}; is the recording complete?"
            )
        return found


def open_recordings(source: Path) -> DroidRecordings:
    """Open a folder with `annotation/**/*.json` and `videos/`."""
    if not any((source / "annotation").rglob("*.json")):
        raise ValueError(
            f"expected annotations of episodes in {source}/annotation (*.json), found none"
        )
    return DroidRecordings(source)


def example(folder: Path) -> Path:
    """Two episodes of eight frames, three cameras of 32 x 48, 4 Hz."""
    root = folder / "droid"
    (root / "annotation").mkdir(parents=True)
    for number in range(2):
        name = f"{number + 1:04d}"
        for camera in range(3):
            write_video(
                root / f"videos/{name}/{camera}.mp4", _example_frames(camera, number), fps=4.0
            )
        turn = np.linspace(3.0, 3.3, 8)
        poses = np.zeros((8, 7))
        poses[:, 0] = np.linspace(0.4, 0.5, 8)
        poses[:, ROTATION_X] = (turn + np.pi) % (2 * np.pi) - np.pi
        poses[:, 6] = np.linspace(0, 1, 8)
        annotation = {
            "texts": ["put the square in the corner"],
            "episode_id": name,
            "success": 1 - number,
            "video_length": 8,
            "videos": [{"video_path": f"videos/val/{name}/{camera}.mp4"} for camera in range(3)],
            "states": poses.tolist(),
        }
        (root / "annotation" / f"{name}.json").write_text(json.dumps(annotation))
    return root


def _poses(annotation: dict[str, Any], path: Path) -> Float32[np.ndarray, "t 7"]:
    """Pose and gripper of every row."""
    poses = np.array(annotation.get("states", []), np.float64)
    if poses.ndim != 2 or poses.shape[1] != len(POSE_NAMES) + 1:
        raise ValueError(
            f"{path}: expected `states` rows of x y z, three Euler angles and the gripper, got an "
            f"array of shape {poses.shape}"
        )
    poses[:, ROTATION_X] %= 2 * np.pi
    return poses.astype(np.float32)


def _frames(path: Path, *, length: int, annotation: Path) -> UInt8[np.ndarray, "t h w 3"]:
    """A frame for every pose; at the end of a recording one frame more is common, and left out."""
    frames = [frame for frame, _ in zip(iterate_video(path), range(length + 2), strict=False)]
    if not length <= len(frames) <= length + 1:
        found = len(frames) if len(frames) < length else "more"
        raise ValueError(
            f"{path}: expected a frame for each of the {length} states of {annotation}, found "
            f"{found}; the video is truncated or belongs to another episode: leave it out"
        )
    return np.stack(frames[:length])


def _size_and_rate(path: Path) -> tuple[int, int, float]:
    """Height, width and frames a second, from a video's header."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate
            if rate is None:
                raise ValueError(f"{path} does not say its frame rate; convert it first")
            return stream.height, stream.width, float(rate)
    except (FFmpegError, IndexError) as error:
        raise ValueError(f"{path} is no video that can be read ({error})") from error


def _example_frames(camera: int, number: int) -> UInt8[np.ndarray, "t h w 3"]:
    """A square that moves right, on another grey for each camera and episode."""
    frames = np.full((8, 32, 48, 3), 40 + 50 * camera + 10 * number, np.uint8)
    for step in range(8):
        frames[step, 8:18, 4 * step : 4 * step + 12, 1] = 230
    return frames
