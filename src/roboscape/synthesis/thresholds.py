"""Thresholds of plausibility from proper rollouts, and how well they find broken ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float

from roboscape.core.errors import UserError
from roboscape.synthesis.plausibility import SCORES, Plausibility

SEARCHED = 60
"""Halvings in the search of the quantile that keeps the wanted share."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """The detection of one kind of broken rollouts."""

    area: dict[str, float]
    """Area under the ROC curve, by score: 1 always higher than proper ones, .5 chance."""
    found: float
    """Share that the thresholds together set apart."""
    count: int


def score_table(found: Sequence[Plausibility]) -> Float[np.ndarray, "e k"]:
    """Scores as numbers, a column a score (`SCORES`)."""
    return np.array([[asdict(one)[name] for name in SCORES] for one in found], np.float64)


def limits_of(
    proper: Float[np.ndarray, "e k"], *, kept: float
) -> tuple[Float[np.ndarray, " k"], float]:
    """The same quantile of every score, so that all together keep a share of proper episodes.

    Args:
        proper: Scores of properly imagined episodes.
        kept: Wanted share.

    Returns:
        The largest plausible scores, and the share that they keep.

    Raises:
        ValueError: fewer than ten episodes, or no share between 0 and 1.
    """
    if len(proper) < 10 or not 0 < kept < 1:
        raise UserError(
            f"thresholds need ten proper episodes or more and a share to keep between 0 and 1, got "
            f"{len(proper)} and {kept}"
        )
    low, high = 0.0, 1.0
    for _ in range(SEARCHED):
        middle = (low + high) / 2
        if _kept(proper, middle) >= kept:
            high = middle
        else:
            low = middle
    return np.quantile(proper, high, axis=0), _kept(proper, high)


def _kept(proper: Float[np.ndarray, "e k"], quantile: float) -> float:
    return float((proper <= np.quantile(proper, quantile, axis=0)).all(axis=1).mean())


def detection(
    proper: Float[np.ndarray, "e k"],
    broken: Float[np.ndarray, "f k"],
    *,
    limits: Float[np.ndarray, " k"],
) -> Detection:
    """The detection of broken rollouts, on episodes that set no threshold."""
    areas = {name: area_under_roc(proper[:, i], broken[:, i]) for i, name in enumerate(SCORES)}
    apart: Bool[np.ndarray, " f"] = (broken > limits).any(axis=1)
    return Detection(area=areas, found=float(apart.mean()), count=len(broken))


def area_under_roc(proper: Float[np.ndarray, " e"], broken: Float[np.ndarray, " f"]) -> float:
    """The share of (proper, broken) pairs whose broken one scores higher; ties count half."""
    higher = broken[:, None] > proper[None]
    equal = broken[:, None] == proper[None]
    return float(higher.mean() + equal.mean() / 2)


def roc_curve(
    proper: Float[np.ndarray, " e"], broken: Float[np.ndarray, " f"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Shares of proper and of broken episodes above every possible threshold, from none to all."""
    limits = np.concatenate(
        [[np.inf], np.unique(np.concatenate([proper, broken]))[::-1], [-np.inf]]
    )
    alarms = (proper[None] > limits[:, None]).mean(axis=1)
    found = (broken[None] > limits[:, None]).mean(axis=1)
    return alarms, found


def joint_score(
    scores: Float[np.ndarray, "e k"], proper: Float[np.ndarray, "f k"]
) -> Float[np.ndarray, " e"]:
    """One number an episode: its worst score, as the share of proper episodes that score less."""
    below = (proper[None] < scores[:, None]).mean(axis=1)
    return below.max(axis=1)
