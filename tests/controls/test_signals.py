import numpy as np
import pytest

from roboscape.controls.signals import commanded_signals, control_size, imagined_signals
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


def settings(mode="delta"):
    return {"convention": convention(mode), "stride": 4}


@pytest.fixture
def actions():
    return np.random.default_rng(0).uniform(-1, 1, size=(2, 24, 3)).astype(np.float32)


@pytest.fixture
def states():
    return np.random.default_rng(1).normal(size=(2, 25, 2)).astype(np.float32)


@pytest.mark.parametrize("mode", ["delta", "absolute"])
def test_size_and_first_row_of_commanded_signals(actions, states, mode):
    signals = commanded_signals(actions, states[:, 0], **settings(mode))
    assert signals.shape == (2, 7, control_size(**settings(mode), state_size=2))
    assert signals.dtype == np.float32
    assert not signals[:, 0].any()


def test_delta_rows_hold_actions_motion_and_first_state(actions, states):
    signals = commanded_signals(actions, states[:, 0], **settings())[1]
    np.testing.assert_array_equal(signals[2, :12], actions[1, 4:8].reshape(-1))
    moved = (actions[1, :8] * np.array(SCALE)).sum(axis=0)
    np.testing.assert_allclose(signals[2, 12:14], moved[:2], rtol=1e-5)
    assert signals[2, 14] == actions[1, 7, 2], "the gripper's last command, not its sum"
    np.testing.assert_array_equal(signals[2, 15:], states[1, 0])


def test_absolute_rows_hold_the_last_action(actions, states):
    signals = commanded_signals(actions, states[:, 0], **settings("absolute"))
    np.testing.assert_array_equal(signals[:, 1:, :3], actions[:, 3::4])


@pytest.mark.parametrize("mode", ["delta", "absolute"])
def test_imagined_rows_hold_actions_state_and_its_change(actions, states, mode):
    signals = imagined_signals(actions, states, **settings(mode))
    size = control_size(**settings(mode), state_size=2, imagined_state=True)
    assert signals.shape == (2, 7, size) and signals.dtype == np.float32
    told = signals[:, :, :-4]
    assert not told[:, 0].any(), "no action led into the first frame"
    expected = actions[:, 3::4] if mode == "absolute" else actions.reshape(2, 6, 12)
    np.testing.assert_array_equal(told[:, 1:], expected)
    np.testing.assert_array_equal(signals[:, :, -4:-2], states[:, ::4])
    np.testing.assert_array_equal(signals[:, 0, -2:], 0)
    np.testing.assert_allclose(
        signals[:, 1:, -2:], states[:, 4::4] - states[:, :-4:4], rtol=1e-5, atol=1e-6
    )


def test_a_later_action_changes_no_earlier_row(actions, states):
    before = commanded_signals(actions, states[:, 0], **settings())
    changed = actions.copy()
    changed[:, 16:] += 1
    after = commanded_signals(changed, states[:, 0], **settings())
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(axis=-1).all()


def test_actions_that_do_not_fill_a_stride_lead_nowhere_yet(actions, states):
    for of in (
        lambda n: commanded_signals(actions[:, :n], states[:, 0], **settings()),
        lambda n: imagined_signals(actions[:, :n], states[:, : n + 1], **settings()),
    ):
        np.testing.assert_array_equal(of(11), of(8))
