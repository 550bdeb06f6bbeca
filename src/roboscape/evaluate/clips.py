"""The measured clips, and reading them: starts of episodes, or several clips of each."""

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
from roboscape.rollout.videos import Videos, chosen_views, stack_clips

log = logging.getLogger(__name__)

SplitChoice = Literal["auto", "test", "validation", "train"]


@dataclass(frozen=True)
class ClipSet:
    """The clips of an evaluation; pixels are read batch by batch, numbers are kept."""

    dataset: LeRobotDataset
    cameras: tuple[str, ...]
    """Cameras whose images lie below each other in a frame, from top to bottom."""
    split: Split
    episodes: tuple[int, ...]
    """The episode of every clip."""
    starts: tuple[int, ...]
    """The row of every clip's given frame."""
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

    def place(self, clip: int) -> tuple[int, int]:
        """A clip's episode and the row of its given frame."""
        return self.episodes[clip], self.starts[clip]

    def videos(self, clips: range | list[int]) -> Videos:
        """The true frames of some clips."""
        reader = ClipReader(
            dataset=self.dataset,
            cameras=self.cameras,
            length=self.num_frames,
            stride=self.stride,
            depth=self.depth,
        )
        return stack_clips([reader.read(*self.place(clip)) for clip in clips], self.cameras)

    @cached_property
    def depth(self) -> str:
        """The source of all cameras' depth; `none` where they have none in common."""
        return depth_source(self.dataset, *self.cameras)

    @property
    def still_view(self) -> int | None:
        """The first camera that is not on the hand, as its place in `cameras`; None: all are."""
        specs = {one.name: one.geometry for one in self.dataset.spec.cameras}
        for place, camera in enumerate(self.cameras):
            geometry = specs[camera]
            if geometry is None or geometry.mount != "hand":
                return place
        return None

    @cached_property
    def actions(self) -> list[Float[np.ndarray, "rows a"]]:
        """Each clip's actions at the native rate, as many as lead through its frames."""
        num_rows = (self.num_frames - 1) * self.stride
        return [
            self.dataset.actions(episode)[start : start + num_rows]
            for episode, start in zip(self.episodes, self.starts, strict=True)
        ]

    def states(self, clips: range | list[int]) -> Float[np.ndarray, "b r s"]:
        """Proprioception at the given frame of some clips.

        Where all clips begin episodes, nothing is known of the row before and there is one row.
        Else there are two; the first row of an episode stands for the one before it, too.
        """
        before = 1 if any(self.starts) else 0
        rows = []
        for clip in clips:
            episode, start = self.place(clip)
            state = self.dataset.state(episode)
            rows.append(state[[max(start - 1, 0)] * before + [start]])
        return np.stack(rows)

    def recorded_states(self, clips: range | list[int]) -> Float[np.ndarray, "b t s"]:
        """Proprioception at every frame of some clips."""
        rows = self.stride * np.arange(self.num_frames)
        places = [self.place(clip) for clip in clips]
        return np.stack([self.dataset.state(episode)[start + rows] for episode, start in places])

    def rewarded(self) -> Bool[np.ndarray, " b"] | None:
        """True if any shown row has a reward; None where the dataset has no rewards at all."""
        found = [self.dataset.reward(episode) for episode in self.episodes]
        if not any(reward.any() for reward in found):
            return None
        rows = self.stride * np.arange(self.num_frames)
        return np.array(
            [
                bool((reward[start + rows] > 0).any())
                for reward, start in zip(found, self.starts, strict=True)
            ]
        )


def choose_clips(
    subject: PredictorSpec,
    dataset: LeRobotDataset,
    *,
    horizon: int,
    split: SplitChoice = "auto",
    num_clips: int | None = None,
    per_episode: int = 1,
    cameras: tuple[str, ...] = (),
) -> ClipSet:
    """The first episodes of a split that are long enough for the horizon.

    Args:
        subject: what is measured.
        dataset: recordings that fit it.
        horizon: predicted frames.
        split: which episodes.
        num_clips: how many of them at most.
        per_episode: clips of each at most, spread evenly from its first row to the last possible.
        cameras: those that are the subject's views, in its order; those of its training where none
            is named.

    Raises:
        ValueError: the recordings do not fit the subject, the split has no episode, or none that is
            long enough.
    """
    cameras = chosen_views(subject.views, dataset, asked=cameras)
    check_recordings(subject, dataset, cameras=cameras)
    infos = [dataset.episode_info(episode) for episode in range(dataset.num_episodes)]
    chosen = choose_split([info.split for info in infos], wanted=split)
    of_split = [info for info in infos if info.split == chosen]
    long_enough = episodes_for_horizon(of_split, horizon=horizon, stride=subject.stride)
    places = [
        (info.index, start)
        for info in long_enough[:num_clips]
        for start in spread_starts(info.length - horizon * subject.stride - 1, count=per_episode)
    ]
    return ClipSet(
        dataset=dataset,
        cameras=cameras,
        split=chosen,
        episodes=tuple(episode for episode, _ in places),
        starts=tuple(start for _, start in places),
        num_skipped=len(of_split) - len(long_enough),
        num_frames=horizon + 1,
        stride=subject.stride,
    )


def episodes_for_horizon(
    of_split: Sequence[EpisodeInfo], *, horizon: int, stride: int
) -> list[EpisodeInfo]:
    """The episodes of a split that are long enough for so many predicted frames.

    Raises:
        ValueError: none is.
    """
    needed = horizon * stride + 1
    long_enough = [info for info in of_split if info.length >= needed]
    if not long_enough:
        longest = max(info.length for info in of_split)
        raise UserError(
            f"a horizon of {horizon} frames needs episodes of {needed} rows (stride {stride}), "
            f"the longest of the {of_split[0].split} split has {longest}; choose "
            f"--horizon {(longest - 1) // stride} or less"
        )
    skipped = len(of_split) - len(long_enough)
    if skipped:
        log.warning("%d of %d episodes are shorter than %d rows", skipped, len(of_split), needed)
    return long_enough


def spread_starts(last: int, *, count: int) -> list[int]:
    """At most `count` different rows, spread evenly from 0 to `last`; one row is row 0."""
    return sorted({round(row) for row in np.linspace(0, last, num=count)})


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
