"""Which clips of a dataset are trained on: what its clip index kept."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Int32

from roboscape.clips.curriculum import NOT_GRADED, grade_of
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
) -> Int32[np.ndarray, "n 4"]:
    """Ranges of start rows that the clip indices keep: store episode, first row, end row, grade.

    The index looks at a clip every few rows; the rows up to its next clip follow its verdict and
    share its grade, an index into `DIFFICULTIES`. A dataset that was never indexed counts as a
    whole, and is not graded.

    Raises:
        ValueError: an index was made for another stride.
    """
    verdicts = [read_verdicts(dataset, stride=stride) for dataset in datasets]
    ranges: list[tuple[int, int, int, int]] = []
    for number, place in enumerate(episodes):
        index = verdicts[place.dataset]
        clips = [(0, True, NOT_GRADED)] if index is None else index[place.episode]
        # An episode shorter than a clip has none in the index.
        ends = [*(start for start, _, _ in clips[1:]), place.length][: len(clips)]
        ranges += [
            (number, start, end, grade)
            for (start, keep, grade), end in zip(clips, ends, strict=True)
            if keep
        ]
    return np.array(ranges, np.int32).reshape(-1, 4)


def read_verdicts(
    dataset: LeRobotDataset, *, stride: int
) -> dict[int, list[tuple[int, bool, int]]] | None:
    """Start row, verdict and grade of every indexed clip, by episode; None without an index."""
    path = annotations_folder(dataset.root) / FILE
    if not path.is_file():
        log.info("%s has no clip index (`roboscape clips`): every clip counts", dataset.root)
        return None
    columns = ["episode", "start", "stride", "keep", "difficulty"]
    table = pq.ParquetFile(path).read(columns).to_pydict()
    if wrong := set(table["stride"]) - {stride}:
        raise ValueError(
            f"{path} indexes clips at stride {wrong.pop()}, the store is for stride {stride}; run "
            f"`roboscape clips {dataset.root} --stride {stride}` again"
        )
    verdicts: dict[int, list[tuple[int, bool, int]]] = defaultdict(list)
    for episode, start, _, keep, difficulty in zip(*(table[c] for c in columns), strict=True):
        verdicts[episode].append((start, keep, grade_of(difficulty)))
    kept = sum(table["keep"])
    log.info("%s: the clip index keeps %d of %d clips", dataset.root, kept, len(table["keep"]))
    return verdicts
