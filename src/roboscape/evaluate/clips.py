"""Which clips are measured, and reading them: the start of every episode at the model's rate."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from roboscape.clips.reader import ClipReader
from roboscape.clips.split import SPLITS, Split
from roboscape.core.errors import UserError
from roboscape.dataset.depth_choice import depth_source
from roboscape.dataset.reader import EpisodeInfo, LeRobotDataset
from roboscape.evaluate.protocol import PredictorSpec, check_recordings
from roboscape.rollout.videos import Videos, stack_clips

log = logging.getLogger(__name__)

SplitChoice = Literal["auto", "test", "validation", "train"]


@dataclass(frozen=True)
class ClipSet:
    """The clips of an evaluation; pixels are read batch by batch, numbers are kept."""

    dataset: LeRobotDataset
    camera: str
    split: Split
    episodes: tuple[int, ...]
    num_skipped: int
    """Episodes of the split that are too short."""
    num_frames: int
    """Frames of a clip, the given one included."""
    stride: int
    """Native rows between two frames."""

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.episodes)

    def batches(self, size: int) -> Iterator[range]:
        """The clips' numbers, `size` at a time."""
        for start in range(0, len(self), size):
            yield range(start, min(start + size, len(self)))

    def info(self, clip: int) -> EpisodeInfo:
        """The episode that a clip is of."""
        return self.dataset.episode_info(self.episodes[clip])

    def videos(self, clips: range | list[int]) -> Videos:
        """The true frames of some clips."""
        reader = ClipReader(
            dataset=self.dataset,
            cameras=(self.camera,),
            length=self.num_frames,
            stride=self.stride,
            depth=depth_source(self.dataset, self.camera),
        )
        return stack_clips([reader.read(self.episodes[clip]) for clip in clips], self.camera)

    @cached_property
    def actions(self) -> list[Float[np.ndarray, "rows a"]]:
        """Each clip's actions at the native rate, as many as lead through its frames."""
        num_rows = (self.num_frames - 1) * self.stride
        return [self.dataset.actions(episode)[:num_rows] for episode in self.episodes]

    def states(self, clips: range | list[int]) -> Float[np.ndarray, "b 1 s"]:
        """Proprioception at the given frame of some clips. It is an episode's first row, so nothing
        is known of the row before."""
        return np.stack([self.dataset.state(self.episodes[clip])[:1] for clip in clips])

    def rewarded(self) -> Bool[np.ndarray, " b"] | None:
        """Whether any shown row has a reward; None where the dataset has no rewards at all."""
        found = [self.dataset.reward(episode) for episode in self.episodes]
        if not any(reward.any() for reward in found):
            return None
        rows = slice(0, (self.num_frames - 1) * self.stride + 1, self.stride)
        return np.array([bool((reward[rows] > 0).any()) for reward in found])


def choose_clips(
    subject: PredictorSpec,
    dataset: LeRobotDataset,
    *,
    horizon: int,
    split: SplitChoice = "auto",
    num_clips: int | None = None,
    camera: str | None = None,
) -> ClipSet:
    """The first episodes of a split that are long enough for the horizon.

    Raises:
        ValueError: the recordings do not fit the subject, the split has no episode, or none that is
            long enough.
    """
    camera = camera or dataset.spec.cameras[0].name
    check_recordings(subject, dataset, camera=camera)
    infos = [dataset.episode_info(episode) for episode in range(dataset.num_episodes)]
    chosen = choose_split([info.split for info in infos], wanted=split)
    num_frames = horizon + 1
    needed = horizon * subject.stride + 1
    of_split = [info for info in infos if info.split == chosen]
    long_enough = [info.index for info in of_split if info.length >= needed]
    if not long_enough:
        longest = max(info.length for info in of_split)
        raise UserError(
            f"a horizon of {horizon} frames needs episodes of {needed} rows (stride "
            f"{subject.stride}), the longest of the {chosen} split has {longest}; choose "
            f"--horizon {(longest - 1) // subject.stride} or less"
        )
    skipped = len(of_split) - len(long_enough)
    if skipped:
        log.warning("%d of %d episodes are shorter than %d rows", skipped, len(of_split), needed)
    return ClipSet(
        dataset=dataset,
        camera=camera,
        split=chosen,
        episodes=tuple(long_enough[:num_clips]),
        num_skipped=skipped,
        num_frames=num_frames,
        stride=subject.stride,
    )


def choose_split(splits: Sequence[Split], *, wanted: SplitChoice) -> Split:
    """The split to measure; `auto` takes the most held-out one that there is.

    Args:
        splits: that of every episode.
        wanted: the one asked for.

    Raises:
        ValueError: there is no episode of the wanted split.
    """
    counts = Counter(splits)
    if not counts:
        raise UserError("the dataset has no episodes to evaluate")
    if wanted == "auto":
        return next(split for split in reversed(SPLITS) if counts[split])
    if not counts[wanted]:
        held = ", ".join(f"{count} {split}" for split, count in counts.items())
        raise UserError(
            f"--split {wanted}: this dataset has {held} episodes. Seen episodes are never called "
            "test: collect fresh ones (for example `roboscape collect lift --output data/lift_test "
            "--seed 980000 --episodes 100`; simulated episodes are for tests from seed 900000 on), "
            "or prepare recordings with --test before training"
        )
    return wanted
