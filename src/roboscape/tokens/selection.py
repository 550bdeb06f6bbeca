"""The clips of a dataset that are trained on: those that its clip index kept."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Int32

from roboscape.clips.curriculum import NOT_GRADED, grade_of
from roboscape.clips.index import FILE, index_settings
from roboscape.core.errors import UserError
from roboscape.dataset.annotations import annotations_folder, read_values
from roboscape.dataset.reader import LeRobotDataset

log = logging.getLogger(__name__)


@runtime_checkable
class Located(Protocol):
    """An episode of a store."""

    @property
    def dataset(self) -> int:
        """The dataset of a clip."""
        ...

    @property
    def episode(self) -> int:
        """Its number there."""
        ...

    @property
    def length(self) -> int:
        """Its native rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class IndexedClips:
    """The clip index of one dataset, as far as training needs it."""

    clips_of: dict[int, list[tuple[int, bool, int]]]
    """Start row, whether it is kept, and grade of every clip, by episode."""
    cuts: Callable[[int], list[int]]
    """First rows of an episode's shots but the first; none where the index used none."""


def kept_starts(
    episodes: Sequence[Located],
    datasets: list[LeRobotDataset],
    *,
    cameras: Sequence[str],
    stride: int,
) -> Int32[np.ndarray, "n 5"]:
    """Ranges of start rows that the clip indices keep, with the columns of `clips.npy`.

    The index holds a clip every few rows; the rows up to its next clip are kept with it and
    share its grade, an index into `DIFFICULTIES`. But a range does not go on across a camera cut,
    and names the row at which its shot ends: a start whose own clip would reach it is no start,
    however long the clip. A dataset that was never indexed counts as a whole, and is not graded.
    An index looks at one camera; it speaks for all views of a frame if it is one of them.

    Raises:
        ValueError: an index was made for another stride or camera, or by an older version.
    """
    indices = [read_index(dataset, cameras=cameras, stride=stride) for dataset in datasets]
    ranges: list[tuple[int, int, int, int, int]] = []
    for number, place in enumerate(episodes):
        index = indices[place.dataset]
        if index is None:
            ranges.append((number, 0, place.length, NOT_GRADED, place.length))
            continue
        clips = index.clips_of[place.episode]
        # An episode shorter than a clip has none in the index.
        ends = [*(start for start, _, _ in clips[1:]), place.length][: len(clips)]
        # An episode whose annotation failed has no cuts to read, and no clip that is kept.
        kept = any(keep for _, keep, _ in clips)
        shots = list(pairwise([0, *index.cuts(place.episode), place.length])) if kept else []
        ranges += [
            (number, max(start, shot), min(end, shot_end), grade, shot_end)
            for (start, keep, grade), end in zip(clips, ends, strict=True)
            for shot, shot_end in shots
            if keep and max(start, shot) < min(end, shot_end)
        ]
    return np.array(ranges, np.int32).reshape(-1, 5)


def read_index(
    dataset: LeRobotDataset, *, cameras: Sequence[str], stride: int
) -> IndexedClips | None:
    """The clip index of a dataset; None without one."""
    path = annotations_folder(dataset.root) / FILE
    if not path.is_file():
        log.info("%s has no clip index (`roboscape clips`): every clip counts", dataset.root)
        return None
    file = pq.ParquetFile(path)
    columns = ["episode", "start", "keep", "difficulty"]
    table = file.read([*columns, "stride", "camera"]).to_pydict()
    for what, wanted in (("stride", [stride]), ("camera", cameras)):
        if wrong := set(table[what]) - set(wanted):
            raise UserError(
                f"{path} indexes clips at {what} {wrong.pop()}, the store is for {what} "
                f"{' and '.join(map(str, wanted))}; run `roboscape clips {dataset.root} --{what} "
                f"{wanted[0]}` again"
            )
    camera = next(iter(table["camera"]), cameras[0])
    clips_of: dict[int, list[tuple[int, bool, int]]] = defaultdict(list)
    for episode, start, keep, difficulty in zip(*(table[c] for c in columns), strict=True):
        clips_of[episode].append((start, keep, grade_of(difficulty)))
    kept = sum(table["keep"])
    log.info("%s: the clip index keeps %d of %d clips", dataset.root, kept, len(table["keep"]))
    about = index_settings(file.schema_arrow, where=path)
    root = about.annotations or annotations_folder(dataset.root)

    def cuts(episode: int) -> list[int]:
        if not about.cuts:
            return []
        found = read_values(root, kind="cuts", annotator=about.cuts, camera=camera, episode=episode)
        return [int(row) for row in found["rows"]]

    return IndexedClips(clips_of=clips_of, cuts=cuts)
