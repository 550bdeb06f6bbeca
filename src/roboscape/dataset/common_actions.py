"""Actions of any arm in one convention: what the hand is to move between two frames.

Displacements (m) and rotation vectors (rad) in the axes of the robot's base, or of the world where
the recording has those, and how far the gripper is to close. Axes that a robot does not command
are zero.
"""

import re

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation

from roboscape.core.errors import UserError
from roboscape.dataset.action_math import Poses, convert_range, poses_to_deltas
from roboscape.dataset.conventions import gripper_ends, is_gripper, to_physical
from roboscape.dataset.records import ActionConvention
from roboscape.dataset.rotations import ROTATION_SIZES, to_rotation

COMMON_HZ = 5.0
"""Frames a second that common recordings say they have; each keeps its true rate apart."""
COMMON_ACTION = ActionConvention(
    mode="delta",
    names=("eef_x", "eef_y", "eef_z", "eef_rx", "eef_ry", "eef_rz", "gripper"),
    units=("m", "m", "m", "rad", "rad", "rad", "1"),
    scale=(1.0,) * 7,
    frame="robot_base",
    rotation="axis_angle",
    gripper="0 opens, 1 closes",
    action_hz=COMMON_HZ,
    gripper_open=0.0,
    gripper_closed=1.0,
)
_ROTATION = re.compile("quat|rot")
FRAMES = ("robot_base", "world")
"""Frames of reference whose axes stand still."""


def common_actions(
    actions: Float[np.ndarray, "n a"],
    *,
    convention: ActionConvention,
    stride: int,
) -> Float[np.ndarray, "t 7"]:
    """The actions from every `stride`-th row to the next, as `COMMON_ACTION` says.

    Rotations are composed, not added. Absolute poses become the way from one to the next; the first
    one, before which there is none, begins at itself. The last row may hold fewer actions.

    Raises:
        ValueError: the actions do not move a hand along axes that stand still, or it is not known
            what they mean.
    """
    check_convertible(convention)
    physical = to_physical(actions.astype(np.float64), convention)
    motion_m, turns = hand_motion(physical, convention)
    starts = range(0, len(actions), stride)
    result = np.zeros((len(starts), len(COMMON_ACTION.names)))
    for row, start in enumerate(starts):
        turn = Rotation.identity()
        for one in turns[start : start + stride]:
            turn = one * turn
        result[row, :3] = motion_m[start : start + stride].sum(axis=0)
        result[row, 3:6] = turn.as_rotvec()
    last = np.minimum(np.array(starts) + stride, len(actions)) - 1
    result[:, 6] = closed_share(actions[last], convention)
    return result


def check_convertible(convention: ActionConvention) -> None:
    """Refuse actions that do not move a hand along axes that stand still."""
    hand = axes_of(convention)
    if not hand or convention.frame not in FRAMES:
        raise UserError(
            "common actions need displacements or positions of the hand (names that end in _x, _y "
            f"or _z) in the frame {' or '.join(FRAMES)}; got {', '.join(convention.names)} in the "
            f"frame {convention.frame!r}"
        )


def hand_motion(
    physical: Float[np.ndarray, "n a"], convention: ActionConvention
) -> tuple[Float64[np.ndarray, "n 3"], Rotation]:
    """Displacement (m) and turn of every action, in axes that stand still."""
    along = np.zeros((len(physical), 3))
    for axis, column in axes_of(convention).items():
        along[:, axis] = physical[:, column]
    turn = rotations_of(physical, convention)
    if convention.mode == "delta":
        return along, turn
    poses = Poses(position_m=along, rotation=turn)
    first = Poses(position_m=along[:1], rotation=turn[:1])
    motion_m, turns = poses_to_deltas(poses, start=first, frame="base")
    return motion_m, Rotation.from_rotvec(turns)


def rotations_of(physical: Float[np.ndarray, "n a"], convention: ActionConvention) -> Rotation:
    """The rotation in every action; none where it has none."""
    if convention.rotation == "none":
        return Rotation.identity(len(physical))
    columns = [
        column
        for column, name in enumerate(convention.names)
        if not is_gripper(name) and column not in axes_of(convention).values()
    ]
    size = ROTATION_SIZES[convention.rotation]
    if len(columns) != size:
        raise UserError(
            f"a rotation as {convention.rotation} has {size} numbers; besides positions and "
            f"gripper {', '.join(convention.names)} has {len(columns)}"
        )
    return to_rotation(physical[:, columns], kind=convention.rotation)


def axes_of(convention: ActionConvention) -> dict[int, int]:
    """The column of every axis (0 to 2) that is commanded."""
    found = {}
    for column, name in enumerate(convention.names):
        if (match := re.fullmatch(r"(?:.*_)?([xyz])", name)) and not _ROTATION.search(name):
            found[ord(match[1]) - ord("x")] = column
    return found


def closed_share(
    actions: Float[np.ndarray, "t a"], convention: ActionConvention
) -> Float[np.ndarray, " t"]:
    """The commanded closing of the gripper, 0 to 1; 0 where it is not known."""
    columns = [column for column, name in enumerate(convention.names) if is_gripper(name)]
    ends = gripper_ends(convention)
    if len(columns) != 1 or ends is None:
        return np.zeros(len(actions))
    share = convert_range(actions[:, columns[0]].astype(np.float64), source=ends, target=(0.0, 1.0))
    return np.clip(share, 0, 1)
