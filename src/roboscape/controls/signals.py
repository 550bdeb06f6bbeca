"""Control signals: the actions between two frames of a clip, and the motion that they command."""

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Float32, Float64

from roboscape.dataset.records import ActionConvention

UNCHANGING = 1e-6
"""A number with a smaller deviation never changes."""
GRIPPER_NAMES = ("gripper",)
"""Dimensions whose command is a state to reach, not a motion: integrating them means nothing."""


def control_size(
    convention: ActionConvention, *, stride: int, state_size: int, imagined_state: bool = False
) -> int:
    """Length of one control signal."""
    size = len(convention.names)
    actions_size = size * stride if convention.mode == "delta" else size
    if imagined_state:
        return actions_size + 2 * state_size
    return actions_size + state_size + (size if convention.mode == "delta" else 0)


def commanded_signals(
    actions: Float[np.ndarray, "b n a"],
    first_state: Float[np.ndarray, "b s"],
    *,
    convention: ActionConvention,
    stride: int,
    moved: Float[np.ndarray, "b a"] | None = None,
) -> Float32[np.ndarray, "b t c"]:
    """The signal that led into every frame of clips of any length, from commands alone.

    Frame t lies `stride` native rows after frame t - 1, so n actions reach 1 + n // stride frames.
    Row 0 is zeros: nothing led into the first frame. The other rows hold

    - delta actions: the `stride` actions since the frame before, stacked; the motion commanded
      since the first frame, in physical units (of a gripper the last command); the first frame's
      state;
    - absolute actions: the last action before the frame; the first frame's state.

    Args:
        actions: Native-rate actions from each clip's first row on.
        first_state: Proprioception at the first row; empty where the dataset has none.
        convention: What the actions mean.
        stride: Native rows between two frames.
        moved: What earlier actions commanded since the first row (`commanded_motion`), where these
            are not the first.
    """
    frames = actions.shape[1] // stride
    parts = [actions_between(actions, convention=convention, stride=stride)]
    if convention.mode == "delta":
        before = np.zeros((len(actions), actions.shape[2])) if moved is None else moved
        way = commanded_motion(actions, before, convention=convention, stride=stride)
        parts.append(way[:, 1:])
    state = np.asarray(first_state, np.float64)[:, None]
    parts.append(np.broadcast_to(state, (len(actions), frames, state.shape[-1])))
    rows = np.concatenate(parts, axis=-1).astype(np.float32)
    return np.pad(rows, ((0, 0), (1, 0), (0, 0)))


def imagined_signals(
    actions: Float[np.ndarray, "b n a"],
    states: Float[np.ndarray, "b n+1 s"],
    *,
    convention: ActionConvention,
    stride: int,
) -> Float32[np.ndarray, "b t c"]:
    """The signal that led into every frame, with the state that the commands bring the arm to.

    Every row holds the actions since the frame before (of absolute ones the last; zeros in row 0),
    the state at the frame, and its change since the frame before. Nothing in it grows with a
    rollout's length.

    Args:
        actions: Native-rate actions from each clip's first row on.
        states: At every native row, the first included (`Proprioception.imagine`).
        convention: What the actions mean.
        stride: Native rows between two frames.
    """
    given = actions_between(actions, convention=convention, stride=stride)
    at_frames = states[:, : given.shape[1] * stride + 1 : stride]
    first = np.zeros((len(given), 1, given.shape[-1]))
    change = np.diff(at_frames, axis=1, prepend=at_frames[:, :1])
    signals = [np.concatenate([first, given], axis=1), at_frames, change]
    return np.concatenate(signals, axis=-1).astype(np.float32)


def actions_between(
    actions: Float[np.ndarray, "b n a"], *, convention: ActionConvention, stride: int
) -> Float[np.ndarray, "b t c"]:
    """The actions between each frame and the one before: all deltas, or the last absolute one."""
    used = np.asarray(actions[:, : actions.shape[1] // stride * stride], np.float64)
    if convention.mode == "absolute":
        return used[:, stride - 1 :: stride]
    return rearrange(used, "b (t k) a -> b t (k a)", k=stride)


def commanded_motion(
    actions: Float[np.ndarray, "b n a"],
    moved: Float[np.ndarray, "b a"],
    *,
    convention: ActionConvention,
    stride: int,
) -> Float64[np.ndarray, "b t a"]:
    """The motion that delta actions command up to every frame, in physical units.

    Of a gripper the last command. Frame 0 holds `moved`: what was commanded before these actions.
    """
    frames = actions.shape[1] // stride
    scaled = in_physical_units(actions[:, : frames * stride], convention)
    per_frame = rearrange(scaled, "b (t k) a -> b t k a", k=stride)
    before = np.asarray(moved, np.float64)[:, None]
    # One sum after the other, so that going on from `moved` rounds as the whole sum does.
    way = np.cumsum(np.concatenate([before, per_frame.sum(axis=2)], axis=1), axis=1)
    last = np.concatenate([before, per_frame[:, :, -1]], axis=1)
    return np.where(gripper_dimensions(convention), last, way)


def in_physical_units(
    actions: Float[np.ndarray, "*b a"], convention: ActionConvention
) -> Float[np.ndarray, "*b a"]:
    """Stored actions, scaled."""
    return np.asarray(actions, np.float64) * np.array(convention.scale)


def gripper_dimensions(convention: ActionConvention) -> Bool[np.ndarray, " a"]:
    """True where a dimension commands a gripper."""
    return np.array([name in GRIPPER_NAMES for name in convention.names])


def one_where_still(deviation: Float[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    """Deviations to divide by: numbers that never change are only shifted."""
    return np.where(deviation < UNCHANGING, 1.0, deviation)
