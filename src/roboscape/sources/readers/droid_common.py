"""Common parts of all ways of storing DROID: cameras, poses."""

import numpy as np
from jaxtyping import Float, Float32

from roboscape.dataset.records import ActionConvention

CAMERAS = ("exterior_1", "exterior_2", "wrist")
"""DROID's three views, in the order of its videos; others are named by their number."""
POSE_NAMES = ("eef_x", "eef_y", "eef_z", "eef_rx", "eef_ry", "eef_rz")
ROTATION_X = 3
STATE_NAMES = (*POSE_NAMES, "gripper_closed_share")


def pose_convention(*, action_hz: float) -> ActionConvention:
    """A pose to reach (its rotation Euler angles as scipy's `xyz`) and a gripper opening."""
    return ActionConvention(
        mode="absolute",
        names=(*POSE_NAMES, "gripper"),
        units=("m", "m", "m", "rad", "rad", "rad", "1"),
        scale=(1.0,) * 7,
        frame="robot_base",
        rotation="euler_xyz",
        gripper="0 opens, 1 closes",
        action_hz=action_hz,
        gripper_open=0.0,
        gripper_closed=1.0,
    )


def without_jumps(poses: Float[np.ndarray, "t 7"]) -> Float32[np.ndarray, "t 7"]:
    """Rotation about x in [0, 2 pi).

    The hand points down, near pi, where angles in [-pi, pi) would jump all the time.
    """
    wrapped = poses.astype(np.float64)
    wrapped[:, ROTATION_X] %= 2 * np.pi
    return wrapped.astype(np.float32)
