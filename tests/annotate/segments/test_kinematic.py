from dataclasses import replace

import numpy as np
import pytest

from roboscape.annotate.segments.kinematic import (
    KinematicSegmenter,
    is_closed,
    position_dimensions,
    speed_minima,
)
from roboscape.annotate.segments.protocol import RecordedMotion, check_segments
from roboscape.dataset.records import ActionConvention

CONVENTION = ActionConvention(
    mode="delta",
    names=("eef_x", "eef_y", "eef_z", "gripper"),
    units=("m", "m", "m", "1"),
    scale=(0.05, 0.05, 0.05, 1.0),
    frame="robot_base",
    rotation="none",
    gripper="-1 opens, +1 closes",
    action_hz=20.0,
)
STATE = ("eef_x", "eef_y", "eef_z", "gripper_finger_1")


def pick(*, cube_m: float = 0.02) -> RecordedMotion:
    """Down for 20 rows, close for 10, up for 30, open for 10, away for 10."""
    velocity = np.zeros((80, 3))
    velocity[:20, 2], velocity[30:60, 2], velocity[70:, 0] = -0.2, 0.2, 0.2
    gripper = np.full(80, -1.0)
    gripper[20:60] = 1.0
    opening = np.full(80, 0.04)
    opening[20:25] = np.linspace(0.04, cube_m, 5)
    opening[25:60] = cube_m
    opening[60:65] = np.linspace(cube_m, 0.04, 5)
    state = np.concatenate([np.cumsum(velocity, axis=0) / 20, opening[:, None]], axis=1)
    return RecordedMotion(
        actions=np.concatenate([velocity, gripper[:, None]], axis=1).astype(np.float32),
        state=state.astype(np.float32),
        state_names=STATE,
        convention=CONVENTION,
        fps=20.0,
        task="Lift the red cube from the table.",
    )


def test_a_pick_is_sliced_at_gripper_events_and_at_the_ends_of_their_pauses():
    segments = KinematicSegmenter().annotate(None, motion=pick())
    check_segments(segments, rows=80)
    np.testing.assert_allclose([one.first for one in segments], [0, 20, 30, 60, 70], atol=2)
    assert [one.skill for one in segments] == [
        "reach for the red cube",
        "grasp the red cube",
        "Lift the red cube from the table.",
        "release the red cube",
        "move away from the red cube",
    ]
    grasp = segments[1]
    assert grasp.first < grasp.key_row <= 25
    assert all(0.8 < one.confidence <= 1 for one in segments)


def test_a_gripper_that_closes_on_nothing_lifts_nothing():
    segments = KinematicSegmenter().annotate(None, motion=pick(cube_m=0.001))
    assert segments[2].skill == "move with the empty gripper closed"


def test_rows_that_wait_are_irrelevant():
    motion = pick()
    waiting = np.repeat(motion.state[:1], 40, axis=0)
    still = np.zeros((40, 4), np.float32) - np.array([0, 0, 0, 1], np.float32)
    motion = replace(
        motion,
        state=np.concatenate([waiting, motion.state]),
        actions=np.concatenate([still, motion.actions]),
    )
    first = KinematicSegmenter().annotate(None, motion=motion)[0]
    assert first.first == 0 and 36 <= first.relevant_first <= 40


def test_a_turn_is_a_border_though_the_hand_keeps_its_speed():
    motion = pick()
    velocity = np.zeros((60, 3))
    velocity[:30, 0], velocity[30:, 2] = 0.2, -0.2
    motion = replace(
        motion,
        actions=np.concatenate([velocity, np.full((60, 1), -1.0)], axis=1).astype(np.float32),
        state=np.concatenate(
            [np.cumsum(velocity, axis=0) / 20, np.full((60, 1), 0.04)], axis=1
        ).astype(np.float32),
    )
    borders = [one.first for one in KinematicSegmenter().annotate(None, motion=motion)[1:]]
    assert len(borders) == 1 and abs(borders[0] - 30) <= 2


def test_commands_serve_where_nothing_is_measured():
    motion = replace(pick(), state=np.zeros((80, 0), np.float32), state_names=())
    segments = KinematicSegmenter().annotate(None, motion=motion)
    np.testing.assert_allclose([one.first for one in segments], [0, 20, 30, 60, 70], atol=1)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_short_and_motionless_episodes_are_one_segment(rows):
    motion = pick()
    motion = replace(
        motion, actions=np.zeros((rows, 4), np.float32), state=np.zeros((rows, 4), np.float32)
    )
    (segment,) = KinematicSegmenter().annotate(None, motion=motion)
    check_segments((segment,), rows=rows)


@pytest.mark.parametrize(
    ("gripper", "expected"),
    [
        ("-1 opens, +1 closes", [False, True]),
        ("+1 opens, -1 closes", [True, False]),
        ("0 closes, 1 opens", [True, False]),
        ("not known", [False, True]),
    ],
)
def test_the_convention_says_which_command_closes(gripper, expected):
    low = 0.0 if "0 closes" in gripper else -1.0
    found = is_closed(np.array([low, 1.0]), replace(CONVENTION, gripper=gripper))
    assert found.tolist() == expected


def test_hands_are_found_by_name():
    names = ("left_eef_x", "left_eef_y", "left_eef_z", "joint_x", "hand_x", "hand_y", "hand_z")
    assert position_dimensions(names) == [0, 1, 2, 4, 5, 6]


def test_minima_are_as_deep_as_the_lower_peak_beside_them():
    speed = np.array([0, 0.5, 1, 0.5, 0.2, 0.1, 0.3, 0.6, 0.8, 0.7])
    ((low, row, depth),) = speed_minima(speed, dip=0.85)
    assert (low, row) == (5, 6) and depth == pytest.approx(1 - 0.1 / 0.8)
    assert speed_minima(speed, dip=0.1) == []
