from pathlib import Path

import numpy as np
import pytest

from roboscape.dataset.reader import LeRobotDataset


@pytest.mark.parametrize(
    "rows", [slice(0, 1), slice(3, 11), slice(None, None, 4), slice(2, 14, 3), slice(13, None)]
)
def test_rows_are_a_part_of_the_episode(dataset: Path, rows: slice) -> None:
    read = LeRobotDataset(dataset)
    for episode in (2, 3):
        whole = read.frames(episode, "front")
        assert np.array_equal(read.frames(episode, "front", rows), whole[rows])
        depth_m = read.depth_m(episode, "front")
        assert np.array_equal(read.depth_m(episode, "front", rows), depth_m[rows])


def test_what_the_dataset_says_about_an_episode(dataset: Path) -> None:
    info = LeRobotDataset(dataset).episode_info(3)
    assert (info.index, info.length, info.task) == (3, 15, "lift the cube")
    assert (info.seed, info.success, info.behaviour) == (1003, True, "expert")
