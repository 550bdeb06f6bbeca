"""Which episodes are trained on: decided by an episode's own seed, so it never changes."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import FIRST_TEST_SEED, FIRST_VALIDATION_SEED

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def is_of_split(seeds: Int[np.ndarray, " e"], split: Split) -> Bool[np.ndarray, " e"]:
    """Which episodes of many belong to a split."""
    if len(seeds) and seeds.min() < 0:
        raise ValueError(f"an episode's seed must not be negative, got {seeds.min()}")
    place = np.searchsorted([FIRST_VALIDATION_SEED, FIRST_TEST_SEED], seeds, side="right")
    return place == SPLITS.index(split)


def episodes_of(dataset: LeRobotDataset, split: Split) -> list[int]:
    """Indices of a dataset's episodes that belong to a split, in order."""
    seeds = (dataset.episode_info(episode).seed for episode in range(dataset.num_episodes))
    return [episode for episode, seed in enumerate(seeds) if split_of(seed) == split]


def split_of(seed: int) -> Split:
    """The split of an episode with this seed."""
    if seed < 0:
        raise ValueError(f"an episode's seed must not be negative, got {seed}")
    if seed >= FIRST_TEST_SEED:
        return "test"
    return "validation" if seed >= FIRST_VALIDATION_SEED else "train"
