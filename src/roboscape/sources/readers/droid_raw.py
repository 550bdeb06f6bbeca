"""DROID as it was published: a folder an episode, `trajectory.h5` and mp4 files at 15 Hz."""

from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32

from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.dataset.records import CameraSpec, DatasetSpec, Episode
from roboscape.sources.readers.droid_common import (
    CAMERAS,
    STATE_NAMES,
    pose_convention,
    without_jumps,
)
from roboscape.sources.readers.mp4 import read_video, size_and_rate
from roboscape.sources.readers.protocol import NO_SEED, first_described

ACTION_HZ = 15.0
"""DROID's control rate; the headers of its videos name another."""
VIDEO_KEYS: dict[str, str] = {
    "exterior_1": "ext1_mp4_path",
    "exterior_2": "ext2_mp4_path",
    "wrist": "wrist_mp4_path",
}
"""Where the metadata names the video of each camera."""
SPARE_FRAMES = 30
"""A video may run on for so long after the last row."""


class RawDroidRecordings:
    """Episodes with the commanded pose as action; an episode is known by its `metadata_*.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def spec(self) -> DatasetSpec:
        """From the headers of the first episode's videos."""
        return self._spec

    def keys(self) -> list[str]:
        """Folders of the episodes, below the source."""
        return list(self._metadata)

    def read(self, key: str, *, cameras: tuple[str, ...] | None = None) -> Episode:
        """One episode: poses and commands from `trajectory.h5`, frames from the videos."""
        path = self._metadata[key]
        metadata = read_json(path)
        state = _poses(path.parent / "trajectory.h5", "observation/robot_state")
        actions = _poses(path.parent / "trajectory.h5", "action")
        wanted = [camera.name for camera in self.spec().cameras] if cameras is None else cameras
        return Episode(
            frames={
                name: read_video(
                    _video(metadata, path, name),
                    length=len(actions),
                    spare=SPARE_FRAMES,
                    rows=f"the {len(actions)} states of {path}",
                )
                for name in wanted
            },
            depth_m={},
            actions=actions,
            state=state,
            reward=np.zeros(len(actions), np.float32),
            task=str(metadata.get("current_task", "")),
            success=bool(metadata["success"]),
            seed=NO_SEED,
            behaviour="person",
            tracks={},
        )

    @cached_property
    def _metadata(self) -> dict[str, Path]:
        paths = sorted(self.folder.rglob("metadata_*.json"))
        return {str(path.parent.relative_to(self.folder)): path for path in paths}

    @cached_property
    def _spec(self) -> DatasetSpec:
        return first_described(self.keys(), self._describe)

    def _describe(self, key: str) -> DatasetSpec:
        """The spec, from one episode."""
        path = self._metadata[key]
        metadata = read_json(path)
        cameras = []
        for name in CAMERAS:
            height, width, _ = size_and_rate(_video(metadata, path, name))
            cameras.append(CameraSpec(name=name, height=height, width=width))
        return DatasetSpec(
            fps=ACTION_HZ,
            robot_type="franka_robotiq",
            cameras=tuple(cameras),
            state_names=STATE_NAMES,
            action=pose_convention(action_hz=ACTION_HZ),
            source="DROID",
        )


def _video(metadata: dict[str, Any], path: Path, camera: str) -> Path:
    """A camera's video; the metadata gives its path from the laboratory's folder."""
    listed = metadata.get(VIDEO_KEYS[camera])
    if not listed:
        raise UserError(f"{path}: expected `{VIDEO_KEYS[camera]}`, found none; leave it out")
    video = path.parent / "recordings/MP4" / Path(listed).name
    if not video.is_file():
        raise UserError(f"{path} lists a video that is not at {video}; is the download complete?")
    return video


def _poses(path: Path, group: str) -> Float32[np.ndarray, "t 7"]:
    """Position, Euler angles and gripper of a group of the file."""
    try:
        with h5py.File(path) as file:
            pose = np.asarray(file[f"{group}/cartesian_position"])
            gripper = np.asarray(file[f"{group}/gripper_position"]).reshape(-1, 1)
    except (OSError, KeyError) as error:
        raise UserError(
            f"{path}: expected {group}/cartesian_position and gripper_position ({error}); leave "
            "the episode out"
        ) from error
    if pose.ndim != 2 or pose.shape[1] != 6 or len(pose) != len(gripper):
        raise UserError(
            f"{path}: expected six numbers of a pose and one of the gripper a row in {group}, got "
            f"arrays of shape {pose.shape} and {gripper.shape}"
        )
    return without_jumps(np.concatenate([pose, gripper], axis=1))
