"""Control signals: what a robot was told between two frames of a clip."""

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from roboscape.dataset.records import ActionConvention

GRIPPER_NAMES = ("gripper",)
"""Dimensions whose command is a state to reach, not a motion: integrating them means nothing."""


def control_size(convention: ActionConvention, *, stride: int, state_size: int) -> int:
    """Length of one control signal."""
    size = len(convention.names)
    per_frame = size * stride + size if convention.mode == "delta" else size
    return per_frame + state_size


def control_signals(
    actions: Float[np.ndarray, "n a"],
    first_state: Float[np.ndarray, " s"],
    *,
    convention: ActionConvention,
    stride: int,
    motion_so_far: Float[np.ndarray, " a"] | None = None,
) -> Float32[np.ndarray, "t c"]:
    """The signal that led into every frame of a clip of any length.

    Frame t lies `stride` native rows after frame t - 1, so n actions reach 1 + n // stride frames.
    Row 0 is zeros: nothing led into the first frame. The other rows hold

    - delta actions: the `stride` actions since the frame before, stacked; the motion commanded
      since the first frame, in physical units (of a gripper the last command); the first frame's
      state;
    - absolute actions: the last action before the frame; the first frame's state.

    Args:
        actions: Native-rate actions from the clip's first row on.
        first_state: Proprioception at the first row; empty where the dataset has none.
        convention: What the actions mean.
        stride: Native rows between two frames.
        motion_so_far: Where a longer clip goes on: `commanded_motion` of all actions before these.
    """
    frames = len(actions) // stride
    used = np.asarray(actions[: frames * stride], np.float64)
    stacked = rearrange(used, "(t k) a -> t k a", k=stride)
    state = np.broadcast_to(np.asarray(first_state, np.float64), (frames, len(first_state)))
    if convention.mode == "absolute":
        rows = np.concatenate([stacked[:, -1], state], axis=1)
    else:
        motion = integrate_motion(stacked, convention=convention, start=motion_so_far)
        rows = np.concatenate([rearrange(stacked, "t k a -> t (k a)"), motion, state], axis=1)
    return np.concatenate([np.zeros((1, rows.shape[1])), rows]).astype(np.float32)


def commanded_motion(
    actions: Float[np.ndarray, "n a"],
    *,
    convention: ActionConvention,
    start: Float[np.ndarray, " a"] | None = None,
) -> Float[np.ndarray, " a"]:
    """The motion that all of these delta actions command together, in physical units."""
    before = np.zeros(len(convention.names)) if start is None else start
    if not len(actions):
        return before
    scaled = np.asarray(actions, np.float64) * np.array(convention.scale)
    grips = gripper_dimensions(convention)
    return np.where(grips, scaled[-1], before + scaled.sum(axis=0))


def integrate_motion(
    stacked: Float[np.ndarray, "t k a"],
    *,
    convention: ActionConvention,
    start: Float[np.ndarray, " a"] | None,
) -> Float[np.ndarray, "t a"]:
    """`commanded_motion` at every frame."""
    scaled = stacked * np.array(convention.scale)
    before = np.zeros(stacked.shape[-1]) if start is None else start
    motion = before + np.cumsum(scaled.sum(axis=1), axis=0)
    return np.where(gripper_dimensions(convention), scaled[:, -1], motion)


def gripper_dimensions(convention: ActionConvention) -> Bool[np.ndarray, " a"]:
    """True where a dimension commands a gripper."""
    return np.array([name in GRIPPER_NAMES for name in convention.names])


@dataclass(frozen=True, kw_only=True)
class ControlStatistics:
    """What turns control signals into a model's inputs; measured on the training split."""

    convention: ActionConvention
    """What the actions mean."""
    stride: int
    """Native rows between two frames."""
    state_size: int
    """Proprioception's dimensions."""
    mean: tuple[float, ...]
    """Of every dimension of a control signal."""
    std: tuple[float, ...]
    """Of every dimension; 1 where a dimension never changes."""

    def __post_init__(self) -> None:
        """Refuse statistics of other signals than the convention's."""
        size = control_size(self.convention, stride=self.stride, state_size=self.state_size)
        if not len(self.mean) == len(self.std) == size:
            raise ValueError(
                f"control signals of this convention at stride {self.stride} have {size} "
                f"dimensions; got {len(self.mean)} means and {len(self.std)} deviations"
            )

    @property
    def size(self) -> int:
        """Length of one control signal."""
        return len(self.mean)

    def normalize(self, signals: Float[Tensor, "*b t c"]) -> Float[Tensor, "*b t c"]:
        """Signals as a model takes them: zero mean, unit deviation; row 0 stays zeros."""
        mean, std = signals.new_tensor(self.mean), signals.new_tensor(self.std)
        normalized = (signals - mean) / std
        normalized[..., 0, :] = 0
        return normalized
