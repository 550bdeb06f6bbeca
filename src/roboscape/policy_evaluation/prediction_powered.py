"""Prediction-powered intervals: few true episodes correct many imagined ones.

Angelopoulos et al. 2023 (arXiv 2301.09633), with the weight of PPI++ (arXiv 2311.01453).
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Bool, Float

from roboscape.core.errors import UserError
from roboscape.policies.rates import Z_95

LEAST_PAIRS = 5


@dataclass(frozen=True, kw_only=True)
class PoweredRate:
    """A true success rate estimated from pairs and imagined episodes, with a 95 % interval."""

    rate: float
    low: float
    high: float
    weight: float
    """How much the imagined episodes count: 0 not at all, 1 as if they were unbiased."""
    true_episodes: int
    imagined_episodes: int
    """Those without a true one beside them."""


def powered_rate(
    true: Bool[np.ndarray, " k"],
    paired: Bool[np.ndarray, " k"],
    imagined: Bool[np.ndarray, " n"],
) -> PoweredRate:
    """The true success rate, from a few true episodes and many imagined ones.

    Args:
        true: outcomes of the true episodes.
        paired: outcomes of imagined episodes with the same policy, starts and noise.
        imagined: outcomes of further imagined episodes.

    Of each kind one further disagreement enters the variance, in the manner of Agresti and Coull
    (1998): a few episodes that all agree would else seem to leave no doubt.

    Raises:
        ValueError: fewer than 5 pairs, or no further imagined episode.
    """
    k, n = len(true), len(imagined)
    if len(paired) != k or k < LEAST_PAIRS or not n:
        raise UserError(
            f"expected at least {LEAST_PAIRS} true episodes, an imagined one for each and further "
            f"imagined ones, got {k}, {len(paired)} and {n}"
        )
    y, f, more = (values.astype(np.float64) for values in (true, paired, imagined))
    weight = best_weight(y, f, n=n)
    rate = weight * more.mean() + (y - weight * f).mean()
    residual = np.append(y - weight * f, [1.0, -weight])
    spread = np.append(more, [0.0, 1.0])
    error = sqrt(weight**2 * spread.var(ddof=1) / n + residual.var(ddof=1) / k)
    return PoweredRate(
        rate=float(np.clip(rate, 0, 1)),
        low=float(np.clip(rate - Z_95 * error, 0, 1)),
        high=float(np.clip(rate + Z_95 * error, 0, 1)),
        weight=weight,
        true_episodes=k,
        imagined_episodes=n,
    )


def best_weight(y: Float[np.ndarray, " k"], f: Float[np.ndarray, " k"], *, n: int) -> float:
    """The weight of the imagined episodes that makes the variance smallest, within 0 and 1."""
    k = len(y)
    variance = f.var(ddof=1) * (1 + k / n)
    if variance <= 0:
        return 0.0
    covariance = float(((y - y.mean()) * (f - f.mean())).sum() / (k - 1))
    return float(np.clip(covariance / variance, 0, 1))
