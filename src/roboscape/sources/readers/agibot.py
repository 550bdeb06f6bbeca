"""AgiBot-World as published: `observations/`, `proprio_stats/`, `task_info/`."""

import json
import logging
from functools import cached_property
from pathlib import Path

import cv2
import h5py
import numpy as np
from jaxtyping import Float32

from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.core.video import write_video
from roboscape.dataset.records import ActionConvention, CameraSpec, DatasetSpec, Episode
from roboscape.sources.readers.hdf5 import array, open_hdf5
from roboscape.sources.readers.mp4 import read_video, size_and_rate
from roboscape.sources.readers.protocol import (
    NO_SEED,
    FilledCommands,
    filled_commands,
    first_described,
)

log = logging.getLogger(__name__)

COLOUR = "_color"
METRES_PER_DEPTH_UNIT = 0.001
GRIPPER_OPEN_STATE, GRIPPER_CLOSED_STATE = 35.0, 120.0
"""The gripper's measured position. The dataset's own page calls it an opening in millimetres, but
it grows as the gripper closes (OpenDriveLab/AgiBot-World, issue 133)."""
PARTS = {"end/position": 6, "end/orientation": 8, "effector/position": 2}
"""The parts of the action, in this order, both arms of each part together; numbers a row."""
ARMS = ("left", "right")
ACTION_NAMES = (
    *(f"{arm}_{axis}" for arm in ARMS for axis in "xyz"),
    *(f"{arm}_quaternion_{axis}" for arm in ARMS for axis in "xyzw"),
    *(f"{arm}_gripper" for arm in ARMS),
)
JOINT_NAMES = tuple(f"{arm}_joint_{number}" for arm in ARMS for number in range(1, 8))


