"""Any text is a vector; words that are shared are a part that is shared."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.controls.encoder import ControlEncoder, unscaled
from roboscape.controls.task_text import task_vectors
from tests.controls.test_stream import DELTA, FRAMES, STATES, STRIDE, TASKS, WORLDS


def test_a_text_is_the_same_on_every_machine():
    (vector,) = task_vectors(["Open the door"], size=8)
    expected = torch.tensor([1.0, 0, 1, 0, 0, 0, 0, -1])
    torch.testing.assert_close(vector * 3**0.5, expected)


def test_case_and_marks_say_nothing_and_the_order_of_words_does():
    one, same, other = task_vectors(["open the door", "Open the DOOR!", "door the open"], size=64)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_no_text_is_zeros_and_any_other_has_length_one():
    texts = ["", "!", "push", "a word never seen: qwxyz", "push the red block to the goal"]
    lengths = task_vectors(texts, size=16).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]))


def test_alike_texts_are_near_each_other():
    one, near, far = task_vectors(["open the door", "close the door", "push a puck"], size=256)
    assert one @ near > 0.3 > abs(one @ far)


@pytest.fixture
def untold():
    return unscaled(DELTA, stride=STRIDE, state_size=len(STATES), proprioception=None)


def test_signals_end_with_the_tasks_vector_in_every_frame(untold):
    random = np.random.default_rng(0)
    actions = random.uniform(-1, 1, (WORLDS, FRAMES * STRIDE, 3))
    state = random.normal(size=(WORLDS, 2))
    plain = untold.encode(actions, state, task=TASKS)
    told = ControlEncoder(replace(untold.statistics, task_size=8)).encode(
        actions, state, task=TASKS
    )
    assert torch.equal(told[..., :-8], plain)
    vectors = task_vectors(TASKS, size=8)
    assert torch.equal(told[..., -8:], vectors[:, None].expand(-1, FRAMES + 1, -1))


def test_one_text_a_world(untold):
    with pytest.raises(ValueError, match="a task for each of 2 worlds"):
        untold.stream().reset(np.zeros((2, 2)), task=["push"])
