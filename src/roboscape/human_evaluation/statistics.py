"""Intervals of shares, and agreement of raters."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan, sqrt
from statistics import NormalDist
from typing import Any

from roboscape.core.errors import UserError

Ratings = Mapping[Any, Mapping[str, int | float]]
"""Values by item and rater; who has not rated an item is not in its mapping."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of successes with its interval; nan where nothing was tried."""

    successes: int
    trials: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself."""
        return self.successes / self.trials if self.trials else nan


def wilson_interval(successes: int, trials: int, *, confidence: float = 0.95) -> Share:
    """A share with its score interval (Wilson 1927), which stays within 0 and 1.

    Raises:
        ValueError: more successes than trials, or a confidence outside 0 and 1.
    """
    if not 0 <= successes <= trials or not 0 < confidence < 1:
        raise UserError(
            f"expected 0 <= successes <= trials and a confidence between 0 and 1, got {successes}, "
            f"{trials} and {confidence}"
        )
    if not trials:
        return Share(successes=0, trials=0, low=nan, high=nan)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    middle = share + z**2 / (2 * trials)
    half = z * sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    # Rounding must not exclude the share itself at 0 and 1.
    low = 0.0 if successes == 0 else (middle - half) / scale
    high = 1.0 if successes == trials else (middle + half) / scale
    return Share(successes=successes, trials=trials, low=low, high=high)


def nominal(a: Any, b: Any) -> float:
    """Distance of values that are names: equal or not."""
    return float(a != b)


def interval(a: Any, b: Any) -> float:
    """Distance of values on a scale of equal steps: the squared difference."""
    return float((a - b) ** 2)


def krippendorff_alpha(
    ratings: Ratings, *, distance: Callable[[Any, Any], int | float] = nominal
) -> float:
    """Agreement of any number of raters, some of whom may have left items out (Krippendorff 2011).

    1 is perfect agreement, 0 what chance gives, below 0 systematic disagreement. Computed from the
    coincidence matrix: alpha = 1 - observed / expected disagreement. nan where no item has two
    ratings, or all values are equal, for then chance would agree as well.

    Args:
        ratings: Values by item and rater.
        distance: `nominal` for names, `interval` for steps.
    """
    coincidences: dict[Any, float] = defaultdict(float)
    for by_rater in ratings.values():
        values = list(by_rater.values())
        for i, one in enumerate(values):
            for j, other in enumerate(values):
                if i != j:
                    coincidences[one, other] += 1 / (len(values) - 1)
    totals: dict[Any, float] = defaultdict(float)
    for (one, _), count in coincidences.items():
        totals[one] += count
    pairable = sum(totals.values())
    if pairable < 2:
        return nan
    observed = sum(count * distance(*pair) for pair, count in coincidences.items()) / pairable
    expected = sum(
        totals[one] * totals[other] * distance(one, other) for one in totals for other in totals
    ) / (pairable * (pairable - 1))
    return nan if expected == 0 else 1 - observed / expected
