"""The Parquet files of a LeRobot v3.0 dataset's `meta` folder."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboscape.core.errors import UserError
from roboscape.dataset.layout import TASKS_PATH
from roboscape.dataset.statistics import Statistics


def read_table(
    path: Path, *, columns: list[str] | None = None, without: frozenset[str] = frozenset()
) -> pa.Table:
    """Read a Parquet file; a missing or broken one is a `ValueError` that names it.

    Args:
        path: the file.
        columns: the columns to read, as far as the file has them; all where not given.
        without: columns to leave out.
    """
    try:
        file = pq.ParquetFile(path)
        if without:
            names = file.schema_arrow.names if columns is None else columns
            columns = [name for name in names if name not in without]
        return file.read(columns=columns)
    except FileNotFoundError as error:
        raise UserError(
            f"expected a file at {path}, found none; is the dataset complete?"
        ) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{path} is not a readable Parquet file ({error}); copy it again"
        ) from error


def read_episode_tables(root: Path, *, num_episodes: int) -> pa.Table:
    """One row per episode in order, from all files of `meta/episodes`.

    Rows past `num_episodes` are of a part whose writing was interrupted; they do not count.
    """
    paths = sorted((root / "meta/episodes").glob("chunk-*/file-*.parquet"))
    if not paths:
        raise UserError(
            f"expected episode metadata in {root / 'meta/episodes'}, found none; the dataset is "
            "incomplete: copy its whole `meta` folder"
        )
    tables = [read_table(path) for path in paths]
    table = pa.concat_tables(tables, promote_options="permissive").sort_by("episode_index")
    found = table["episode_index"].to_numpy()
    if not np.array_equal(found[:num_episodes], np.arange(num_episodes)):
        raise UserError(
            f"{root / 'meta/info.json'} promises {num_episodes} episodes, {root / 'meta/episodes'} "
            f"describes {len(found)}; a metadata file is missing: copy the `meta` folder again"
        )
    return table.slice(0, num_episodes)


def statistics_in(episodes: pa.Table) -> list[Statistics]:
    """Per-episode statistics, kept in the columns `stats/<feature>/<name>`."""
    parts: list[Statistics] = [{} for _ in range(episodes.num_rows)]
    for column in episodes.column_names:
        if not column.startswith("stats/"):
            continue
        _, feature, name = column.split("/")
        for part, value in zip(parts, episodes[column].to_pylist(), strict=True):
            part.setdefault(feature, {})[name] = np.array(value)
    return parts


def write_tasks(path: Path, tasks: list[str]) -> None:
    """Write `meta/tasks.parquet`: a pandas frame of `task_index` with the task as its index."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": tasks})
    # LeRobot reads the file with pandas, which finds the index by this note.
    note = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            _pandas_column("task_index", kind="int64"),
            _pandas_column("task", kind="object"),
        ],
        "pandas_version": "2.0.0",
    }
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(note)}), path)


def read_tasks(root: Path) -> list[str]:
    """Tasks by their index."""
    table = read_table(root / TASKS_PATH)
    # A frame whose index has no name is stored under pandas' own.
    (text,) = (name for name in table.column_names if name != "task_index")
    order = np.argsort(table["task_index"].to_numpy())
    names = table[text].to_pylist()
    return [names[place] for place in order]


def _pandas_column(name: str, *, kind: str) -> dict[str, str | None]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": "unicode" if kind == "object" else kind,
        "numpy_type": kind,
        "metadata": None,
    }
