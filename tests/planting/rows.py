"""Wrong rows and rates, planted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.inspection.faults.pairs import grippers, motion_pairs
from tests.planting.planting import (
    FEW,
    Planted,
    data_files,
    in_each,
    moving_rows,
    rows_of,
)


def idle(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """Two seconds of standing still in the middle of every episode."""
    if not spec.state_names:
        return None
    still = round(2 * spec.fps)
    motions = ~grippers(spec.action.names)

    def change(episode: Episode) -> Episode:
        middle = len(episode) // 2
        rows = np.sort(np.concatenate([np.arange(len(episode)), np.full(still, middle)]))
        actions = episode.actions[rows]
        if spec.action.mode == "delta":
            actions[middle : middle + still, motions] = 0
        return rows_of(episode, rows, actions=actions)

    return in_each(spec, episodes, change, where="episodes 0, 1")


def actions_late(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """Every action written 0.15 s late."""
    return _shift(spec, episodes, round(0.15 * spec.fps))


def actions_early(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """Every action written 0.3 s early."""
    return _shift(spec, episodes, -round(0.3 * spec.fps))


def duplicated_rows(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """Three rows of every episode written twice, amid motion."""
    if not spec.state_names:
        return None

    def change(episode: Episode) -> Episode:
        again = moving_rows(episode, spec)[:3]
        return rows_of(episode, np.sort(np.concatenate([np.arange(len(episode)), again])))

    return in_each(spec, episodes, change, where="episodes")


def dropped_rows(spec: DatasetSpec, episodes: list[Episode]) -> Planted | None:
    """In two episodes two rows are lost, at six places amid motion."""
    if not spec.state_names:
        return None

    def change(episode: Episode) -> Episode:
        lost = moving_rows(episode, spec)[:6]
        return rows_of(episode, np.setdiff1d(np.arange(len(episode)), np.append(lost, lost + 1)))

    changed = [change(one) if number < FEW else one for number, one in enumerate(episodes)]
    return Planted(spec=spec, episodes=changed, where="episodes")


def timestamps(spec: DatasetSpec, episodes: list[Episode]) -> Planted:
    """Half the rate declared; only the time stamps tell."""
    slower = replace(spec, fps=spec.fps / 2, action=replace(spec.action, action_hz=spec.fps / 2))

    def damage(root: Path) -> None:
        for path, table in data_files(root):
            times = pa.array(table["frame_index"].to_numpy() / spec.fps, pa.float32())
            place = table.column_names.index("timestamp")
            pq.write_table(table.set_column(place, "timestamp", times), path)

    return Planted(spec=slower, episodes=episodes, where="rows", damage=damage)


def action_rate(spec: DatasetSpec, episodes: list[Episode]) -> Planted:
    """The convention's rate half of the frames'."""
    action = replace(spec.action, action_hz=spec.fps / 2)
    return Planted(spec=replace(spec, action=action), episodes=episodes, where="action")


def _shift(spec: DatasetSpec, episodes: list[Episode], rows: int) -> Planted | None:
    """Every action `rows` later than it was taken."""
    if not motion_pairs(spec):
        return None

    def change(episode: Episode) -> Episode:
        kept = np.arange(max(0, rows), min(len(episode), len(episode) + rows))
        return rows_of(episode, kept, actions=episode.actions[kept - rows])

    return in_each(spec, episodes, change, where="action")