class AgibotRecordings:
    """Teleoperated episodes of a dual-arm robot with grippers.

    Actions are the paper's 16 numbers (section 3.1): positions, orientations and grippers of both
    arms, absolute. Where `action/*` is empty or lacks rows, a row's action is the state of the next
    row, or with `commands` of `current_state` that of the row itself. The gripper is 0 open, 1
    closed; the state keeps what was measured.
    """

    def __init__(self, source: Path, *, commands: FilledCommands = "next_state") -> None:
        self.source = source
        self._commands: FilledCommands = commands

    def spec(self) -> DatasetSpec:
        """From the first episode's video headers and first depth image."""
        return self._spec

    def keys(self) -> list[str]:
        """`<task>/<episode>`, of the episodes that have proprioception."""
        paths = self.source.glob("proprio_stats/*/*/proprio_stats.h5")
        return [f"{task}/{name}" for task, name in sorted(map(_task_and_episode, paths))]

    def read(self, key: str, *, cameras: tuple[str, ...] | None = None) -> Episode:
        """One episode."""
        path = self.source / "proprio_stats" / key / "proprio_stats.h5"
        actions, state = self._read_numbers(path)
        wanted = [c for c in self._spec.cameras if cameras is None or c.name in cameras]
        return Episode(
            frames={
                camera.name: read_video(
                    self._folder(key) / f"videos/{camera.name}{COLOUR}.mp4", length=len(actions)
                )
                for camera in wanted
            },
            depth_m={
                camera.name: self._read_depth_m(key, camera.name, length=len(actions))
                for camera in wanted
                if camera.has_depth
            },
            actions=actions,
            state=state,
            reward=np.zeros(len(actions), np.float32),
            task=self._tasks(int(key.split("/")[0])).get(int(key.split("/")[1]), ""),
            # Demonstrations that were reviewed after recording; none is called a failure.
            success=True,
            seed=NO_SEED,
            behaviour="person",
            tracks={},
        )

    @cached_property
    def _spec(self) -> DatasetSpec:
        return first_described(self.keys(), self._describe)

    def _describe(self, key: str) -> DatasetSpec:
        """The spec, from one episode."""
        videos = sorted((self._folder(key) / "videos").glob(f"*{COLOUR}.mp4"))
        if not videos:
            raise UserError(
                f"expected videos (*{COLOUR}.mp4) in {self._folder(key) / 'videos'}, found none; "
                "unpack `observations` beside `proprio_stats`"
            )
        found = {path.stem.removesuffix(COLOUR): size_and_rate(path) for path in videos}
        (hz, *others) = sorted({rate for _, _, rate in found.values()})
        if others:
            raise UserError(f"videos of {self._folder(key)} differ in frame rate: {hz}, {others}")
        return DatasetSpec(
            fps=hz,
            robot_type="AgiBot_A2D",
            cameras=tuple(
                CameraSpec(
                    name=name,
                    height=height,
                    width=width,
                    has_depth=any(self._depth_files(key, name)),
                )
                for name, (height, width, _) in found.items()
            ),
            state_names=(*ACTION_NAMES, *JOINT_NAMES),
            action=_convention(hz),
            source="AgiBot-World",
            commands=self._commands if any(map(self._lacks_commands, self.keys())) else "recorded",
        )

    def _lacks_commands(self, key: str) -> bool:
        """True if rows of an episode have to be filled, or its file cannot be read."""
        try:
            with h5py.File(self.source / "proprio_stats" / key / "proprio_stats.h5") as file:
                rows = num_rows(file, "state/end/position")
                return any(num_rows(file, f"action/{part}") < rows for part in PARTS)
        except OSError:
            return True

    def _folder(self, key: str) -> Path:
        return self.source / "observations" / key

    def _read_numbers(
        self, path: Path
    ) -> tuple[Float32[np.ndarray, "t 16"], Float32[np.ndarray, "t 30"]]:
        """Actions and state of an episode."""
        with open_hdf5(path) as file:
            length = len(array(file, "state/end/position", path))
            states = {part: _state_part(file, part, path, length=length) for part in PARTS}
            joints = array(file, "state/joint/position", path, length=length, width=14)
            parts = [
                _action_part(file, part, path, states=states[part], commands=self._commands)
                for part in PARTS
            ]
        actions = np.concatenate(parts, axis=1).astype(np.float32)
        return actions, np.concatenate([*states.values(), joints], axis=1).astype(np.float32)

    def _depth_files(self, key: str, camera: str) -> list[Path]:
        return sorted((self._folder(key) / "depth").glob(f"{camera}_depth_*.png"))

    def _read_depth_m(self, key: str, camera: str, *, length: int) -> Float32[np.ndarray, "t h w"]:
        """Depth images of an episode, one a row; one more at the end is left out."""
        paths = self._depth_files(key, camera)
        if not length <= len(paths) <= length + 1:
            raise UserError(
                f"{self._folder(key) / 'depth'}: expected {length} depth images of {camera}, found "
                f"{len(paths)}; unpack the episode again, or leave it out"
            )
        images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths[:length]]
        for path, image in zip(paths, images, strict=False):
            if image is None or image.ndim != 2:
                raise UserError(f"{path} is not a readable depth image (16-bit grey PNG)")
        return np.stack(images).astype(np.float32) * np.float32(METRES_PER_DEPTH_UNIT)

    def _tasks(self, task: int) -> dict[int, str]:
        """The task of each episode, in words; none where `task_info` was not fetched."""
        path = self.source / f"task_info/task_{task}.json"
        if not path.exists():
            return {}
        return {int(entry["episode_id"]): entry.get("task_name", "") for entry in read_json(path)}


def open_recordings(source: Path, *, commands: FilledCommands | None = None) -> AgibotRecordings:
    """Open a folder with `observations`, `proprio_stats` and `task_info`, unpacked."""
    recordings = AgibotRecordings(source, commands=commands or "next_state")
    if not recordings.keys():
        raise UserError(
            f"expected {source}/proprio_stats/<task>/<episode>/proprio_stats.h5, found none; "
            "unpack the dataset's archives first"
        )
    return recordings


def example(folder: Path) -> Path:
    """Three episodes of two tasks, 8 rows at 30 Hz, two cameras of 32 x 48, depth of the head."""
    root = folder / "agibot"
    for task, episode in ((327, 648642), (327, 648649), (352, 648544)):
        key = f"{task}/{episode}"
        _example_images(root / "observations" / key, shade=20 * (episode % 7))
        path = root / "proprio_stats" / key / "proprio_stats.h5"
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as file:
            _example_numbers(file, np.random.default_rng(episode), with_actions=task == 352)
        info = root / f"task_info/task_{task}.json"
        info.parent.mkdir(exist_ok=True)
        known = json.loads(info.read_text()) if info.exists() else []
        entry = {"episode_id": episode, "task_id": task, "task_name": f"task {task} of the shop"}
        info.write_text(json.dumps([*known, entry]))
    return root


def gripper_command(states: np.ndarray) -> np.ndarray:
    """Commands (0 opens, 1 closes) equal to the measured opening."""
    travel = GRIPPER_CLOSED_STATE - GRIPPER_OPEN_STATE
    return np.clip((states - GRIPPER_OPEN_STATE) / travel, 0.0, 1.0)


