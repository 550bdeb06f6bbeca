"""The lag in rows of one signal behind another: cross-correlation inside episodes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

LONGEST_DELAY_S = 0.2
"""A controller and its motors answer within this time, and at least within one row."""
MIN_CORRELATION = 0.3
"""Signals that correlate less at every lag say nothing about lags."""
MIN_ROWS = 20
VOTES = 0.6
"""Share of the episodes that must agree."""


@dataclass(frozen=True, kw_only=True)
class LagProfile:
    """Correlation of two signals at every lag, all episodes together."""

    lags: Int[np.ndarray, " k"]
    correlation: Float[np.ndarray, " k"]
    episode_peaks: tuple[int, ...]
    """The best lag of every episode that has a clear one."""

    @property
    def peak(self) -> int:
        """The lag at which the signals agree best."""
        return int(self.lags[self.correlation.argmax()])

    @property
    def at_peak(self) -> float:
        """The correlation there."""
        return float(self.correlation.max())

    def outside(self, earliest: int, latest: int) -> bool:
        """True if the peak, and most episodes' own peaks, lie outside of a range of lags."""
        if self.at_peak < MIN_CORRELATION or earliest <= self.peak <= latest:
            return False
        # A later lag does not contradict an earlier one's being out of range on the other side.
        side = self.peak > latest
        votes = [peak > latest if side else peak < earliest for peak in self.episode_peaks]
        return bool(votes) and float(np.mean(votes)) >= VOTES


def lag_profile(
    earlier: Sequence[Float[np.ndarray, "_t d"]],
    later: Sequence[Float[np.ndarray, "_t d"]],
    *,
    reach: int,
) -> LagProfile:
    """Correlate `earlier` at t with `later` at t + lag, for lags of -reach to reach.

    Args:
        earlier: One array an episode; dimension j belongs to dimension j of `later`.
        later: As many rows of as many dimensions.
        reach: The largest lag in rows.
    """
    lags = np.arange(-reach, reach + 1)
    by_episode = [
        _correlations([first], [second], lags=lags)
        for first, second in zip(earlier, later, strict=True)
        if len(first) >= 2 * reach + MIN_ROWS
    ]
    peaks = tuple(
        int(lags[found.argmax()]) for found in by_episode if found.max() >= MIN_CORRELATION
    )
    pooled = _correlations(earlier, later, lags=lags)
    return LagProfile(lags=lags, correlation=pooled, episode_peaks=peaks)


def _correlations(
    earlier: Sequence[np.ndarray], later: Sequence[np.ndarray], *, lags: np.ndarray
) -> Float[np.ndarray, " k"]:
    """Mean over the dimensions that vary, at every lag; rows that every lag has are compared."""
    reach = int(lags.max())
    long = [
        (first, second)
        for first, second in zip(earlier, later, strict=True)
        if len(first) > 2 * reach + 2
    ]
    if not long:
        return np.zeros(len(lags))
    inner = np.concatenate([first[reach : len(first) - reach] for first, _ in long])
    found = np.zeros(len(lags))
    for place, lag in enumerate(lags):
        shifted = np.concatenate(
            [second[reach + lag : len(second) - reach + lag] for _, second in long]
        )
        found[place] = mean_correlation(inner, shifted)
    return found


def mean_correlation(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n d"]) -> float:
    """Correlation of the dimensions that vary in both, weighted alike; 0 where none does."""
    both = (first.std(axis=0) > 1e-9) & (second.std(axis=0) > 1e-9)
    if not both.any() or len(first) < 3:
        return 0.0
    first, second = first[:, both], second[:, both]
    first = (first - first.mean(axis=0)) / first.std(axis=0)
    second = (second - second.mean(axis=0)) / second.std(axis=0)
    return float((first * second).mean())
