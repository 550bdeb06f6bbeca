"""The uncertainty of agreement: bootstrap, what a perfect model would get, chance.

Axes: p policy, s start, d draw.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from roboscape.core.seeding import numpy_generator_for
from roboscape.policy_evaluation.agreement import Rates, pearson

DRAWS = 1000
RIDGE = 0.1
"""Weight of the squared abilities and difficulties in the fit: keeps those of policies that always
succeed finite, and asks for half an episode to be overruled."""
NEWTON_STEPS = 50

Statistic = Callable[[Rates, Rates], float]
"""A figure of the true and the imagined rates of the policies."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The middle 95 % of a distribution, and its median; NaN where nothing was defined."""

    low: float
    median: float
    high: float


def interval(values: Float[np.ndarray, " d"]) -> Interval:
    """Percentiles of the draws that are defined."""
    known = values[np.isfinite(values)]
    if not known.size:
        return Interval(low=float("nan"), median=float("nan"), high=float("nan"))
    low, median, high = np.quantile(known, (0.025, 0.5, 0.975))
    return Interval(low=float(low), median=float(median), high=float(high))


def bootstrap(
    true: Bool[np.ndarray, "p s"],
    imagined: Bool[np.ndarray, "p s"],
    statistic: Statistic,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The figure over other policies and other starts: both are drawn anew with replacement.

    Pairs stay together: a start is drawn for all policies and both worlds at once. A draw for which
    the figure is not defined (all policies alike) does not count.
    """
    generator = numpy_generator_for(seed, 1)
    policies, starts = true.shape
    values = np.empty(draws)
    for draw in range(draws):
        rows = generator.integers(policies, size=policies)
        columns = generator.integers(starts, size=starts)
        chosen = np.ix_(rows, columns)
        values[draw] = statistic(true[chosen].mean(axis=1), imagined[chosen].mean(axis=1))
    return interval(values)


def unpaired_ceiling(rates: Rates, *, starts: int, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Pearson's r of a perfect model whose rollouts have starts and noise of their own.

    Both worlds succeed as often as `rates` say, independently, in so many starts. Measured rates
    differ more than true ones, so a ceiling from them is a little high.
    """
    generator = numpy_generator_for(seed, 2)
    counts = generator.binomial(starts, rates, size=(draws, 2, len(rates))) / starts
    return interval(np.array([pearson(first, second) for first, second in counts]))


def paired_ceiling(true: Bool[np.ndarray, "p s"], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Pearson's r of a perfect model with the same starts, and noise of its own.

    The chance of each policy at each start comes from a Rasch model of the true outcomes (an
    ability a policy, a difficulty a start). With equal noise too, a perfect model's r is 1.
    """
    generator = numpy_generator_for(seed, 3)
    chance = rasch(true)
    values = np.empty(draws)
    for draw in range(draws):
        first, second = (generator.random((2, *chance.shape)) < chance).mean(axis=2)
        values[draw] = pearson(first, second)
    return interval(values)


def rasch(outcomes: Bool[np.ndarray, "p s"]) -> Float[np.ndarray, "p s"]:
    """The chance of every policy at every start: logistic in ability minus difficulty."""
    policies, starts = outcomes.shape
    ability, difficulty = np.zeros(policies), np.zeros(starts)
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(difficulty - ability[:, None]))
        weight = chance * (1 - chance)
        ability += ((outcomes - chance).sum(axis=1) - RIDGE * ability) / (
            weight.sum(axis=1) + RIDGE
        )
        chance = 1 / (1 + np.exp(difficulty - ability[:, None]))
        weight = chance * (1 - chance)
        difficulty -= ((outcomes - chance).sum(axis=0) + RIDGE * difficulty) / (
            weight.sum(axis=0) + RIDGE
        )
    return 1 / (1 + np.exp(difficulty - ability[:, None]))


def shuffled_policies(
    true: Rates,
    imagined: Rates,
    statistic: Statistic = pearson,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The figure where imagined rates belong to policies at random: what chance gives."""
    generator = numpy_generator_for(seed, 4)
    return interval(
        np.array([statistic(true, generator.permutation(imagined)) for _ in range(draws)])
    )


def shuffled_agreement(
    true: Bool[np.ndarray, "p s"],
    imagined: Bool[np.ndarray, "p s"],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Share of equal outcomes where each policy's imagined episodes are of random starts."""
    generator = numpy_generator_for(seed, 5)
    values = [(true == generator.permuted(imagined, axis=1)).mean() for _ in range(draws)]
    return interval(np.array(values))
