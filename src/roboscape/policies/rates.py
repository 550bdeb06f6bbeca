"""Success rates with Wilson's interval (E. B. Wilson 1927)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from roboscape.core.errors import UserError

Z_95 = 1.959964
"""Quantile of the normal distribution for 95 % intervals."""


@dataclass(frozen=True, kw_only=True)
class SuccessRate:
    """How often an episode succeeded, with a 95 % interval."""

    successes: int
    episodes: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Share of the episodes."""
        return self.successes / self.episodes

    def __str__(self) -> str:
        """In words."""
        return (
            f"{self.successes} of {self.episodes} episodes ({100 * self.rate:.0f} %, 95 % "
            f"interval {100 * self.low:.0f} to {100 * self.high:.0f})"
        )


def success_rate(successes: Sequence[bool]) -> SuccessRate:
    """The share of successes and Wilson's interval of it."""
    count, total = sum(map(bool, successes)), len(successes)
    if not total:
        raise UserError("no episode was run, so there is no success rate")
    share, width = count / total, Z_95**2 / total
    middle = (share + width / 2) / (1 + width)
    half = sqrt(share * (1 - share) * width + width**2 / 4) / (1 + width)
    return SuccessRate(
        successes=count, episodes=total, low=max(0.0, middle - half), high=min(1.0, middle + half)
    )
