"""Agreement of two worlds on success: over policies, and episode by episode. Pure functions.

Axes: p policy, s start.
"""

from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Bool, Float

Rates = Float[np.ndarray, " p"]
"""Success rates of the policies, between 0 and 1."""


def pearson(true: Rates, imagined: Rates) -> float:
    """Pearson's correlation; NaN where one of the two does not vary."""
    x, y = true - true.mean(), imagined - imagined.mean()
    size = float(np.sqrt((x**2).sum() * (y**2).sum()))
    # Rates that are equal but for rounding do not vary.
    return float((x * y).sum() / size) if size > 1e-12 else float("nan")


def spearman(true: Rates, imagined: Rates) -> float:
    """Spearman's rank correlation; ties have their mean rank."""
    return pearson(mean_ranks(true), mean_ranks(imagined))


def mean_ranks(values: Float[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]


def r2_of_identity(true: Rates, imagined: Rates) -> float:
    """Share of the true rates' variance that the imagined rates, taken as they are, explain.

    No line is fitted: a bias counts as an error. NaN where the true rates do not vary.
    """
    total = float(((true - true.mean()) ** 2).sum())
    return 1 - float(((true - imagined) ** 2).sum()) / total if total > 1e-12 else float("nan")


def mean_maximum_rank_violation(true: Rates, imagined: Rates) -> float:
    """MMRV of SIMPLER (Li et al. 2024, arXiv 2405.05941): what wrong rankings cost; 0 is best.

    For every policy the largest difference of true rates to a policy that the imagined rates rank
    on its other side; then the mean over policies.
    """
    gap = np.abs(true[:, None] - true[None])
    truly_below = true[:, None] < true[None]
    below = imagined[:, None] < imagined[None]
    return float((gap * (truly_below != below)).max(axis=1).mean())


@dataclass(frozen=True, kw_only=True)
class EpisodeAgreement:
    """Pairs of a true and an imagined episode with the same policy, start and noise."""

    both: int
    """Succeed in both worlds."""
    only_true: int
    """Succeed in the true world alone: false failures."""
    only_imagined: int
    """Succeed in the imagined world alone: false successes."""
    neither: int
    """Fail in both."""

    @property
    def total(self) -> int:
        """Number of pairs."""
        return self.both + self.only_true + self.only_imagined + self.neither

    @property
    def share(self) -> float:
        """Share of the pairs with equal outcomes."""
        return (self.both + self.neither) / self.total

    @property
    def false_success_rate(self) -> float:
        """Share of the true failures that succeed in imagination; NaN without true failures."""
        failures = self.only_imagined + self.neither
        return self.only_imagined / failures if failures else float("nan")

    @property
    def false_failure_rate(self) -> float:
        """Share of the true successes that fail in imagination; NaN without true successes."""
        successes = self.only_true + self.both
        return self.only_true / successes if successes else float("nan")

    @property
    def mcnemar_p(self) -> float:
        """Exact McNemar test: how probable so uneven disagreements are in worlds without bias."""
        return exact_mcnemar(self.only_true, self.only_imagined)


def episode_agreement(
    true: Bool[np.ndarray, "*n"], imagined: Bool[np.ndarray, "*n"]
) -> EpisodeAgreement:
    """Count pairs of outcomes."""
    return EpisodeAgreement(
        both=int((true & imagined).sum()),
        only_true=int((true & ~imagined).sum()),
        only_imagined=int((~true & imagined).sum()),
        neither=int((~true & ~imagined).sum()),
    )


def exact_mcnemar(first: int, second: int) -> float:
    """Two-sided p of a fair coin that falls so unevenly; 1 where no pair disagrees."""
    total, fewer = first + second, min(first, second)
    tail = sum(comb(total, k) for k in range(fewer + 1)) / 2**total
    return min(1.0, 2 * tail)
