"""What is measured and learnt about the arm comes from the training episodes alone."""

from dataclasses import replace

import numpy as np
import pytest

from roboscape.controls.measure import measure_controls
from roboscape.controls.train import Sequences
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.writer import DatasetWriter
from tests.small_dataset import convention, make_episode, spec

__all__ = ["convention", "make_episode", "spec"]


@pytest.fixture
def recorded(tmp_path, spec, make_episode):
    """Two training episodes; those held out command and hold numbers a thousand times as large."""
    with DatasetWriter(tmp_path / "d", spec) as writer:
        for number, split in enumerate(("train", "validation", "train", "test")):
            scale = 1 if split == "train" else 1000
            one = make_episode(number)
            changes = {"actions": scale * one.actions, "state": scale * one.state}
            writer.add(replace(one, split=split, **changes))
    return LeRobotDataset(tmp_path / "d")


def test_control_statistics_are_of_the_training_episodes(recorded):
    found = measure_controls([recorded], stride=2, length=4, clips=200)
    assert max(found.std) < 20 and np.abs(found.mean).max() < 20


def test_the_arm_is_learnt_from_the_training_episodes(recorded):
    learnt = Sequences.read(recorded, "train")
    np.testing.assert_array_equal(learnt.ends, [12, 24])
    assert np.abs(learnt.states).max() < 20
    held_out = Sequences.read(recorded, "validation")
    np.testing.assert_array_equal(held_out.states, recorded.state(1))
