"""Episodes as `.npz` files: BAIR, the layout of iVideoGPT, and its Meta-World demonstrations."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import Float32, UInt8
from numpy.lib.npyio import NpzFile

from roboscape.core.errors import UserError
from roboscape.dataset.conventions import unknown_convention
from roboscape.dataset.records import (
    ActionConvention,
    CameraSpec,
    DatasetSpec,
    Episode,
    Split,
)
from roboscape.sources.metaworld_tasks import TASK_TEXTS
from roboscape.sources.readers.protocol import NO_SEED, first_described

SPLITS: dict[str, Split] = {"train": "train", "val": "validation", "test": "test"}
"""Of a file in a folder of this name; other files have no split."""
NOMINAL_FPS = 4.0
"""Taken where a rate was never published; it decides how fast videos play, no more."""
BAIR_ACTIONS = ActionConvention(
    mode="delta",
    names=("eef_x", "eef_y", "gripper_closing_actions", "lifting_actions"),
    units=("m", "m", "1", "1"),
    scale=(0.5, 0.5, 0.5, 0.5),
    frame="robot_base",
    rotation="none",
    gripper="for how many actions it closes; it opens by itself afterwards",
    action_hz=NOMINAL_FPS,
)
"""Every command stands in two rows, hence the scale of a half."""
METAWORLD_ACTIONS = ActionConvention(
    mode="delta",
    names=("hand_x", "hand_y", "hand_z", "gripper"),
    units=("m", "m", "m", "1"),
    scale=(0.02, 0.02, 0.02, 1.0),
    frame="world",
    rotation="none",
    gripper="-1 opens, +1 closes",
    action_hz=40.0,
    gripper_open=-1.0,
    gripper_closed=1.0,
)
"""Every action is repeated for two of Meta-World's steps (1 cm each, 80 Hz)."""
STACKED = 3
"""Frames in an observation of the Meta-World demonstrations, the newest last."""
LARGEST_REWARD = 20.0
"""Of two steps of Meta-World together; success adds 10 to it in these demonstrations."""

Arrays = Mapping[str, np.ndarray]
"""The arrays of a file by name, each read when it is asked for."""


@dataclass(frozen=True, kw_only=True)
class NpzFormat:
    """The layout of one kind of `.npz` file."""

    name: str
    robot_type: str
    behaviour: str
    cameras: Callable[[Arrays], dict[str, str]]
    """Array of every camera, by the camera's name."""
    images: Callable[[np.ndarray], np.ndarray]
    """Frames (t h w 3) of such an array."""
    numbers: Callable[[Arrays], tuple[np.ndarray, np.ndarray]]
    """Actions (t a) and rewards (t)."""
    convention: ActionConvention | None
    """None where the files do not name it."""
    succeeded: Callable[[np.ndarray], bool]
    """From the rewards."""
    example_arrays: Callable[[int], dict[str, np.ndarray]]
    """Of one tiny episode, by its number."""

    def open_recordings(self, source: Path) -> "NpzRecordings":
        """Open a file, or every `.npz` file below a folder."""
        if source.is_file():
            return NpzRecordings(source.parent, (source,), self)
        paths = tuple(sorted(source.rglob("*.npz")))
        if not paths:
            raise UserError(f"expected .npz files below {source}, found none")
        return NpzRecordings(source, paths, self)

    def example(self, folder: Path) -> Path:
        """Two tiny episodes."""
        root = folder / self.name
        root.mkdir(parents=True)
        for number in range(2):
            np.savez_compressed(root / f"{number:05d}.npz", **self.example_arrays(number))
        return root


class NpzRecordings:
    """Episodes, one a file."""

    def __init__(self, root: Path, paths: tuple[Path, ...], kind: NpzFormat) -> None:
        self.root = root
        self._paths = {str(path.relative_to(root).with_suffix("")): path for path in paths}
        self._kind = kind

    def spec(self) -> DatasetSpec:
        """From the first file."""
        return self._spec

    def keys(self) -> list[str]:
        """Paths of the files without `.npz`."""
        return list(self._paths)

    def read(self, key: str, *, cameras: tuple[str, ...] | None = None) -> Episode:
        """One file."""
        path = self._paths[key]
        with _open(path) as arrays:
            names = self._cameras(arrays, path)
            actions, reward = self._numbers(arrays, path)
            frames = {
                name: _colours(self._kind.images(_array(arrays, names[name], path)), path)[
                    : len(actions)
                ]
                for name in (names if cameras is None else cameras)
            }
        return Episode(
            frames=frames,
            depth_m={},
            actions=actions,
            state=np.zeros((len(actions), 0), np.float32),
            reward=reward,
            task=TASK_TEXTS.get(path.parent.name, ""),
            success=self._kind.succeeded(reward),
            seed=NO_SEED,
            behaviour=self._kind.behaviour,
            tracks={},
            split=SPLITS.get(path.parent.name),
        )

    @cached_property
    def _spec(self) -> DatasetSpec:
        return first_described(self.keys(), self._describe)

    def _describe(self, key: str) -> DatasetSpec:
        """The spec, from one file."""
        path = self._paths[key]
        with _open(path) as arrays:
            cameras = []
            for name, array in self._cameras(arrays, path).items():
                _, height, width, _ = self._kind.images(_array(arrays, array, path)).shape
                cameras.append(CameraSpec(name=name, height=height, width=width))
            actions, _ = self._numbers(arrays, path)
        convention = self._kind.convention or unknown_convention(
            tuple(f"action_{index}" for index in range(actions.shape[1])), action_hz=NOMINAL_FPS
        )
        return DatasetSpec(
            fps=convention.action_hz,
            robot_type=self._kind.robot_type,
            cameras=tuple(cameras),
            state_names=(),
            action=convention,
            source=f"{self._kind.name} npz",
        )

    def _cameras(self, arrays: Arrays, path: Path) -> dict[str, str]:
        found = self._kind.cameras(arrays)
        if not found:
            raise UserError(
                f"{path} holds no images of format {self._kind.name}; it has {sorted(arrays)}"
            )
        return found

    def _numbers(
        self, arrays: Arrays, path: Path
    ) -> tuple[Float32[np.ndarray, "t a"], Float32[np.ndarray, " t"]]:
        actions = _array(arrays, "action", path)
        known = self._kind.convention
        if actions.ndim != 2 or (known is not None and actions.shape[1] != len(known.names)):
            raise UserError(
                f"{path}: expected rows of {len(known.names) if known else 'some'} actions, got an "
                f"array of shape {actions.shape}; is it of format {self._kind.name}?"
            )
        actions, reward = self._kind.numbers(arrays)
        return actions.astype(np.float32), reward.astype(np.float32)


