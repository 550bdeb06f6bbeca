"""Camera poses: from pixels with depth to points in the world and back."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from roboscape.core.errors import UserError
from roboscape.dataset.records import CameraGeometry, DatasetSpec
from roboscape.dataset.rotations import from_rotation, to_rotation

HANDS = ("eef", "hand")
"""Names of the hand in state dimensions: `eef_x`, `hand_x`; its rotation is `eef_quaternion_x`."""
DECIMALS = 6
"""Of what is kept: a micrometre. Recorded states are single precision, whose noise differs from one
machine to the next."""


@dataclass(frozen=True, kw_only=True)
class CameraPose:
    """A pinhole camera in the world: x right, y up, looking along its negative z (OpenGL)."""

    position_m: Float[np.ndarray, "3"]
    camera_to_world: Float[np.ndarray, "3 3"]
    focal_px: float
    height: int
    width: int


def project(points_m: Float[np.ndarray, "k 3"], camera: CameraPose) -> Float[np.ndarray, "k 3"]:
    """World points to (x px, y px, depth m along the axis); pixel centres are integers."""
    local = (points_m - camera.position_m) @ camera.camera_to_world
    depth_m = -local[:, 2]
    x_px = local[:, 0] / depth_m * camera.focal_px + camera.width / 2 - 0.5
    y_px = -local[:, 1] / depth_m * camera.focal_px + camera.height / 2 - 0.5
    return np.stack([x_px, y_px, depth_m], axis=1)


def unproject(pixels: Float[np.ndarray, "k 3"], camera: CameraPose) -> Float[np.ndarray, "k 3"]:
    """Inverse of `project`: (x px, y px, depth m) to world points."""
    x_px, y_px, depth_m = pixels.T
    right = (x_px + 0.5 - camera.width / 2) / camera.focal_px * depth_m
    up = -(y_px + 0.5 - camera.height / 2) / camera.focal_px * depth_m
    local = np.stack([right, up, -depth_m], axis=1)
    return local @ camera.camera_to_world.T + camera.position_m


def camera_pose(spec: DatasetSpec, camera: str, state: Float[np.ndarray, " s"]) -> CameraPose:
    """The pose of a dataset's camera when the robot is in a recorded state.

    Args:
        spec: The dataset's.
        camera: Its name.
        state: Proprioception; read for a camera on the hand alone.

    Raises:
        ValueError: no such camera, or the dataset does not say where it is.
    """
    found = {one.name: one for one in spec.cameras}.get(camera)
    if found is None:
        known = ", ".join(one.name for one in spec.cameras)
        raise UserError(f"this dataset has no camera {camera!r}; it has: {known}")
    geometry = found.geometry
    if geometry is None:
        raise UserError(
            f"this dataset does not say where camera {camera!r} is; write its `geometry` into "
            "`meta/roboscape.json` (recordings by `roboscape collect` have it)"
        )
    position_m = np.array(geometry.position_m)
    camera_to_world = _matrix(np.array(geometry.quaternion_xyzw))
    if geometry.mount == "hand":
        hand_m, hand_to_world = hand_pose(spec.state_names, state)
        position_m = hand_to_world @ position_m + hand_m
        camera_to_world = hand_to_world @ camera_to_world
    return CameraPose(
        position_m=position_m,
        camera_to_world=camera_to_world,
        focal_px=geometry.focal_px,
        height=found.height,
        width=found.width,
    )


def hand_pose(
    names: tuple[str, ...], state: Float[np.ndarray, " s"]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
    """Position in metres and rotation to the world of the hand in a recorded state.

    Raises:
        ValueError: the state does not hold the hand's position.
    """
    values = dict(zip(names, state.astype(np.float64), strict=True))
    hand = named_hand(names)
    if hand is None:
        raise UserError(
            "a camera on the hand needs the hand's position in the recorded state, as eef_x, "
            f"eef_y, eef_z; this dataset's state holds: {', '.join(names) or 'nothing'}"
        )
    turn = [f"{hand}_quaternion_{axis}" for axis in "xyzw"]
    rotation = np.eye(3)
    if all(name in values for name in turn):
        rotation = _matrix(np.array([values[name] for name in turn]))
    return np.array([values[f"{hand}_{axis}"] for axis in "xyz"]), rotation


def hand_columns(state_names: Sequence[str]) -> list[int]:
    """The columns of a state that hold the hand's position in metres.

    Raises:
        ValueError: it has none of these names.
    """
    hand = named_hand(state_names)
    if hand is None:
        expected = " or ".join(f"{hand}_x, {hand}_y, {hand}_z" for hand in HANDS)
        raise UserError(
            f"reaching a goal compares where the hand is: expected states {expected}, got "
            f"{', '.join(state_names) or 'none'}"
        )
    return [state_names.index(f"{hand}_{axis}") for axis in "xyz"]


def named_hand(state_names: Sequence[str]) -> str | None:
    """The first of `HANDS` that names of states give a position; None where there is none."""
    for hand in HANDS:
        if all(f"{hand}_{axis}" in state_names for axis in "xyz"):
            return hand
    return None


def geometry_of(
    pose: CameraPose, *, hand: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]] | None = None
) -> CameraGeometry:
    """The geometry of a camera as a dataset keeps it.

    Args:
        pose: Where the camera is.
        hand: The hand's `hand_pose` at that time, of a camera that is mounted on it.
    """
    position_m, rotation = pose.position_m, pose.camera_to_world
    if hand is not None:
        hand_m, hand_to_world = hand
        position_m = hand_to_world.T @ (position_m - hand_m)
        rotation = hand_to_world.T @ rotation
    quaternion = from_rotation(Rotation.from_matrix(rotation[None]), kind="quaternion_xyzw")[0]
    # Of half a turn, whose real part is zero or next to it, both signs are the same rotation.
    x, y, z, w = _rounded(quaternion)
    sign = np.sign(next(part for part in (w, x, y, z) if part))
    x, y, z, w = _rounded(sign * np.array([x, y, z, w]))
    right, up, back = _rounded(position_m)
    return CameraGeometry(
        mount="world" if hand is None else "hand",
        position_m=(right, up, back),
        quaternion_xyzw=(x, y, z, w),
        focal_px=round(pose.focal_px, DECIMALS),
    )


def _rounded(values: Float[np.ndarray, " n"]) -> list[float]:
    """As kept; plus zero makes no zero negative."""
    return [round(float(value), DECIMALS) + 0.0 for value in values]


def _matrix(quaternion_xyzw: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    return to_rotation(quaternion_xyzw[None], kind="quaternion_xyzw").as_matrix()[0]