def _convention(hz: float) -> ActionConvention:
    units = ("m",) * PARTS["end/position"] + ("1",) * (len(ACTION_NAMES) - PARTS["end/position"])
    return ActionConvention(
        mode="absolute",
        names=ACTION_NAMES,
        units=units,
        scale=(1.0,) * len(ACTION_NAMES),
        frame="robot_base",
        rotation="quaternion_xyzw",
        gripper="0 opens, 1 closes",
        action_hz=hz,
        gripper_open=0.0,
        gripper_closed=1.0,
    )


def _state_part(file: h5py.File, part: str, path: Path, *, length: int) -> np.ndarray:
    values = array(file, f"state/{part}", path, length=length).reshape(length, -1)
    if values.shape[1] != PARTS[part]:
        raise UserError(
            f"{path}: expected {PARTS[part]} numbers a row in state/{part}, got {values.shape[1]}; "
            "episodes with dexterous hands have other actions: import the ones with grippers"
        )
    return values


def num_rows(file: h5py.File, name: str) -> int:
    """Rows of an array of a file; 0 where it is not there."""
    stored = file.get(name)
    return len(stored) if isinstance(stored, h5py.Dataset) else 0


def _action_part(
    file: h5py.File, part: str, path: Path, *, states: np.ndarray, commands: FilledCommands
) -> np.ndarray:
    """Commands of a part; rows that were not recorded hold a state."""
    reached = filled_commands(states, commands).copy()
    filled = gripper_command(reached) if part.startswith("effector") else reached
    stored = file.get(f"action/{part}")
    if not isinstance(stored, h5py.Dataset) or not len(stored):
        log.info("%s: action/%s is empty; filled from the state", path, part)
        return filled
    recorded = np.asarray(stored[()]).reshape(len(stored), -1)
    index = file.get(f"action/{part.split('/')[0]}/index")
    has_index = isinstance(index, h5py.Dataset) and len(index) == len(recorded)
    rows = np.asarray(index[()]) if has_index else np.arange(len(recorded))  # type: ignore[index]
    fits = recorded.shape[1] == PARTS[part] and rows.min() >= 0 and rows.max() < len(states)
    if not fits or (not has_index and len(recorded) != len(states)):
        raise UserError(
            f"{path}: expected action/{part} of {len(states)} rows (or rows named by its `index`) "
            f"of {PARTS[part]} numbers, got {recorded.shape}; leave the episode out"
        )
    if len(rows) < len(states):
        log.info("%s: action/%s lacks rows; filled from the state", path, part)
    filled[rows] = recorded
    return filled


def _task_and_episode(path: Path) -> tuple[int, int]:
    return int(path.parts[-3]), int(path.parts[-2])


def _example_images(folder: Path, *, shade: int) -> None:
    rows, columns = np.mgrid[:32, :48]
    for number, camera in enumerate(("hand_left", "head")):
        frames = np.full((8, 32, 48, 3), 30 + shade + 60 * number, np.uint8)
        for step in range(8):
            frames[step, 8:20, 4 * step : 4 * step + 12, 1] = 220
        write_video(folder / f"videos/{camera}{COLOUR}.mp4", frames, fps=30.0)
    (folder / "depth").mkdir()
    for step in range(8):
        image = (700 + 10 * rows + 5 * columns + 20 * step).astype(np.uint16)
        cv2.imwrite(str(folder / f"depth/head_depth_{step:06d}.png"), image)


def _example_numbers(file: h5py.File, random: np.random.Generator, *, with_actions: bool) -> None:
    steps = random.normal(size=(8, 2, 4)) * 0.05
    quaternions = random.normal(size=(2, 4)) + steps.cumsum(axis=0)
    file["timestamp"] = np.arange(8) * 33_333_333
    file["state/end/position"] = random.uniform(0.2, 0.8, (8, 2, 3))
    file["state/end/orientation"] = quaternions / np.linalg.norm(
        quaternions, axis=-1, keepdims=True
    )
    file["state/effector/position"] = random.uniform(35, 120, (8, 2))
    file["state/joint/position"] = random.uniform(-1, 1, (8, 14))
    for name in ("end/position", "end/orientation"):
        file[f"action/{name}"] = np.zeros((0,))
    file["action/effector/position"] = random.uniform(0, 1, (4, 2)) if with_actions else np.zeros(0)
    file["action/effector/index"] = np.arange(2, 6) if with_actions else np.zeros(0, int)
