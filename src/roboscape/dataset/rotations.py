"""Representations of rotations; `convert_rotation` with its arguments swapped is its inverse."""

from typing import Literal

import numpy as np
from einops import rearrange
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from roboscape.core.errors import UserError

RotationKind = Literal[
    "axis_angle", "euler_xyz", "quaternion_xyzw", "quaternion_wxyz", "rotation_6d"
]
"""Euler angles turn about the fixed axes x, then y, then z (DROID's and robosuite's)."""

ROTATION_SIZES: dict[str, int] = {
    "axis_angle": 3,
    "euler_xyz": 3,
    "quaternion_xyzw": 4,
    "quaternion_wxyz": 4,
    "rotation_6d": 6,
}


def to_rotation(values: Float[np.ndarray, "n r"], *, kind: RotationKind) -> Rotation:
    """Rotations from numbers (radians); quaternions need not be unit, but not zero either."""
    if values.shape[-1] != ROTATION_SIZES[kind]:
        raise UserError(
            f"{kind} has {ROTATION_SIZES[kind]} numbers a rotation, got {values.shape[-1]}; choose "
            "the dimensions of one rotation, or another representation"
        )
    match kind:
        case "axis_angle":
            return Rotation.from_rotvec(values)
        case "euler_xyz":
            return Rotation.from_euler("xyz", values)
        case "quaternion_xyzw":
            return Rotation.from_quat(values)
        case "quaternion_wxyz":
            return Rotation.from_quat(np.roll(values, -1, axis=-1))
        case "rotation_6d":
            return Rotation.from_matrix(_matrices_of_6d(values))


def from_rotation(rotation: Rotation, *, kind: RotationKind) -> Float[np.ndarray, "n r"]:
    """Inverse of `to_rotation`: quaternions with a real part that is not negative."""
    match kind:
        case "axis_angle":
            return rotation.as_rotvec()
        case "euler_xyz":
            return rotation.as_euler("xyz")
        case "quaternion_xyzw":
            return _canonical(rotation.as_quat())
        case "quaternion_wxyz":
            return np.roll(_canonical(rotation.as_quat()), 1, axis=-1)
        case "rotation_6d":
            return rearrange(rotation.as_matrix()[:, :, :2], "n row column -> n (column row)")


def convert_rotation(
    values: Float[np.ndarray, "n r"], *, source: RotationKind, target: RotationKind
) -> Float[np.ndarray, "n q"]:
    """The same rotations in other numbers; swapping `source` and `target` goes back."""
    return from_rotation(to_rotation(values, kind=source), kind=target)


def _canonical(quaternions: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    return np.where(quaternions[:, 3:] < 0, -quaternions, quaternions)


def _matrices_of_6d(values: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, "n 3 3"]:
    """Gram-Schmidt on the first two columns of a matrix (Zhou et al., 2019, equation 15)."""
    first = values[:, :3] / np.linalg.norm(values[:, :3], axis=-1, keepdims=True)
    overlap = (first * values[:, 3:]).sum(axis=-1, keepdims=True)
    second = values[:, 3:] - overlap * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=-1)
