"""The Parquet files that hold a dataset's rows, read column by column, here or on a hub."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from roboscape.dataset.hub import HubFiles, fetched_columns
from roboscape.dataset.tables import read_table

NUMBERS = "numbers"
"""All columns that hold no images; they are small and read together."""


class DataFiles:
    """Reads columns of data files; the ones read last stay in memory.

    Images that a data file holds are read only when they are asked for, a camera at a time, and
    only then fetched from a hub.
    """

    def __init__(self, root: Path, *, images: frozenset[str], hub: HubFiles | None) -> None:
        self._root = root
        self._images = images
        self._hub = hub
        # One value a group, replaced whole: threads may share a reader.
        self._latest: dict[str, tuple[Path, pa.Table]] = {}

    def read(self, path: Path, *, column: str) -> pa.Table:
        """The rows of a file with at least the given column and `episode_index`."""
        group = self._group(column)
        known, table = self._latest.get(group, (None, pa.table({})))
        if known != path:
            here = self._local(path, group)
            if group != NUMBERS:
                table = read_table(here, columns=["episode_index", column])
            elif self._images and here == path:
                table = read_table(here, without=self._images)
            else:
                table = read_table(here)
            self._latest[group] = (path, table)
        return table

    def fetch(self, paths: Iterable[Path], *, images: Iterable[str]) -> None:
        """Have the numbers, and the images of some columns, here before they are read."""
        if self._hub is None:
            return
        if not self._images:
            self._hub.fetch(paths)
            return
        groups = {NUMBERS, *(self._group(column) for column in images)}
        for path in dict.fromkeys(paths):
            for group in sorted(groups):
                self._local(path, group)

    def _group(self, column: str) -> str:
        """The columns that are read together with one."""
        return column if column in self._images else NUMBERS

    def _local(self, path: Path, group: str) -> Path:
        """A file here that holds the columns of a group."""
        if self._hub is None or path.exists():
            return path
        if not self._images:
            self._hub.fetch([path])
            return path
        part = fetched_columns(path, root=self._root, group=group)
        if not part.exists():
            chosen = self._images if group == NUMBERS else frozenset({"episode_index", group})
            self._hub.fetch_columns(path, to=part, columns=chosen, keep=group != NUMBERS)
        return part
