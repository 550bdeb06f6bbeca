from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from roboscape.dataset.action_math import Poses, deltas_to_poses
from roboscape.dataset.common_actions import COMMON_ACTION, common_actions
from roboscape.dataset.records import ActionConvention
from roboscape.sources.metaworld import ACTION_CONVENTION as METAWORLD

RANDOM = np.random.default_rng(0)
DELTAS = np.concatenate([RANDOM.normal(0, 0.1, (9, 6)), RANDOM.uniform(0, 1, (9, 1))], axis=1)
POSES = replace(COMMON_ACTION, mode="absolute", rotation="euler_xyz")


def test_common_actions_at_the_recorded_rate_are_themselves():
    found = common_actions(DELTAS, convention=COMMON_ACTION, stride=1)
    np.testing.assert_allclose(found, DELTAS, atol=1e-12)


def test_motion_between_frames_adds_up_and_its_rotations_are_composed():
    found = common_actions(DELTAS, convention=COMMON_ACTION, stride=4)
    np.testing.assert_allclose(found[1, :3], DELTAS[4:8, :3].sum(axis=0))
    whole = Rotation.identity()
    for turn in DELTAS[4:8, 3:6]:
        whole = Rotation.from_rotvec(turn) * whole
    np.testing.assert_allclose(found[1, 3:6], whole.as_rotvec())
    assert found[:, 6].tolist() == DELTAS[[3, 7, 8], 6].tolist()


def test_poses_become_the_motion_between_them():
    start = Poses(
        position_m=np.array([[0.4, 0.1, 0.3]]), rotation=Rotation.from_rotvec([[0, 2, 0]])
    )
    reached = deltas_to_poses(DELTAS[:, :3], DELTAS[:, 3:6], start=start, frame="base")
    numbers = [reached.position_m, reached.rotation.as_euler("xyz"), DELTAS[:, 6:]]
    found = common_actions(np.concatenate(numbers, axis=1), convention=POSES, stride=1)
    np.testing.assert_allclose(found[1:], DELTAS[1:], atol=1e-9)
    assert not found[0, :6].any()


def test_axes_that_are_not_commanded_are_zero_and_units_are_metres():
    actions = np.array([[1.0, -0.5, 0.0, -1.0], [1.0, 0.0, 0.0, 1.0]])
    found = common_actions(actions, convention=METAWORLD, stride=2)
    np.testing.assert_allclose(found, [[0.02, -0.005, 0, 0, 0, 0, 1]])


@pytest.mark.parametrize(("ends", "closed"), [((1.0, 0.0), [0, 1, 0.5]), (None, [0, 0, 0])])
def test_a_gripper_is_how_far_it_is_to_close(ends, closed):
    convention = replace(
        COMMON_ACTION,
        gripper="as it comes",
        gripper_open=ends and ends[0],
        gripper_closed=ends and ends[1],
    )
    actions = np.zeros((3, 7))
    actions[:, 6] = [1, 0, 0.5]
    found = common_actions(actions, convention=convention, stride=1)
    assert found[:, 6].tolist() == closed


@pytest.mark.parametrize(
    "change",
    [
        {"frame": "end_effector"},
        {"names": (*(f"joint_{number}" for number in range(6)), "gripper")},
    ],
)
def test_actions_that_move_no_hand_along_standing_axes_are_refused(change):
    convention: ActionConvention = replace(COMMON_ACTION, **change)
    with pytest.raises(ValueError, match="common actions need"):
        common_actions(DELTAS, convention=convention, stride=1)