def _open(path: Path) -> NpzFile:
    """A file's arrays."""
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no .npz file that can be read ({error})") from error


def _array(arrays: Arrays, name: str, path: Path) -> np.ndarray:
    """One array of a file."""
    if name not in arrays:
        raise UserError(
            f"{path} has no `{name}`, only {sorted(arrays)}; a world model needs images and "
            "actions: import the recordings that the file was made from"
        )
    try:
        return arrays[name]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: `{name}` cannot be read ({error}); copy it again") from error


def _colours(images: np.ndarray, path: Path) -> UInt8[np.ndarray, "t h w 3"]:
    """Images as bytes, whichever integers they were stored as."""
    if images.dtype.kind not in "ui" or images.ndim != 4 or images.shape[-1] != 3:
        raise UserError(
            f"{path}: expected images of integers, frames x height x width x 3, got "
            f"{images.dtype} of shape {images.shape}"
        )
    if images.min() < 0 or images.max() > 255:
        raise UserError(
            f"{path}: expected images of integers from 0 to 255, got {images.min()} to "
            f"{images.max()}"
        )
    return images.astype(np.uint8)


def _image_arrays(arrays: Arrays) -> dict[str, str]:
    """Every array named after images: `image` is the main camera, `aux1_image` another."""
    names = [name for name in sorted(arrays, key=len) if name.endswith("image")]
    return {name.removesuffix("image").strip("_") or "main": name for name in names}


def _as_stored(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Row t holds the action that led from frame t on; nothing was rewarded."""
    return arrays["action"], np.zeros(len(arrays["action"]))


def _one_row_later(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Row t holds what led *to* frame t, so action and reward move up, and the last frame goes.

    The arm clips commands to [-1, 1], the demonstrations were stored before that.
    """
    return arrays["action"][1:].clip(-1, 1), arrays["reward"][1:, 0]


def _newest(observations: np.ndarray) -> UInt8[np.ndarray, "t h w 3"]:
    """The last of the frames that are stacked along the channels."""
    stacked = rearrange(observations, "t (k c) h w -> k t h w c", k=STACKED)
    return stacked[-1]


def _example_images(number: int, *, frames: int) -> UInt8[np.ndarray, "t h w 3"]:
    """A square that moves right."""
    images = np.full((frames, 32, 32, 3), 50 + 60 * number, np.uint8)
    for frame in range(frames):
        images[frame, 10:18, 2 * frame : 2 * frame + 8, 2] = 240
    return images


def _example_pushing(number: int) -> dict[str, np.ndarray]:
    images = _example_images(number, frames=8).astype(np.int64)
    shifts = np.repeat(np.linspace(-0.05, 0.05 - 0.01 * number, 4), 2)
    actions = np.stack([shifts, -shifts, shifts > 0, shifts < -0.03], axis=1)
    return {"image": images, "action": actions, "aux1_image": images[:, ::-1]}


def _example_metaworld(number: int) -> dict[str, np.ndarray]:
    images = rearrange(_example_images(number, frames=9), "t h w c -> t c h w")
    before = [images[np.maximum(np.arange(9) - lag, 0)] for lag in (2, 1, 0)]
    actions = np.linspace(-2, 2 - 0.1 * number, 36, dtype=np.float32).reshape(9, 4)
    actions[0] = 0
    reward = np.linspace(0, 26, 9, dtype=np.float32)[:, None]
    return {"observation": np.concatenate(before, axis=1), "action": actions, "reward": reward}


bair = NpzFormat(
    name="bair",
    robot_type="sawyer",
    behaviour="random",
    cameras=_image_arrays,
    images=lambda images: images,
    numbers=_as_stored,
    convention=BAIR_ACTIONS,
    succeeded=lambda reward: False,
    example_arrays=_example_pushing,
)
ivideogpt = NpzFormat(
    name="ivideogpt",
    robot_type="unknown",
    behaviour="unknown",
    cameras=_image_arrays,
    images=lambda images: images,
    numbers=_as_stored,
    convention=None,
    succeeded=lambda reward: False,
    example_arrays=_example_pushing,
)
metaworld = NpzFormat(
    name="metaworld",
    robot_type="sawyer",
    behaviour="expert",
    cameras=lambda arrays: {"corner": "observation"} if "observation" in arrays else {},
    images=_newest,
    numbers=_one_row_later,
    convention=METAWORLD_ACTIONS,
    succeeded=lambda reward: bool((reward > LARGEST_REWARD).any()),
    example_arrays=_example_metaworld,
)
