"""Datasets whose rows are a learned world's frames."""

from dataclasses import replace

import numpy as np
import pytest

from roboscape.clips.at_frames import AtFrames, run
from roboscape.dataset.frame_actions import (
    frame_episode,
    native_convention,
    stacked_convention,
    stacked_episode,
    stacked_spec,
    stride_of,
)
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.writer import DatasetWriter

STRIDE = 4


def test_stacking_a_convention_is_undone_exactly(lift_dataset):
    native = lift_dataset.spec.action
    stacked = stacked_convention(native, stride=STRIDE)
    assert stacked.names[:4] == ("action_0_x", "action_0_y", "action_0_gripper", "action_1_x")
    assert (len(stacked.names), stacked.action_hz) == (12, 5.0)
    assert (stride_of(stacked), stride_of(native)) == (STRIDE, 1)
    assert native_convention(stacked) == native == native_convention(native)


def test_stacked_actions_are_not_stacked_again(lift_dataset):
    stacked = stacked_convention(lift_dataset.spec.action, stride=2)
    with pytest.raises(ValueError, match="native actions"):
        stacked_convention(stacked, stride=2)


def test_a_stacked_copy_and_its_recording_read_as_the_same_episode(lift_dataset, tmp_path):
    copy = run(AtFrames(dataset=lift_dataset.root, output=tmp_path / "copy", stride=STRIDE))
    assert copy.spec.fps == 5 and copy.episode_info(0).length == 4
    for number in range(lift_dataset.num_episodes):
        native, stacked = (
            frame_episode(dataset, number, stride=STRIDE) for dataset in (lift_dataset, copy)
        )
        assert len(native) == 4
        np.testing.assert_array_equal(native.actions, stacked.actions)
        np.testing.assert_array_equal(native.state, stacked.state)
        np.testing.assert_array_equal(native.reward, stacked.reward)
        np.testing.assert_array_equal(
            native.actions.reshape(-1, 3), lift_dataset.actions(number)[:16]
        )
        np.testing.assert_array_equal(native.state, lift_dataset.state(number)[:16:STRIDE])
        shown = np.abs(native.rgb["front"].astype(int) - stacked.rgb["front"]).mean()
        assert shown < 3, "encoded twice"
        assert (native.split, native.seed) == (stacked.split, stacked.seed)


def test_only_successes_are_copied_where_asked(lift_dataset, tmp_path):
    copy = run(
        AtFrames(dataset=lift_dataset.root, output=tmp_path / "c", stride=STRIDE, successes=True)
    )
    assert [copy.episode_info(i).seed for i in range(copy.num_episodes)] == [900_001]


def test_a_dataset_of_another_stride_is_refused(lift_dataset, tmp_path):
    found = frame_episode(lift_dataset, 0, stride=2)
    with DatasetWriter(tmp_path / "two", stacked_spec(lift_dataset.spec, stride=2)) as writer:
        writer.add(stacked_episode(found, behaviour="expert"))
    dataset = LeRobotDataset(tmp_path / "two")
    assert len(frame_episode(dataset, 0, stride=2)) == 8
    with pytest.raises(ValueError, match="stacks 2"):
        frame_episode(dataset, 0, stride=STRIDE)


def test_an_episode_shorter_than_a_frame_is_refused(lift_dataset):
    with pytest.raises(ValueError, match="fewer than the 40 native actions"):
        frame_episode(lift_dataset, 0, stride=40)


def test_depth_is_left_out_where_it_is_not_asked_for(lift_dataset):
    assert frame_episode(lift_dataset, 0, stride=STRIDE, depth=False).depth_m == {}
    assert replace(frame_episode(lift_dataset, 0, stride=STRIDE)).depth_m["front"].shape[0] == 4
