"""Shares of successes with Wilson's intervals."""

from dataclasses import dataclass
from math import nan, sqrt
from statistics import NormalDist

from roboscape.core.errors import UserError


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
