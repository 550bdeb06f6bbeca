"""robomimic HDF5: `data/demo_0/{actions,obs/*_image,…}`, one file or a folder of them."""

import json
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from roboscape.core.errors import UserError
from roboscape.dataset.records import (
    CameraSpec,
    DatasetSpec,
    Episode,
    Split,
)
from roboscape.sources.readers.hdf5 import (
    array,
    attribute_json,
    demonstration_keys,
    group,
    hdf5_files,
    open_demonstration,
)
from roboscape.sources.readers.protocol import NO_SEED, first_described
from roboscape.sources.readers.robosuite_control import control_hz, osc_convention

IMAGE, DEPTH = "_image", "_depth"
STATES = {
    "eef_pos": ("eef_x", "eef_y", "eef_z"),
    "eef_quat": tuple(f"eef_quaternion_{axis}" for axis in "xyzw"),
    "gripper_qpos": (),
    "joint_pos": (),
}
"""Proprioception by what robosuite calls it, and names of its numbers where they are always so."""
SPLITS: dict[str, Split] = {"train": "train", "valid": "validation", "test": "test"}
"""Of the filter keys in `mask`."""


class RobomimicRecordings:
    """Demonstrations of robosuite tasks with images among their observations.

    Images lie upright in these files, so nothing is turned. Depth is in metres.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self._files = hdf5_files(source)

    def spec(self) -> DatasetSpec:
        """From the first demonstration and `env_args`."""
        return self._spec

    def keys(self) -> list[str]:
        """`<file>/demo_<number>`."""
        return demonstration_keys(self._files)

    def read(self, key: str, *, cameras: tuple[str, ...] | None = None) -> Episode:
        """One demonstration."""
        with open_demonstration(self._files, key) as found:
            path, demo = found.path, found.demo
            actions = array(demo, "actions", path, width=len(self._spec.action.names))
            length = len(actions)
            observed = group(demo, "obs", path)
            wanted = [c for c in self._spec.cameras if cameras is None or c.name in cameras]
            reward = _reward(demo, path, length=length)
            return Episode(
                frames={
                    c.name: array(observed, c.name + IMAGE, path, length=length) for c in wanted
                },
                depth_m={
                    c.name: _depth_m(observed, c.name + DEPTH, path, length=length)
                    for c in wanted
                    if c.has_depth
                },
                actions=actions.astype(np.float32),
                state=_state(observed, self._state_parts, path, length=length),
                reward=reward,
                task=str(attribute_json(found.data, "env_args", path).get("env_name", "")),
                # The sparse reward of these files is 1 where the task is done.
                success=bool((reward >= 1).any()),
                seed=NO_SEED,
                behaviour="person",
                tracks={},
                split=_split(found.data.file, found.name),
            )

    @property
    def _spec(self) -> DatasetSpec:
        return self._described[0]

    @property
    def _state_parts(self) -> dict[str, int]:
        return self._described[1]

    @cached_property
    def _described(self) -> tuple[DatasetSpec, dict[str, int]]:
        return first_described(self.keys(), self._describe)

    def _describe(self, key: str) -> tuple[DatasetSpec, dict[str, int]]:
        """The spec, from one demonstration; the parts of the state and how long each is."""
        with open_demonstration(self._files, key) as found:
            path, demo = found.path, found.demo
            environment = attribute_json(found.data, "env_args", path)
            observed = group(demo, "obs", path)
            names = [str(name) for name in observed]
            cameras = [name.removesuffix(IMAGE) for name in names if name.endswith(IMAGE)]
            if not cameras:
                raise UserError(
                    f"{path} holds no images, only {', '.join(names)}; make them with "
                    "robomimic's `dataset_states_to_obs.py --camera_names agentview …`"
                )
            parts = _state_parts(observed, names)
            hz = control_hz(environment)
            width = array(demo, "actions", path).shape[-1]
            spec = DatasetSpec(
                fps=hz,
                robot_type=_robot(environment),
                cameras=tuple(_camera(observed, camera) for camera in cameras),
                state_names=_state_names(parts),
                action=osc_convention(environment, width=width, hz=hz),
                source=f"robomimic {environment.get('env_name', '')}".strip(),
            )
            return spec, parts


def open_recordings(source: Path) -> RobomimicRecordings:
    """Open a file, or a folder of files of one robot."""
    return RobomimicRecordings(source)


def example(folder: Path) -> Path:
    """Three demonstrations of 8 rows with one camera of 32 x 32, colour and depth."""
    path = folder / "image.hdf5"
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        "env_name": "Lift",
        "type": 1,
        "env_kwargs": {
            "robots": "Panda",
            "control_freq": 20,
            "controller_configs": {
                "type": "OSC_POSE",
                "control_delta": True,
                "output_max": list((0.05,) * 3 + (0.5,) * 3),
            },
        },
    }
    rows, columns = np.mgrid[:32, :32]
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(environment)
        for number in range(3):
            random = np.random.default_rng(number)
            demo, step = data.create_group(f"demo_{number}"), np.arange(8)[:, None, None]
            shade = 60 + 40 * number + 3 * rows + 5 * step
            demo["actions"] = random.uniform(-1, 1, (8, 7))
            demo["states"] = random.normal(size=(8, 32))
            demo["rewards"], demo["dones"] = np.eye(8)[-1], np.eye(8, dtype=int)[-1]
            colours = np.stack([shade, shade + columns, 255 - shade], -1).astype(np.uint8)
            for row in range(8):
                colours[row, 8:18, 3 * row : 3 * row + 8] = 230
            demo["obs/agentview_image"] = colours
            demo["obs/agentview_depth"] = (0.5 + (columns + step) / 40.0)[..., None].astype(
                np.float32
            )
            turning = random.normal(size=4) + 0.05 * random.normal(size=(8, 4)).cumsum(axis=0)
            lengths = np.linalg.norm(turning, axis=1, keepdims=True)
            demo["obs/robot0_eef_quat"] = turning / lengths
            for name, width in (("eef_pos", 3), ("gripper_qpos", 2)):
                demo[f"obs/robot0_{name}"] = random.normal(size=(8, width))
            demo["obs/object"] = random.normal(size=(8, 10))
        file["mask/train"] = np.array([b"demo_0", b"demo_1"])
        file["mask/valid"] = np.array([b"demo_2"])
    return path


def _camera(observed: h5py.Group, name: str) -> CameraSpec:
    height, width = observed[name + IMAGE].shape[1:3]  # type: ignore[union-attr]
    return CameraSpec(name=name, height=height, width=width, has_depth=name + DEPTH in observed)


def _robot(environment: dict) -> str:
    robots = environment.get("env_kwargs", {}).get("robots", "unknown")
    return "+".join(robots) if isinstance(robots, list) else str(robots)


def _state_parts(observed: h5py.Group, names: list[str]) -> dict[str, int]:
    """The observations that make up the state, and how many numbers each has."""
    robots = sorted({name.split("_")[0] for name in names if name.startswith("robot")})
    parts = [f"{robot}_{state}" for robot in robots for state in STATES]
    return {part: _width(observed[part]) for part in parts if part in names}


def _state_names(parts: dict[str, int]) -> tuple[str, ...]:
    """Names of the numbers of the parts, without the robot's where there is but one."""
    alone = len({part.split("_")[0] for part in parts}) == 1
    names: list[str] = []
    for part, width in parts.items():
        robot, _, kind = part.partition("_")
        known = STATES[kind] or tuple(f"{kind}_{number}" for number in range(width))
        names += [name if alone else f"{robot}_{name}" for name in known]
    return tuple(names)


def _state(observed: h5py.Group, parts: dict[str, int], path: Path, *, length: int) -> np.ndarray:
    columns = [array(observed, part, path, length=length).reshape(length, -1) for part in parts]
    return np.concatenate([np.zeros((length, 0)), *columns], axis=1).astype(np.float32)


def _reward(demo: h5py.Group, path: Path, *, length: int) -> np.ndarray:
    if "rewards" not in demo:
        return np.zeros(length, np.float32)
    return array(demo, "rewards", path, length=length).astype(np.float32)


def _depth_m(observed: h5py.Group, name: str, path: Path, *, length: int) -> np.ndarray:
    depth_m = array(observed, name, path, length=length).astype(np.float32)
    return depth_m.reshape(depth_m.shape[:3])


def _split(file: h5py.File, demonstration: str) -> Split | None:
    """The split that the file's filter keys put a demonstration in."""
    for name, split in SPLITS.items():
        listed = file.get(f"mask/{name}")
        if isinstance(listed, h5py.Dataset) and demonstration.encode() in listed[()]:
            return split
    return None


def _width(values: object) -> int:
    """Numbers a row."""
    assert isinstance(values, h5py.Dataset)
    return int(np.prod(values.shape[1:]))
