"""Success rates of policies."""

from collections.abc import Sequence
from dataclasses import dataclass

from roboscape.core.errors import UserError
from roboscape.evaluate.shares import wilson_interval

Z_95 = 1.959964
"""Quantile of the normal distribution for 95 % intervals."""


@dataclass(frozen=True, kw_only=True)
class SuccessRate:
    """The share of successful episodes, with Wilson's 95 % interval."""

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
    """The share of successes and its interval.

    Raises:
        ValueError: no episode was run.
    """
    if not len(successes):
        raise UserError("no episode was run, so there is no success rate")
    share = wilson_interval(sum(map(bool, successes)), len(successes))
    return SuccessRate(
        successes=share.successes, episodes=share.trials, low=share.low, high=share.high
    )
