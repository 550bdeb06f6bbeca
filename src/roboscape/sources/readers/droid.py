"""DROID-style folders: a JSON file an episode (`annotation/`), an mp4 file a camera (`videos/`)."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.core.video import write_video
from roboscape.dataset.records import (
    CameraSpec,
    DatasetSpec,
    Episode,
    Split,
)
from roboscape.sources.readers.droid_common import (
    CAMERAS,
    POSE_NAMES,
    ROTATION_X,
    STATE_NAMES,
    pose_convention,
    without_jumps,
)
from roboscape.sources.readers.droid_raw import RawDroidRecordings
from roboscape.sources.readers.mp4 import read_video, size_and_rate
from roboscape.sources.readers.protocol import (
    NO_SEED,
    FilledCommands,
    RecordingReader,
    filled_commands,
    first_described,
)

SPLITS: dict[str, Split] = {"train": "train", "val": "validation", "test": "test"}
"""Of an annotation in a folder of this name; one that lies in `annotation` itself has none."""


class DroidRecordings:
    """Teleoperated episodes of a Franka arm.

    The recordings hold poses, no commands: the action of a row is the pose of the next row (of the
    last row its own), which is how models of this data are driven; or with `commands` of
    `current_state` the pose of the row itself.
    """

    def __init__(self, folder: Path, *, commands: FilledCommands = "next_state") -> None:
        self.folder = folder
        self._commands: FilledCommands = commands

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
            raise UserError(f"{path} lists no video for {missing}; leave the episode out")
        return Episode(
            frames={
                name: read_video(
                    videos[name],
                    length=len(poses),
                    rows=f"the {len(poses)} states of {path}",
                )
                for name in wanted
            },
            depth_m={},
            actions=filled_commands(poses, self._commands),
            state=poses,
            reward=np.zeros(len(poses), np.float32),
            task=next(iter(annotation.get("texts", [])), ""),
            success=bool(annotation.get("success", False)),
            seed=NO_SEED,
            behaviour="person",
            tracks={},
            split=SPLITS.get(path.parent.name),
        )

    @cached_property
    def _annotations(self) -> dict[str, Path]:
        root = self.folder / "annotation"
        paths = sorted(root.rglob("*.json"))
        return {str(path.relative_to(root).with_suffix("")): path for path in paths}

    @cached_property
    def _spec(self) -> DatasetSpec:
        return first_described(self.keys(), self._describe)

    def _describe(self, key: str) -> DatasetSpec:
        """The spec, from one episode."""
        path = self._annotations[key]
        found = {
            name: size_and_rate(video)
            for name, video in self._videos(read_json(path), path).items()
        }
        rates = sorted({rate for _, _, rate in found.values()})
        if len(rates) != 1:
            raise UserError(
                f"{path}: expected videos of one frame rate, found {rates} Hz; convert them first"
            )
        return DatasetSpec(
            fps=rates[0],
            robot_type="franka_robotiq",
            cameras=tuple(
                CameraSpec(name=name, height=height, width=width)
                for name, (height, width, _) in found.items()
            ),
            state_names=STATE_NAMES,
            action=pose_convention(action_hz=rates[0]),
            source="DROID as mp4 and JSON",
            commands=self._commands,
        )

    def _videos(self, annotation: dict[str, Any], path: Path) -> dict[str, Path]:
        """The videos of an episode by camera name."""
        listed = annotation.get("videos")
        if not listed:
            raise UserError(f"{path}: expected `videos` with a `video_path` each, found none")
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
            raise UserError(
                f"{annotation} lists the video {listed}, which is neither {places[0]} nor "
                f"{places[1]}; is the recording complete?"
            )
        return found


def open_recordings(source: Path, *, commands: FilledCommands | None = None) -> RecordingReader:
    """Open a folder with `annotation/**/*.json` and `videos/`, or DROID as it was published.

    The latter is found by the `metadata_*.json` of its episodes, any depth below the folder.
    """
    if any((source / "annotation").rglob("*.json")):
        return DroidRecordings(source, commands=commands or "next_state")
    if any(source.rglob("metadata_*.json")):
        if commands:
            raise UserError(f"{source} holds DROID's own commands; leave --commands out")
        return RawDroidRecordings(source)
    raise UserError(
        f"expected annotations of episodes in {source}/annotation (*.json), or DROID's own folders "
        "with a metadata_*.json an episode, found neither"
    )


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
        poses[:, :6] = np.random.default_rng(number).normal(size=(8, 6)).cumsum(axis=0) * 0.01
        poses[:, 0] += 0.4
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
        raise UserError(
            f"{path}: expected `states` rows of x y z, three Euler angles and the gripper, got an "
            f"array of shape {poses.shape}"
        )
    return without_jumps(poses)


def _example_frames(camera: int, number: int) -> UInt8[np.ndarray, "t h w 3"]:
    """A square that moves right, on another grey for each camera and episode."""
    frames = np.full((8, 32, 48, 3), 40 + 50 * camera + 10 * number, np.uint8)
    for step in range(8):
        frames[step, 8:18, 4 * step : 4 * step + 12, 1] = 230
    return frames
