"""Demonstrations: episodes that solve the task, as a policy is trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from roboscape.clips.split import episodes_of
from roboscape.core.errors import UserError
from roboscape.core.progress import progress
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One episode up to a while after its success. Axes: f frame, n native row."""

    images: dict[str, UInt8[np.ndarray, "f h w 3"]]
    """By camera name."""
    states: Float[np.ndarray, "f s"]
    """At the frames."""
    rows: Int[np.ndarray, " f"]
    """The native row of each frame: every one in recordings, every `stride`th in imagined ones."""
    actions: Float[np.ndarray, "n a"]
    """At the native rate; row i is taken after the frame of row i."""

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.rows)

    def history(self, frame: int, *, frames: int, spacing: int) -> Int[np.ndarray, " t"]:
        """Numbers of the frames that a policy sees at a frame, `spacing` native rows apart.

        Before the first one the first is repeated, as `PolicyDriver` does.
        """
        wanted = self.rows[frame] - spacing * np.arange(frames)[::-1]
        return np.maximum(np.searchsorted(self.rows, wanted, side="right") - 1, 0)

    def chunk(self, frame: int, *, length: int) -> Float[np.ndarray, "c a"]:
        """The actions that follow a frame; the last one is repeated where the episode ends."""
        rows = np.minimum(self.rows[frame] + np.arange(length), len(self.actions) - 1)
        return self.actions[rows]


def read_demonstrations(
    dataset: LeRobotDataset,
    split: Split,
    *,
    cameras: Sequence[str],
    most: int | None = None,
    rows_after_success: int = 10,
) -> list[Demonstration]:
    """The successful episodes of a split, decoded into memory.

    Args:
        dataset: rewards say in which rows the task is solved; without any, whole episodes count.
        split: which episodes.
        cameras: whose images are read.
        most: at most so many demonstrations, the first ones.
        rows_after_success: native rows that are kept after the first one that shows success.

    Raises:
        ValueError: an unknown camera, or no successful episode.
    """
    found: list[Demonstration] = []
    episodes = [
        episode
        for episode in episodes_of(dataset, split)
        if dataset.episode_info(episode).success is not False
    ][:most]
    bar = progress(len(episodes), f"reading {split}", unit="episodes")
    for episode in episodes:
        solved = np.flatnonzero(dataset.reward(episode) > 0)
        length = dataset.episode_info(episode).length
        end = min(length, int(solved[0]) + 1 + rows_after_success) if len(solved) else length
        rows = slice(0, end)
        found.append(
            Demonstration(
                images={name: dataset.frames(episode, name, rows) for name in cameras},
                states=dataset.state(episode)[rows],
                rows=np.arange(end),
                actions=dataset.actions(episode)[rows],
            )
        )
        bar.update()
    bar.close()
    if not found:
        raise UserError(
            f"{dataset.root} has no successful episode for {split}; record demonstrations, e.g. "
            "`roboscape collect lift --proportions.expert 1 --proportions.noisy-expert 0 "
            "--proportions.miss 0 --proportions.random 0`"
        )
    return found
