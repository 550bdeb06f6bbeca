"""The starts of imagined episodes: frames of recordings, or the true simulator's of a seed."""

from collections.abc import Callable
from typing import Any

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split
from roboscape.dataset.splits import split_of
from roboscape.simulators.protocol import EpisodeStart, FrameStart
from roboscape.simulators.starts import TrueStarts

StartOfPlan = Callable[[int], tuple[EpisodeStart | FrameStart, Split, str, dict[str, Any]]]
"""From an episode's seed to its start, the start's split, the task, and where that is, as JSON."""


def dataset_starts(dataset: LeRobotDataset, *, split: Split) -> StartOfPlan:
    """The first rows of a split's episodes, successes and failures alike, drawn by the seed.

    Raises:
        ValueError: the dataset has none.
    """
    infos = [dataset.episode_info(number) for number in range(dataset.num_episodes)]
    chosen = [one for one in infos if one.split == split]
    if not chosen:
        raise UserError(f"{dataset.root} has no episode for {split} to start from")

    def start_of(seed: int) -> tuple[EpisodeStart | FrameStart, Split, str, dict[str, Any]]:
        info = chosen[int(numpy_generator_for(seed, 23).integers(len(chosen)))]
        start = EpisodeStart(dataset=dataset, episode=info.index)
        return start, info.split, info.task, {"start_episode": info.index}

    return start_of


def seed_starts(true: TrueStarts) -> StartOfPlan:
    """The scene that the true simulator places for the episode's own seed, arm at rest."""

    def start_of(seed: int) -> tuple[EpisodeStart | FrameStart, Split, str, dict[str, Any]]:
        return true(seed), split_of(seed), true.task, {"start_seed": seed}

    return start_of
