"""A clip holds the right rows of everything, whichever way it is asked for."""

from dataclasses import replace

import numpy as np
import pytest

from roboscape.clips.reader import ClipReader, Place
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.writer import DatasetWriter
from tests.small_dataset import convention, dataset, make_episode, spec

__all__ = ["convention", "dataset", "make_episode", "spec"]


@pytest.fixture
def recorded(dataset):
    return LeRobotDataset(dataset)


def test_every_part_of_a_clip_is_of_the_same_rows(recorded):
    reader = ClipReader(
        dataset=recorded, cameras=("front",), length=4, stride=3, tracks="simulator"
    )
    clip = reader.read(2, 1)
    rows, whole = slice(1, 11, 3), recorded.episode(2)
    assert (len(clip), clip.episode, clip.start, clip.stride) == (4, 2, 1, 3)
    assert clip.frame_hz == pytest.approx(20 / 3) and clip.split == "train"
    np.testing.assert_array_equal(clip.frames["front"], whole.frames["front"][rows])
    np.testing.assert_array_equal(clip.depth_m["front"], whole.depth_m["front"][rows])
    np.testing.assert_array_equal(clip.states, whole.state[rows])
    np.testing.assert_array_equal(clip.state_before, whole.state[0])
    np.testing.assert_array_equal(clip.actions, whole.actions[1:10])
    np.testing.assert_array_equal(clip.tracks["front"].xy_px, whole.tracks["front"].xy_px[rows])
    np.testing.assert_array_equal(clip.tracks["front"].visible, whole.tracks["front"].visible[rows])


def test_several_cameras_are_read_in_the_order_asked_for_and_one_by_default(recorded):
    both = ClipReader(dataset=recorded, cameras=("wrist", "front"), length=2, depth="none").read(0)
    assert list(both.frames) == ["wrist", "front"]
    assert both.depth_m == {"wrist": None, "front": None} and both.tracks == {}
    assert list(ClipReader(dataset=recorded, length=2).read(0).frames) == ["front"]
    np.testing.assert_array_equal(both.state_before, both.states[0])


def test_without_a_length_a_clip_reaches_to_the_end(recorded):
    reader = ClipReader(dataset=recorded, length=None, stride=5)
    assert [len(reader.read(0, start)) for start in (0, 1, 2, 11)] == [3, 3, 2, 1]
    assert reader.read(0, 11).actions.shape == (0, 3)


def test_places_are_all_starts_of_a_split_from_which_a_clip_fits(tmp_path, spec, make_episode):
    with DatasetWriter(tmp_path / "d", spec) as writer:
        for seed, length in ((0, 9), (800_000, 8), (1, 12), (800_001, 6)):
            writer.add(replace(make_episode(0, length=length), seed=seed))
    reader = ClipReader(dataset=LeRobotDataset(tmp_path / "d"), length=3, stride=3)
    assert list(reader.places("validation")) == [Place(episode=1, row=0)]
    train = [(place.episode, place.row) for place in reader.places("train", every=2)]
    assert train == [(0, 0), (0, 2), (2, 0), (2, 2), (2, 4)]
    for place in reader.places("train", every=1):
        assert len(reader.read(place.episode, place.row)) == 3


def test_what_does_not_fit_is_refused(recorded):
    reader = ClipReader(dataset=recorded, length=4, stride=4)
    with pytest.raises(ValueError, match="4 frames at stride 4 from row 0 end in row 12"):
        reader.read(0)
    with pytest.raises(ValueError, match="from row -1"):
        reader.read(4, -1)
    with pytest.raises(ValueError, match="no camera `back`"):
        ClipReader(dataset=recorded, cameras=("back",))
    with pytest.raises(ValueError, match="length >= 1 and stride >= 1"):
        ClipReader(dataset=recorded, stride=0)
