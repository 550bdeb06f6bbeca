import numpy as np
import pytest

from roboscape.clips.controls import commanded_motion, control_signals, control_size
from roboscape.dataset.records import ActionConvention

SCALE = (0.05, 0.5, 1.0)


def convention(mode):
    return ActionConvention(
        mode=mode,
        names=("eef_x", "eef_rz", "gripper"),
        units=("m", "rad", "1"),
        scale=SCALE,
        frame="robot_base",
        rotation="axis_angle",
        gripper="-1 opens, +1 closes",
        action_hz=20.0,
    )


@pytest.fixture
def actions():
    return np.random.default_rng(0).uniform(-1, 1, size=(24, 3)).astype(np.float32)


@pytest.fixture
def state():
    return np.array([0.3, -0.2], np.float32)


@pytest.mark.parametrize("mode", ["delta", "absolute"])
def test_size_and_first_row(actions, state, mode):
    signals = control_signals(actions, state, convention=convention(mode), stride=4)
    assert signals.shape == (7, control_size(convention(mode), stride=4, state_size=2))
    assert signals.dtype == np.float32
    assert not signals[0].any()


def test_delta_rows_hold_actions_motion_and_first_state(actions, state):
    signals = control_signals(actions, state, convention=convention("delta"), stride=4)
    np.testing.assert_array_equal(signals[2, :12], actions[4:8].reshape(-1))
    moved = (actions[:8] * np.array(SCALE)).sum(axis=0)
    np.testing.assert_allclose(signals[2, 12:14], moved[:2], rtol=1e-5)
    assert signals[2, 14] == actions[7, 2], "the gripper's last command, not its sum"
    np.testing.assert_array_equal(signals[2, 15:], state)


def test_absolute_rows_hold_the_last_action(actions, state):
    signals = control_signals(actions, state, convention=convention("absolute"), stride=4)
    np.testing.assert_array_equal(signals[1:, :3], actions[3::4])


@pytest.mark.parametrize("mode", ["delta", "absolute"])
@pytest.mark.parametrize("cut", [4, 8, 20])
def test_in_chunks_equals_at_once(actions, state, mode, cut):
    settings = {"convention": convention(mode), "stride": 4}
    whole = control_signals(actions, state, **settings)
    first = control_signals(actions[:cut], state, **settings)
    moved = commanded_motion(actions[:cut], convention=convention(mode))
    second = control_signals(actions[cut:], state, **settings, motion_so_far=moved)
    np.testing.assert_allclose(np.concatenate([first, second[1:]]), whole, rtol=1e-5, atol=1e-6)


def test_a_later_action_changes_no_earlier_row(actions, state):
    before = control_signals(actions, state, convention=convention("delta"), stride=4)
    changed = actions.copy()
    changed[16:] += 1
    after = control_signals(changed, state, convention=convention("delta"), stride=4)
    np.testing.assert_array_equal(before[:5], after[:5])
    assert (before[5:] != after[5:]).any(axis=1).all()


def test_actions_that_do_not_fill_a_stride_lead_nowhere_yet(actions, state):
    settings = {"convention": convention("delta"), "stride": 4}
    np.testing.assert_array_equal(
        control_signals(actions[:11], state, **settings),
        control_signals(actions[:8], state, **settings),
    )
