"""Which clips of a dataset are trained on: what its clip index kept."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Int32

from roboscape.clips.index import FILE
from roboscape.dataset.annotations import annotations_folder
from roboscape.dataset.reader import LeRobotDataset

log = logging.getLogger(__name__)


@runtime_checkable
class Located(Protocol):
    """An episode of a store."""

    @property
    def dataset(self) -> int:
        """Which dataset it is from."""
        ...

    @property
    def episode(self) -> int:
        """Its number there."""
        ...

    @property
    def length(self) -> int:
        """Its native rows."""
        ...


def kept_starts(
    episodes: Sequence[Located], datasets: list[LeRobotDataset], *, stride: int
) -> Int32[np.ndarray, "n 3"]:
    """Ranges of start rows that the clip indices keep: store episode, first row, end row.

    The index looks at a clip every few rows; the rows up to its next clip follow its verdict.
    A dataset that was never indexed counts as a whole.

    Raises:
        ValueError: an index was made for another stride.
    """
    verdicts = [read_verdicts(dataset, stride=stride) for dataset in datasets]
    ranges: list[tuple[int, int, int]] = []
    for number, place in enumerate(episodes):
        index = verdicts[place.dataset]
        clips = [(0, True)] if index is None else index[place.episode]
        # An episode shorter than a clip has none in the index.
        ends = [*(start for start, _ in clips[1:]), place.length][: len(clips)]
        ranges += [
            (number, start, end) for (start, keep), end in zip(clips, ends, strict=True) if keep
        ]
    return np.array(ranges, np.int32).reshape(-1, 3)


def read_verdicts(
    dataset: LeRobotDataset, *, stride: int
) -> dict[int, list[tuple[int, bool]]] | None:
    """Start row and verdict of every indexed clip, by episode; None without an index."""
    path = annotations_folder(dataset.root) / FILE
    if not path.is_file():
        log.info("%s has no clip index (`roboscape clips`): every clip counts", dataset.root)
        return None
    table = pq.ParquetFile(path).read(["episode", "start", "stride", "keep"]).to_pydict()
    if wrong := set(table["stride"]) - {stride}:
        raise ValueError(
            f"{path} indexes clips at stride {wrong.pop()}, the store is for stride {stride}; run "
            f"`roboscape clips {dataset.root} --stride {stride}` again"
        )
    verdicts: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for episode, start, keep in zip(table["episode"], table["start"], table["keep"], strict=True):
        verdicts[episode].append((start, keep))
    kept = sum(table["keep"])
    log.info("%s: the clip index keeps %d of %d clips", dataset.root, kept, len(table["keep"]))
    return verdicts
