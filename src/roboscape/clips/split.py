"""The episodes of a dataset that belong to a split."""

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split
from roboscape.dataset.splits import SPLITS, split_of

__all__ = ["SPLITS", "Split", "episodes_of", "split_of"]


def episodes_of(dataset: LeRobotDataset, split: Split) -> list[int]:
    """Indices of a dataset's episodes that belong to a split, in order."""
    splits = (dataset.episode_info(episode).split for episode in range(dataset.num_episodes))
    return [episode for episode, found in enumerate(splits) if found == split]
