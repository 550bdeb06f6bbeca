"""Demonstrations: episodes that solve the task, as a policy is trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from roboscape.clips.split import episodes_of
from roboscape.core.errors import UserError
from roboscape.core.progress import progress
from roboscape.dataset.frame_actions import stride_of
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Split


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One episode up to a while after its success. Axes: f frame, n native row."""

    images: dict[str, UInt8[np.ndarray, "f h w 3"] | Int[np.ndarray, "f y x"]]
    """By camera name: pixels, or tokens of a policy that reads these."""
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


def square_cameras(dataset: LeRobotDataset, asked: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """The cameras that a policy reads, and the side of their images in pixels.

    Args:
        dataset: that it learns from.
        asked: names; the dataset's first camera where none is named.

    Raises:
        ValueError: a camera that the dataset lacks, or images that are not squares of one size.
    """
    known = {camera.name: camera for camera in dataset.spec.cameras}
    cameras = asked or (dataset.spec.cameras[0].name,)
    if unknown := [name for name in cameras if name not in known]:
        raise UserError(f"{dataset.root} has no camera {unknown}; it has {', '.join(known)}")
    sizes = {(known[name].height, known[name].width) for name in cameras}
    if len(sizes) > 1 or len(set(*sizes)) > 1:
        raise UserError(f"expected square images of one size from all cameras, got {sorted(sizes)}")
    return cameras, known[cameras[0]].height


def read_demonstrations(
    dataset: LeRobotDataset,
    split: Split,
    *,
    cameras: Sequence[str],
    most: int | None = None,
    stride: int = 1,
    rows_after_success: int = 10,
) -> list[Demonstration]:
    """The successful episodes of a split, decoded into memory.

    Args:
        dataset: recordings, or imagined episodes with all native actions of a frame in one row
            (`dataset/frame_actions.py`). Rewards say which rows show the task solved; without any,
            whole episodes count.
        split: which episodes.
        cameras: whose images are read.
        most: at most so many demonstrations, the first ones.
        stride: native rows from one frame that is read to the next; imagined episodes have no
            others than those of their world model.
        rows_after_success: native rows that are kept after the first one that shows success.

    Raises:
        ValueError: an unknown camera, or no successful episode.
    """
    episodes = [
        episode
        for episode in episodes_of(dataset, split)
        if dataset.episode_info(episode).success is not False
    ][:most]
    if not episodes:
        raise UserError(
            f"{dataset.root} has no successful episode for {split}; record demonstrations, e.g. "
            "`roboscape collect lift --proportions.expert 1 --proportions.noisy-expert 0 "
            "--proportions.miss 0 --proportions.random 0`"
        )
    bar = progress(len(episodes), f"reading {split}", unit="episodes")
    found: list[Demonstration] = []
    for episode in episodes:
        found.append(
            _demonstration(
                dataset, episode, cameras=cameras, stride=stride, after=rows_after_success
            )
        )
        bar.update()
    bar.close()
    return found


def _demonstration(
    dataset: LeRobotDataset, episode: int, *, cameras: Sequence[str], stride: int, after: int
) -> Demonstration:
    """One episode, up to `after` native rows after its success."""
    stored = stride_of(dataset.spec.action)
    solved = np.flatnonzero(dataset.reward(episode) > 0)
    length = dataset.episode_info(episode).length * stored
    end = min(length, int(solved[0]) * stored + 1 + after) if len(solved) else length
    step = max(1, stride // stored)
    frames = slice(0, -(-end // stored), step)
    actions = dataset.actions(episode).reshape(length, -1)
    return Demonstration(
        images={name: dataset.frames(episode, name, frames) for name in cameras},
        states=dataset.state(episode)[frames],
        rows=np.arange(0, end, step * stored),
        actions=actions[:end],
    )
