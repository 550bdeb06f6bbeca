"""The two-stage curriculum: easy clips first, then hard ones (RoboScape, section 2.2).

A pure function of seed and step: nothing is stored, so a training that resumes draws exactly what
it would have drawn.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from roboscape.annotate.categories import DIFFICULTIES
from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for

NOT_GRADED = -1
"""Stands for the grade of clips that no index has graded; the curriculum takes them for medium."""
_CURRICULUM = 7
"""Keeps these draws apart from others of the same seed and step."""


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """The shares of easy, medium and hard clips that are drawn, early and late."""

    on: bool = False
    """Whether training draws clips by their difficulty; else all alike, all the time."""
    easy_share: float = 0.4
    """Share of the training that the first stage takes; the paper's is 2 of 5 epochs."""
    blend_share: float = 0.1
    """Share of the training over which the first stage's weights turn into the second's."""
    first: tuple[float, float, float] = (1.0, 0.0, 0.0)
    """Weight of an easy, a medium and a hard clip in the first stage."""
    second: tuple[float, float, float] = (0.5, 1.0, 1.0)
    """The same in the second; easy clips stay, so that they are not forgotten."""

    def __post_init__(self) -> None:
        """Refuse shares outside a training, and stages that draw nothing."""
        if not (0 <= self.easy_share <= 1 and 0 <= self.blend_share <= 1):
            raise UserError(
                f"easy_share and blend_share are shares of a training, got {self.easy_share} and "
                f"{self.blend_share}"
            )
        for weights in (self.first, self.second):
            if min(weights) < 0 or not any(weights):
                raise UserError(f"weights must be 0 or more, and not all 0; got {weights}")


class Curriculum:
    """Draws clips by their difficulty and by how far a training has come."""

    def __init__(
        self,
        grades: Int[np.ndarray, " r"],
        ends: Int[np.ndarray, " r"],
        *,
        steps: int,
        seed: int,
        config: CurriculumConfig | None = None,
    ) -> None:
        """Take ranges of clips that share a grade, and the training's length.

        Args:
            grades: Index into `DIFFICULTIES`, or `NOT_GRADED`, by range.
            ends: Clips up to the end of each range; they are numbered through.
            steps: Of the whole training.
            seed: The run's.
            config: The stages.

        Raises:
            ValueError: nothing is graded, or a stage has no clip of any difficulty that it draws.
        """
        if (grades == NOT_GRADED).all():
            raise UserError(
                "a curriculum needs the difficulty of clips, and this token store holds none: "
                "run `roboscape clips` on its datasets and `roboscape tokenize` again (which "
                "encodes nothing twice), or train with --curriculum.no-on"
            )
        self._config = config or CurriculumConfig()
        self._steps = steps
        self._seed = seed
        known = np.where(grades == NOT_GRADED, DIFFICULTIES.index("medium"), grades)
        lengths = np.diff(ends, prepend=0)
        chosen = [known == grade for grade in range(len(DIFFICULTIES))]
        self._ends = [ends[one] for one in chosen]
        self._places = [np.cumsum(lengths[one]) for one in chosen]
        self._counts = np.array([lengths[one].sum() for one in chosen])
        for weights in (self._config.first, self._config.second):
            if not (self._counts * weights).any():
                has = dict(zip(DIFFICULTIES, self._counts.tolist(), strict=True))
                raise UserError(
                    f"no clip has a difficulty of a positive weight: there are {has}, the weights "
                    f"are {weights}"
                )

    def grade_weights(self, step: int) -> Float[np.ndarray, "3"]:
        """Weight of an easy, a medium and a hard clip at a step, counted from 0."""
        blend_steps = max(self._config.blend_share * self._steps, 1e-9)
        past = (step - self._config.easy_share * self._steps) / blend_steps + 0.5
        second = float(np.clip(past, 0, 1))
        return (1 - second) * np.array(self._config.first) + second * np.array(self._config.second)

    def sample(self, step: int, *, size: int) -> Int[np.ndarray, " b"]:
        """Clips of a batch, with replacement; costs nothing that grows with the dataset."""
        generator = numpy_generator_for(self._seed, step, _CURRICULUM)
        mass = self.grade_weights(step) * self._counts
        grades = generator.choice(len(mass), size=size, p=mass / mass.sum())
        places = generator.random(size)
        chosen = [self._clip(*pair) for pair in zip(grades.tolist(), places, strict=True)]
        return np.array(chosen, np.int64)

    def _clip(self, grade: int, share: float) -> int:
        """The clip that lies so far along all of its grade."""
        place = int(share * self._counts[grade])
        among = np.searchsorted(self._places[grade], place, side="right")
        return int(self._ends[grade][among] - (self._places[grade][among] - place))


def grade_of(difficulty: str) -> int:
    """Index of a word of the clip index; `NOT_GRADED` for the empty one."""
    return DIFFICULTIES.index(difficulty) if difficulty else NOT_GRADED
