"""The two-stage curriculum: easy clips first, then hard ones (RoboScape, section 2.2).

A pure function of seed and step: nothing is stored, so a training that resumes draws exactly what
it would have drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from roboscape.annotate.categories import DIFFICULTIES
from roboscape.clips.index import FILE
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.annotations import annotations_folder

_CURRICULUM = 7
"""Keeps these draws apart from others of the same seed and step."""
_ROWS = 1 << 32
"""More rows than an episode has."""


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """How often easy, medium and hard clips are drawn, early and late."""

    easy_share: float = 0.4
    """Share of the training that the first stage takes; the paper's is 2 of 5 epochs."""
    blend_share: float = 0.1
    """Share of the training over which the first stage's weights turn into the second's."""
    first: tuple[float, float, float] = (1.0, 0.5, 0.0)
    """Weight of an easy, a medium and a hard clip in the first stage."""
    second: tuple[float, float, float] = (0.5, 1.0, 1.0)
    """The same in the second; easy clips stay, so that they are not forgotten."""

    def __post_init__(self) -> None:
        """Refuse shares outside a training, and stages that draw nothing."""
        if not (0 <= self.easy_share <= 1 and 0 <= self.blend_share <= 1):
            raise ValueError(
                f"easy_share and blend_share are shares of a training, got {self.easy_share} and "
                f"{self.blend_share}"
            )
        for weights in (self.first, self.second):
            if min(weights) < 0 or not any(weights):
                raise ValueError(f"weights must be 0 or more, and not all 0; got {weights}")


class Curriculum:
    """Draws clips by their difficulty and by how far a training has come."""

    def __init__(
        self,
        grades: Int[np.ndarray, " n"],
        *,
        steps: int,
        seed: int,
        config: CurriculumConfig | None = None,
    ) -> None:
        """Take the grade of every clip (index into `DIFFICULTIES`) and the training's length.

        Raises:
            ValueError: a stage has no clip of any difficulty that it draws.
        """
        self._config = config or CurriculumConfig()
        self._steps = steps
        self._seed = seed
        self._grades = grades
        self._clips = [np.flatnonzero(grades == grade) for grade in range(len(DIFFICULTIES))]
        self._counts = np.array([len(clips) for clips in self._clips])
        for weights in (self._config.first, self._config.second):
            if not (self._counts * weights).any():
                has = dict(zip(DIFFICULTIES, self._counts.tolist(), strict=True))
                raise ValueError(
                    f"no clip has a difficulty of a positive weight: there are {has}, the weights "
                    f"are {weights}"
                )

    def grade_weights(self, step: int) -> Float[np.ndarray, "3"]:
        """Weight of an easy, a medium and a hard clip at a step, counted from 0."""
        blend_steps = max(self._config.blend_share * self._steps, 1e-9)
        past = (step - self._config.easy_share * self._steps) / blend_steps + 0.5
        second = float(np.clip(past, 0, 1))
        return (1 - second) * np.array(self._config.first) + second * np.array(self._config.second)

    def weights(self, step: int) -> Float[np.ndarray, " n"]:
        """Probability of every clip at a step."""
        weights = self.grade_weights(step)[self._grades]
        return weights / weights.sum()

    def sample(self, step: int, *, size: int) -> Int[np.ndarray, " b"]:
        """Clips of a batch, with replacement; costs nothing that grows with the dataset."""
        generator = numpy_generator_for(self._seed, step, _CURRICULUM)
        mass = self.grade_weights(step) * self._counts
        grades = generator.choice(len(mass), size=size, p=mass / mass.sum())
        place = generator.random(size)
        chosen = [
            self._clips[grade][int(share * self._counts[grade])]
            for grade, share in zip(grades, place, strict=True)
        ]
        return np.array(chosen, np.int64)


def grades_of_clips(
    episodes: Path,
    *,
    datasets: Sequence[str | Path],
    episode: Int[np.ndarray, " n"],
    start: Int[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
    """Difficulty of every clip of a token store, as an index into `DIFFICULTIES`.

    The clip index looks at a clip every few rows; the rows up to its next clip share its grade.
    Clips that it left out count as medium.

    Args:
        episodes: The store's `episodes.parquet`.
        datasets: The datasets that the store was made of, in its order.
        episode: Row of the episode table, by clip.
        start: First native row in its episode, by clip.

    Raises:
        ValueError: a dataset has no clip index.
    """
    table = pq.ParquetFile(episodes).read(["dataset", "episode"])
    dataset_of = np.array(table["dataset"].to_pylist(), np.int64)[episode]
    number = np.array(table["episode"].to_pylist(), np.int64)[episode]
    grades = np.full(len(episode), DIFFICULTIES.index("medium"), np.int64)
    for index, root in enumerate(datasets):
        chosen = np.flatnonzero(dataset_of == index)
        places, known = _index_of(annotations_folder(Path(root)) / FILE)
        keys = number[chosen] * _ROWS + start[chosen]
        at = np.searchsorted(places, keys, side="right") - 1
        # A clip before its episode's first indexed one would find the episode before.
        same = (at >= 0) & (places[np.maximum(at, 0)] // _ROWS == number[chosen])
        grades[chosen[same]] = known[at[same]]
    return grades


def _index_of(path: Path) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Places (episode and start as one number, ascending) and grades of an index's clips."""
    if not path.is_file():
        raise ValueError(
            f"a curriculum needs difficulties, and there is no clip index at {path}; run "
            f"`roboscape clips {path.parent.parent}`"
        )
    table = pq.ParquetFile(path).read(["episode", "start", "difficulty"]).to_pydict()
    places = np.array(table["episode"], np.int64) * _ROWS + np.array(table["start"], np.int64)
    medium = DIFFICULTIES.index("medium")
    grades = np.array(
        [DIFFICULTIES.index(word) if word else medium for word in table["difficulty"]], np.int64
    )
    order = np.argsort(places, kind="stable")
    return places[order], grades[order]
