"""Agreement of raters."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from math import nan
from typing import Any

Ratings = Mapping[Any, Mapping[str, int | float]]
"""Values by item and rater; who has not rated an item is not in its mapping."""


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
