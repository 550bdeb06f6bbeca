"""Wrong episodes, planted, and files that are damaged or missing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboscape.dataset import layout
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.inspection.faults.episodes import ALIKE_FROM
from tests.planting.planting import Planted, data_files, rows_of


def not_finite(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """NaN in one row of the state of episode 1."""
    if not spec.state_names:
        return None

    def damage(root: Path) -> None:
        for path, table in data_files(root):
            state = table[layout.STATE_KEY].to_pylist()
            (rows,) = np.nonzero(table["episode_index"].to_numpy() == 1)
            if not len(rows):
                continue
            state[rows[len(rows) // 2]][0] = float("nan")
            place = table.column_names.index(layout.STATE_KEY)
            column = pa.array(state, table.schema.field(layout.STATE_KEY).type)
            pq.write_table(table.set_column(place, layout.STATE_KEY, column), path)

    return Planted(spec=spec, episodes=episodes, where="episode 1", damage=damage)


def one_row(spec: DatasetSpec, episodes: list[Episode]) -> Planted:
    """Episode 1 has a single row."""
    short = rows_of(episodes[1], np.arange(1))
    return Planted(spec=spec, episodes=[episodes[0], short, *episodes[2:]], where="episodes 1")


def twice(spec: DatasetSpec, episodes: list[Episode]) -> Planted:
    """Episode 0 once more at the end, with another seed."""
    again = replace(episodes[0], seed=max(one.seed for one in episodes) + 1)
    where = f"episodes {len(episodes)}"
    return Planted(spec=spec, episodes=[*episodes, again], where=where)


def only_successes(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """Every episode said to succeed."""
    if len(episodes) < ALIKE_FROM:
        return None
    succeeding = [replace(one, success=True) for one in episodes]
    return Planted(spec=spec, episodes=succeeding, where="episodes")


def damaged_file(spec: DatasetSpec, episodes: list[Episode]) -> Planted:
    """Half of a video file is missing."""

    def damage(root: Path) -> None:
        path = sorted((root / "videos").rglob("*.mp4"))[-1]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return Planted(spec=spec, episodes=episodes, where="episode", damage=damage)


def unsaid_convention(spec: DatasetSpec, episodes: list[Episode]) -> Planted:
    """The file that says what the actions mean is missing."""

    def damage(root: Path) -> None:
        (root / layout.SPEC_PATH).unlink()

    return Planted(spec=spec, episodes=episodes, where="action", damage=damage)
