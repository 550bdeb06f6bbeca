"""The same actions said differently: absolute or delta, another rate, range, or normalisation."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from einops import rearrange, repeat
from jaxtyping import Bool, Float, UInt8
from scipy.spatial.transform import Rotation

from roboscape.core.errors import UserError
from roboscape.dataset.conventions import is_gripper
from roboscape.dataset.records import ActionConvention

Frame = Literal["base", "end_effector"]
NormalizationKind = Literal["mean_std", "min_max", "quantiles"]


@dataclass(frozen=True, kw_only=True)
class Poses:
    """Positions and orientations of an end effector in the robot's base, one a row."""

    position_m: Float[np.ndarray, "t 3"]
    rotation: Rotation


def poses_to_deltas(
    targets: Poses, *, start: Poses, frame: Frame
) -> tuple[Float[np.ndarray, "t 3"], Float[np.ndarray, "t 3"]]:
    """Motions (metres, rotation vectors) that lead from `start` to the first target, and so on.

    Args:
        targets: Absolute poses, one a row.
        start: The pose before the first row (one row).
        frame: Axes that a motion is written in: the base's, or the end effector's before it moves.
    """
    before_m = np.concatenate([start.position_m, targets.position_m[:-1]])
    before = Rotation.concatenate([start.rotation, targets.rotation[:-1]])
    motion_m = targets.position_m - before_m
    if frame == "base":
        return motion_m, (targets.rotation * before.inv()).as_rotvec()
    return before.inv().apply(motion_m), (before.inv() * targets.rotation).as_rotvec()


def deltas_to_poses(
    motion_m: Float[np.ndarray, "t 3"],
    turn_rad: Float[np.ndarray, "t 3"],
    *,
    start: Poses,
    frame: Frame,
) -> Poses:
    """Inverse of `poses_to_deltas`: the poses reached from `start`, rotations composed."""
    position_m, rotation = start.position_m[0], start.rotation[0]
    positions_m, rotations = [], []
    for step_m, turn in zip(motion_m, Rotation.from_rotvec(turn_rad), strict=True):
        position_m = position_m + (step_m if frame == "base" else rotation.apply(step_m))
        rotation = turn * rotation if frame == "base" else rotation * turn
        positions_m.append(position_m)
        rotations.append(rotation)
    return Poses(position_m=np.stack(positions_m), rotation=Rotation.concatenate(rotations))


def slow_down(
    actions: Float[np.ndarray, "n a"], *, convention: ActionConvention, factor: int
) -> Float[np.ndarray, "m a"]:
    """Actions at a rate `factor` times lower: deltas summed, absolute values and grippers the last.

    Rotation vectors are summed too, exact to first order; rows that fill no step are left out.
    """
    used = actions[: len(actions) // factor * factor]
    grouped = rearrange(used, "(m k) a -> m k a", k=factor)
    if convention.mode == "absolute":
        return grouped[:, -1]
    return np.where(_grippers(convention), grouped[:, -1], grouped.sum(axis=1))


def speed_up(
    actions: Float[np.ndarray, "m a"], *, convention: ActionConvention, factor: int
) -> Float[np.ndarray, "n a"]:
    """Actions at a rate `factor` times higher: deltas shared out, the others held.

    `slow_down` undoes it.
    """
    held = repeat(actions, "m a -> (m k) a", k=factor)
    if convention.mode == "absolute":
        return held
    return np.where(_grippers(convention), held, held / factor)


def convert_range(
    values: Float[np.ndarray, "*t"],
    *,
    source: tuple[float, float],
    target: tuple[float, float],
) -> Float[np.ndarray, "*t"]:
    """Send one pair of values to another, such as (open, closed); swapping the pairs goes back."""
    if source[0] == source[1] or target[0] == target[1]:
        raise UserError(f"a range needs two different ends, got {source} and {target}")
    share = (values - source[0]) / (source[1] - source[0])
    return target[0] + share * (target[1] - target[0])


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """An affine map, one a dimension: normalised = (value - offset) / scale."""

    kind: NormalizationKind
    offset: Float[np.ndarray, " a"]
    scale: Float[np.ndarray, " a"]


def fit_normalization(
    values: Float[np.ndarray, "n a"], *, kind: NormalizationKind
) -> Normalization:
    """Zero mean and unit deviation, or [-1, 1] for the extremes or the 1 % and 99 % quantiles.

    Dimensions that never change keep their scale.
    """
    numbers = values.astype(np.float64)
    if kind == "mean_std":
        offset, scale = numbers.mean(axis=0), numbers.std(axis=0)
    else:
        ends = (0.0, 1.0) if kind == "min_max" else (0.01, 0.99)
        low, high = np.quantile(numbers, ends, axis=0)
        offset, scale = (low + high) / 2, (high - low) / 2
    return Normalization(kind=kind, offset=offset, scale=np.where(scale > 0, scale, 1.0))


def normalize(
    values: Float[np.ndarray, "*t a"], normalization: Normalization
) -> Float[np.ndarray, "*t a"]:
    """Values as a model takes them."""
    return (values - normalization.offset) / normalization.scale


def denormalize(
    values: Float[np.ndarray, "*t a"], normalization: Normalization
) -> Float[np.ndarray, "*t a"]:
    """Inverse of `normalize`."""
    return values * normalization.scale + normalization.offset


def turn_images(images: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Images turned by 180 degrees (LIBERO's); its own inverse."""
    return images[:, ::-1, ::-1]


def _grippers(convention: ActionConvention) -> Bool[np.ndarray, " a"]:
    return np.array([is_gripper(name) for name in convention.names])
