"""What planting a fault gives, and what the plantings share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.inspection.faults.finding import FaultKind
from roboscape.inspection.faults.pairs import position_places
from roboscape.inspection.repairs.repair import take_rows

FEW = 2
"""Faults that only leaving out repairs are planted in this many episodes, the first ones."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Recordings with one fault."""

    spec: DatasetSpec
    episodes: list[Episode]
    where: str
    """What a finding must name."""
    damage: Callable[[Path], None] | None = None
    """What is to be done to the written dataset's files, for faults that no writer would write."""


Plant = Callable[[DatasetSpec, list[Episode]], Planted | None]
"""Plants a fault; None where the recordings have nothing that it could be planted in."""


@dataclass(frozen=True, kw_only=True)
class Planting:
    """A fault and how it is planted."""

    kind: FaultKind
    plant: Plant

    @property
    def name(self) -> str:
        """A word for it."""
        return self.plant.__name__

    @property
    def how(self) -> str:
        """A sentence that says what is done."""
        return (self.plant.__doc__ or "").strip().rstrip(".")


def in_each(
    spec: DatasetSpec, episodes: list[Episode], change: Callable[[Episode], Episode], *, where: str
) -> Planted:
    """The same change in every episode."""
    return Planted(spec=spec, episodes=[change(one) for one in episodes], where=where)


def rows_of(episode: Episode, rows: np.ndarray, *, actions: np.ndarray | None = None) -> Episode:
    """Some rows of an episode, at least one, perhaps with other actions."""
    taken = take_rows(episode, rows, actions=actions)
    assert taken is not None
    return taken


def random_of(episode: Episode) -> np.random.Generator:
    """Random numbers that depend on the episode alone."""
    return np.random.default_rng(episode.seed)


def moving_rows(episode: Episode, spec: DatasetSpec, *, apart: int = 6) -> np.ndarray:
    """Rows in which the hand moves fast, some rows apart, in random order."""
    places = position_places(spec.state_names)
    speed = np.linalg.norm(np.diff(episode.state[:, places or slice(None)], axis=0), axis=1)
    rows = np.arange(apart, len(speed) - apart, apart)
    fast = rows[speed[rows] > np.median(speed)]
    return random_of(episode).permutation(fast)


def data_files(root: Path) -> list[tuple[Path, pa.Table]]:
    """A dataset's tables with their files."""
    return [(path, pq.read_table(path)) for path in sorted((root / "data").rglob("*.parquet"))]
