"""Control signals step by step are those of the whole sequence, world by world."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.controls.encoder import ControlEncoder, unscaled
from roboscape.controls.proprioception import Proprioception, ProprioceptionConfig
from roboscape.dataset.records import ActionConvention

STRIDE, FRAMES, WORLDS = 3, 7, 4
DELTA = ActionConvention(
    mode="delta",
    names=("eef_x", "eef_y", "gripper"),
    units=("m", "m", "1"),
    scale=(0.05, 0.1, 1.0),
    frame="robot_base",
    rotation="none",
    gripper="-1 opens, +1 closes",
    action_hz=12.0,
)
STATES = ("x", "y")


def arm_model(convention):
    torch.manual_seed(0)
    model = Proprioception(
        ProprioceptionConfig(
            convention=convention,
            state_names=STATES,
            width=8,
            second_order=convention.mode == "delta",
        )
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval().requires_grad_(requires_grad=False)


TASKS = ("push", "open the door", "", "close the door")
"""One a world."""


KINDS = ("delta", "delta, imagined", "delta, told", "absolute", "absolute, imagined, told")


@pytest.fixture(params=KINDS)
def encoder(request):
    mode, *kind = request.param.split(", ")
    convention = replace(DELTA, mode=mode)
    raw = unscaled(
        convention,
        stride=STRIDE,
        state_size=2,
        proprioception=arm_model(convention) if "imagined" in kind else None,
    )
    size = raw.size
    task_size = 5 if "told" in kind else 0
    random = np.random.default_rng(2)
    statistics = replace(
        raw.statistics,
        mean=tuple(random.normal(size=size).tolist()),
        std=tuple(random.uniform(0.5, 2, size=size).tolist()),
        task_size=task_size,
    )
    return ControlEncoder(statistics, raw.proprioception)


@pytest.fixture
def given():
    random = np.random.default_rng(0)
    actions = random.uniform(-1, 1, size=(WORLDS, FRAMES * STRIDE, 3)).astype(np.float32)
    states = random.normal(size=(2, WORLDS, 2)).astype(np.float32)
    return actions, states[0], states[1]


def pieces(actions):
    return np.split(actions, FRAMES, axis=1)


def test_step_by_step_equals_the_whole_sequence(encoder, given):
    actions, first, before = given
    whole = encoder.encode(actions, first, state_before=before, task=TASKS)
    stream = encoder.stream()
    signals = [stream.reset(first, state_before=before, task=TASKS)]
    signals += [stream.step(piece) for piece in pieces(actions)]
    assert torch.equal(torch.stack(signals, dim=1), whole)


def test_the_state_is_the_arm_models_or_none(encoder, given):
    actions, first, before = given
    stream = encoder.stream()
    stream.reset(first, state_before=before, task=TASKS)
    if encoder.proprioception is None:
        assert stream.state is None
        return
    np.testing.assert_array_equal(stream.state, first)
    expected = encoder.proprioception.imagine(actions, first, state_before=before)
    for frame, piece in enumerate(pieces(actions), start=1):
        stream.step(piece)
        np.testing.assert_array_equal(stream.state, expected[:, frame * STRIDE])


def test_worlds_of_different_ages_go_on_as_if_alone(encoder, given):
    actions, first, before = given
    stream = encoder.stream()
    stream.reset(first, state_before=before, task=TASKS)
    for piece in pieces(actions)[:3]:
        stream.step(piece)
    row = stream.reset(
        first[[2, 0]], state_before=before[[2, 0]], task=[TASKS[2], TASKS[0]], worlds=[1, 3]
    )
    whole = encoder.encode(actions, first, state_before=before, task=TASKS)
    torch.testing.assert_close(row, whole[[2, 0], 0])
    ages = np.array([3, 0, 3, 0])
    clips = np.array([0, 2, 2, 0])
    for step in range(4):
        rows = [
            actions[clip, (age + step) * STRIDE : (age + step + 1) * STRIDE]
            for clip, age in zip(clips, ages, strict=True)
        ]
        torch.testing.assert_close(stream.step(np.stack(rows)), whole[clips, ages + step + 1])


def test_a_snapshot_goes_on_as_if_never_left(encoder, given):
    actions, first, before = given
    parts = pieces(actions)
    stream = encoder.stream()
    stream.reset(first, state_before=before, task=TASKS)
    stream.step(parts[0])
    snapshot = stream.snapshot()
    expected = [stream.step(part) for part in parts[1:4]]
    stream.restore(snapshot)
    assert all(
        torch.equal(stream.step(part), one) for part, one in zip(parts[1:4], expected, strict=True)
    )
    stream.restore(snapshot.take([3, 0]), worlds=[0, 1])
    rows = stream.step(parts[1][[3, 0, 2, 3]])
    torch.testing.assert_close(rows[:2], expected[0][[3, 0]])
    stream.restore(snapshot.take([1, 1]))
    rows = stream.step(parts[1][[1, 1]])
    torch.testing.assert_close(rows, expected[0][[1, 1]])


def test_actions_that_do_not_fill_a_stride_are_left_out(encoder, given):
    actions, first, _ = given
    torch.testing.assert_close(
        encoder.encode(actions[:, : 2 * STRIDE + 1], first),
        encoder.encode(actions[:, : 2 * STRIDE], first),
    )
    assert encoder.encode(actions[:, :1], first).shape == (WORLDS, 1, encoder.size)


def test_no_signal_before_a_state_and_none_of_another_size(encoder, given):
    actions, first, _ = given
    with pytest.raises(ValueError, match="call `reset` first"):
        encoder.stream().step(actions[:, :STRIDE])
    with pytest.raises(ValueError, match="expected a state of 2 numbers"):
        encoder.encode(actions, first[:, :1])
