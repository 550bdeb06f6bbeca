"""What actions mean, and how to say the same in another convention; every map has its inverse."""

import numpy as np
from jaxtyping import Float

from roboscape.dataset.records import ActionConvention


def unknown_convention(names: tuple[str, ...], *, action_hz: float) -> ActionConvention:
    """The convention of a dataset that does not say: absolute values in units of their own."""
    return ActionConvention(
        mode="absolute",
        names=names,
        units=("unknown",) * len(names),
        scale=(1.0,) * len(names),
        frame="unknown",
        rotation="none",
        gripper="unknown",
        action_hz=action_hz,
        known=False,
    )


def to_physical(
    actions: Float[np.ndarray, "*t a"], convention: ActionConvention
) -> Float[np.ndarray, "*t a"]:
    """Stored actions in the convention's units (metres, radians)."""
    return actions * _scale(actions, convention)


def from_physical(
    physical: Float[np.ndarray, "*t a"], convention: ActionConvention
) -> Float[np.ndarray, "*t a"]:
    """Inverse of `to_physical`."""
    return physical / _scale(physical, convention)


def xyzw_to_wxyz(quaternions: Float[np.ndarray, "*t 4"]) -> Float[np.ndarray, "*t 4"]:
    """Move the real part from the end to the front."""
    return np.roll(quaternions, 1, axis=-1)


def wxyz_to_xyzw(quaternions: Float[np.ndarray, "*t 4"]) -> Float[np.ndarray, "*t 4"]:
    """Inverse of `xyzw_to_wxyz`."""
    return np.roll(quaternions, -1, axis=-1)


def flip_gripper(
    actions: Float[np.ndarray, "*t a"], *, dimension: int, low: float = -1.0, high: float = 1.0
) -> Float[np.ndarray, "*t a"]:
    """Turn open into closed within [low, high]; its own inverse."""
    flipped = actions.copy()
    flipped[..., dimension] = low + high - actions[..., dimension]
    return flipped


def axis_angle_to_quaternion(
    rotations: Float[np.ndarray, "*t 3"],
) -> Float[np.ndarray, "*t 4"]:
    """Unit quaternions (xyzw) of rotation vectors in radians."""
    angle = np.linalg.norm(rotations, axis=-1, keepdims=True)
    # numpy's sinc(x) is sin(pi x) / (pi x), finite at 0.
    half_sine_over_angle = np.sinc(angle / (2 * np.pi)) / 2
    return np.concatenate([rotations * half_sine_over_angle, np.cos(angle / 2)], axis=-1)


def quaternion_to_axis_angle(
    quaternions: Float[np.ndarray, "*t 4"],
) -> Float[np.ndarray, "*t 3"]:
    """Rotation vectors, at most pi long, of unit quaternions (xyzw).

    Inverse of `axis_angle_to_quaternion` for rotations shorter than pi; q and -q give the same.
    """
    shortest = np.where(quaternions[..., 3:] < 0, -quaternions, quaternions)
    sine = np.linalg.norm(shortest[..., :3], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, shortest[..., 3:])
    # angle / sine tends to 2 where there is no rotation.
    ratio = np.divide(
        angle, sine, out=np.full_like(sine, 2.0), where=sine > np.finfo(sine.dtype).tiny
    )
    return shortest[..., :3] * ratio


def _scale(actions: Float[np.ndarray, "*t a"], convention: ActionConvention) -> np.ndarray:
    """The convention's scale, in the kind of number that the actions have."""
    if not convention.known:
        raise ValueError(
            "the dataset does not say what its actions mean, so they have no physical units; write "
            "an ActionConvention into its meta/roboscape.json"
        )
    if actions.shape[-1] != len(convention.scale):
        raise ValueError(
            f"the convention names {len(convention.scale)} action dimensions, the actions have "
            f"{actions.shape[-1]}; use the convention of their own dataset"
        )
    return np.asarray(convention.scale, dtype=actions.dtype)
