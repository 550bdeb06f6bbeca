"""LIBERO HDF5: a file a task, `data/demo_0/{actions,obs/agentview_rgb,…}`."""

import json
import re
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from roboscape.core.errors import UserError
from roboscape.dataset.records import CameraSpec, DatasetSpec, Episode
from roboscape.sources.readers.hdf5 import (
    array,
    attribute_json,
    demonstration_keys,
    group,
    hdf5_files,
    open_demonstration,
)
from roboscape.sources.readers.protocol import NO_SEED, first_described
from roboscape.sources.readers.robosuite_control import DEFAULT_HZ, osc_convention

IMAGE = "_rgb"
STATES = {
    "ee_pos": ("eef_x", "eef_y", "eef_z"),
    "ee_ori": ("eef_axis_angle_x", "eef_axis_angle_y", "eef_axis_angle_z"),
    "gripper_states": ("gripper_finger_1", "gripper_finger_2"),
    "joint_states": tuple(f"joint_{number}" for number in range(1, 8)),
}
"""The observations that make up the state, and the names of their numbers."""


class LiberoRecordings:
    """Demonstrations of LIBERO's tasks.

    The files hold images as OpenGL drew them, upside down. They are turned by 180 degrees, as
    policies for LIBERO expect them; against LIBERO's own videos, which are flipped top to bottom
    only, they are mirrored. Actions stay as recorded: the gripper's -1 opens and +1 closes, while
    datasets derived from these (OpenVLA's RLDS) turn it about.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self._files = hdf5_files(source)

    def spec(self) -> DatasetSpec:
        """From the first demonstration."""
        return self._spec

    def keys(self) -> list[str]:
        """`<file>/demo_<number>`."""
        return demonstration_keys(self._files)

    def read(self, key: str, *, cameras: tuple[str, ...] | None = None) -> Episode:
        """One demonstration, upright."""
        with open_demonstration(self._files, key) as found:
            path, demo = found.path, found.demo
            actions = array(demo, "actions", path, width=7).astype(np.float32)
            length = len(actions)
            observed = group(demo, "obs", path)
            states = [
                array(observed, part, path, length=length, width=len(names))
                for part, names in STATES.items()
            ]
            reward = array(demo, "rewards", path, length=length).astype(np.float32)
            return Episode(
                frames={
                    camera.name: turn(array(observed, camera.name + IMAGE, path, length=length))
                    for camera in self._spec.cameras
                    if cameras is None or camera.name in cameras
                },
                depth_m={},
                actions=actions,
                state=np.concatenate(states, axis=1).astype(np.float32),
                reward=reward,
                task=_language(found.data, path),
                success=bool((reward >= 1).any()),
                seed=NO_SEED,
                behaviour="person",
                tracks={},
            )

    @cached_property
    def _spec(self) -> DatasetSpec:
        return first_described(self.keys(), self._describe)

    def _describe(self, key: str) -> DatasetSpec:
        """The spec, from one demonstration."""
        with open_demonstration(self._files, key) as found:
            path, demo = found.path, found.demo
            observed = group(demo, "obs", path)
            cameras = {name: image for name, image in observed.items() if name.endswith(IMAGE)}
            if not cameras:
                raise UserError(
                    f"{path} holds no images (`obs/…{IMAGE}`), only {', '.join(observed)}; "
                    "robomimic's own files are read by `roboscape import robomimic`"
                )
            return DatasetSpec(
                fps=DEFAULT_HZ,
                robot_type="Panda",
                cameras=tuple(
                    CameraSpec(
                        name=name.removesuffix(IMAGE), height=image.shape[1], width=image.shape[2]
                    )
                    for name, image in cameras.items()
                ),
                state_names=tuple(name for names in STATES.values() for name in names),
                action=osc_convention({}, width=7, hz=DEFAULT_HZ),
                source="LIBERO",
            )


def open_recordings(source: Path) -> LiberoRecordings:
    """Open a task's file, or a folder of them (a suite)."""
    return LiberoRecordings(source)


def example(folder: Path) -> Path:
    """Two tasks, of two demonstrations and of one, 8 rows with two cameras of 32 x 32."""
    root = folder / "libero_example"
    root.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:32, :32]
    for task, count in (("open the drawer", 2), ("push the plate", 1)):
        path = root / f"KITCHEN_SCENE1_{task.replace(' ', '_')}_demo.hdf5"
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            data.attrs["problem_info"] = json.dumps({"language_instruction": task})
            for number in range(count):
                random = np.random.default_rng(number + 10 * count)
                demo, step = data.create_group(f"demo_{number}"), np.arange(8)[:, None, None]
                shade = 50 + 30 * number + 3 * rows + 4 * step
                image = np.stack([shade, shade + columns, 255 - shade], -1).astype(np.uint8)
                for row in range(8):
                    image[row, 8:18, 3 * row : 3 * row + 8] = 250
                demo["actions"] = random.uniform(-1, 1, (8, 7))
                demo["rewards"], demo["dones"] = np.eye(8)[-1], np.eye(8, dtype=int)[-1]
                demo["obs/agentview_rgb"], demo["obs/eye_in_hand_rgb"] = image, 255 - image
                for name, names in STATES.items():
                    demo[f"obs/{name}"] = random.normal(size=(8, len(names)))
    return root


def turn(images: np.ndarray) -> np.ndarray:
    """Turn images by 180 degrees; its own inverse."""
    return np.ascontiguousarray(images[:, ::-1, ::-1])


def _language(data: h5py.Group, path: Path) -> str:
    """The task in words: from `problem_info`, else from the file's name."""
    if "problem_info" in data.attrs:
        said = attribute_json(data, "problem_info", path).get("language_instruction", "")
        # Some files keep the sentence letter by letter.
        text = "".join(said).strip().strip('"')
        if text:
            return text
    name = path.stem.removesuffix("_demo")
    return re.sub(r"^.*SCENE\d+_", "", name).replace("_", " ")
