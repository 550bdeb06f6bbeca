"""A token folder of 1xgpt (1X World Model Challenge, versions 1.x), read in place.

It holds the MAGVIT-2 codes of every frame (`video.bin`), the segment that each frame came from
(`segment_ids.bin`), an array for each kind of action (`actions/*.bin`) and `metadata.json`.
"""

import logging
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from roboscape.clips.split import Split
from roboscape.core.errors import UserError
from roboscape.core.files import read_json, write_json
from roboscape.dataset.conventions import unknown_convention
from roboscape.dataset.records import ActionConvention

log = logging.getLogger(__name__)

CODE_BITS = 18
JOINTS = (
    *("hip_yaw", "hip_roll", "hip_pitch", "knee_pitch", "ankle_roll", "ankle_pitch"),
    *(
        f"{side}_{joint}"
        for side in ("left", "right")
        for joint in (
            *("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow_pitch", "elbow_yaw"),
            *("wrist_pitch", "wrist_roll"),
        )
    ),
    "neck_pitch",
)
ACTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "joint_pos": (JOINTS, ("rad",) * len(JOINTS)),
    "driving_command": (("linear_velocity", "angular_velocity"), ("m/s", "rad/s")),
    "neck_desired": (("neck_pitch_desired",), ("rad",)),
    "l_hand_closure": (("left_hand_closed_share",), ("1",)),
    "r_hand_closure": (("right_hand_closed_share",), ("1",)),
}
"""Names and units of the numbers of each known file in `actions`."""


class TokenFolder:
    """The arrays of a folder, mapped.

    Raises:
        ValueError: files are missing, truncated, or of another version or tokenizer.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if next(root.glob("video_*.bin"), None) is not None:
            raise UserError(
                f"{root} is of 1X's version 2.0, whose codes (Cosmos, 8 x 8 x 8 pixels and frames) "
                "are no codes of single frames; import version 1.1"
            )
        metadata = read_json(root / "metadata.json")
        self.num_frames, self.side = int(metadata["num_images"]), int(metadata["s"])
        self.hz = float(metadata.get("hz", 30))
        if (found := metadata.get("vocab_size", 2**CODE_BITS)) != 2**CODE_BITS:
            raise UserError(
                f"{root} has codes of a vocabulary of {found}, expected 2 ** {CODE_BITS} "
                "(version 1.0 and later)"
            )
        dtype = np.dtype(metadata.get("token_dtype", "uint32"))
        shape = (self.num_frames, self.side**2)
        self.codes = _mapped(root / "video.bin", dtype, shape)
        self.split: Split = _split_of_name(root.resolve().name)

    @cached_property
    def actions(self) -> dict[str, Float32[np.ndarray, "n a"]]:
        """Every array of actions by name, the known ones in their order; empty without any."""
        names = {path.stem for path in (self.root / "actions").glob("*.bin")}
        ordered = [*(name for name in ACTIONS if name in names), *sorted(names - set(ACTIONS))]
        return {name: self._action(name) for name in ordered}

    @property
    def convention(self) -> ActionConvention:
        """Absolute joint positions, velocities and hand closures."""
        names: list[str] = []
        units: list[str] = []
        for name, values in self.actions.items():
            width = values.shape[1]
            if name not in ACTIONS or len(ACTIONS[name][0]) != width:
                return unknown_convention(
                    tuple(f"{n}_{i}" for n, v in self.actions.items() for i in range(v.shape[1])),
                    action_hz=self.hz,
                )
            names += ACTIONS[name][0]
            units += ACTIONS[name][1]
        return ActionConvention(
            mode="absolute",
            names=tuple(names),
            units=tuple(units),
            scale=(1.0,) * len(names),
            frame="joints",
            rotation="none",
            gripper="hands: 0 opens, 1 closes",
            action_hz=self.hz,
            gripper_open=0.0,
            gripper_closed=1.0,
        )

    def action_rows(self, rows: slice) -> Float32[np.ndarray, "t a"]:
        """All actions of some rows side by side."""
        parts = [np.asarray(values[rows], np.float32) for values in self.actions.values()]
        length = len(range(self.num_frames)[rows])
        return np.concatenate([np.zeros((length, 0), np.float32), *parts], axis=1)

    def code_rows(self, rows: slice) -> Int32[np.ndarray, "t n"]:
        """Codes of some frames."""
        codes = np.asarray(self.codes[rows])
        if codes.size and (largest := codes.max()) >= 2**CODE_BITS:
            frame = rows.start + int(np.argwhere(codes == largest)[0, 0])
            raise UserError(
                f"{self.root}/video.bin, frame {frame} holds the code {largest}, expected less "
                f"than 2 ** {CODE_BITS}; is metadata.json of this file?"
            )
        return codes.astype(np.int32)

    def borders(self) -> list[tuple[int, int]]:
        """First and end frame of every segment; the whole file without segment ids."""
        path = self.root / "segment_ids.bin"
        if not path.is_file():
            log.warning("%s has no segment_ids.bin: it counts as one uncut recording", self.root)
            return [(0, self.num_frames)]
        ids = _mapped(path, np.dtype(np.int32), (self.num_frames,))
        cuts = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), self.num_frames]
        return [(first, end) for first, end in pairwise(cuts) if end > first]

    def _action(self, name: str) -> Float32[np.ndarray, "n a"]:
        path = self.root / "actions" / f"{name}.bin"
        width, left = divmod(path.stat().st_size, 4 * max(1, self.num_frames))
        if left or not width:
            raise UserError(
                f"{path} has {path.stat().st_size} bytes, expected float32 rows for "
                f"{self.num_frames} frames; it is truncated or belongs to another video.bin"
            )
        return _mapped(path, np.dtype(np.float32), (self.num_frames, width))


def example(folder: Path) -> Path:
    """Forty frames of 4 x 4 codes at 30 Hz, in two segments, with all of 1X's actions."""
    root = folder / "train_v1.1"
    (root / "actions").mkdir(parents=True)
    frames, side = 40, 4
    codes = np.arange(frames * side**2, dtype=np.uint32) * 401 % 2**CODE_BITS
    codes.tofile(root / "video.bin")
    np.repeat(np.array([7, 9], np.int32), (24, 16)).tofile(root / "segment_ids.bin")
    for name, (parts, _) in ACTIONS.items():
        values = np.linspace(0, 1, frames * len(parts), dtype=np.float32)
        values.tofile(root / "actions" / f"{name}.bin")
    metadata = {
        "num_images": frames,
        "s": side,
        "vocab_size": 2**CODE_BITS,
        "hz": 30,
        "token_dtype": "uint32",
    }
    write_json(root / "metadata.json", metadata)
    return root


def _mapped(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """A file of plain numbers, without reading it."""
    if not path.is_file():
        raise UserError(f"expected {path.name} beside metadata.json in {path.parent}, found none")
    expected = int(np.prod(shape)) * dtype.itemsize
    if path.stat().st_size != expected:
        raise UserError(
            f"{path} has {path.stat().st_size} bytes, metadata.json promises {expected} ({dtype} "
            f"of shape {shape}); it is truncated or of another version: copy it again"
        )
    return np.memmap(path, dtype, mode="r", shape=shape)


def _split_of_name(name: str) -> Split:
    """The split that a folder's name (`val_v1.1`) speaks of."""
    if name.startswith("val"):
        return "validation"
    return "test" if name.startswith("test") else "train"
