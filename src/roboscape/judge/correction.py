"""The effect of a judge's errors on a measured success rate, and its correction."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize_scalar

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for

CONFIDENCE = 0.95
DRAWS = 20_000
DRAW_SEED = 1978
PRIOR = 0.5
"""Jeffreys' prior of a proportion: half a success and half a failure."""
SMALLEST_PROBABILITY = 1e-6


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts of a judge's verdicts against the truth."""

    true_success: int
    """Solved, and found so."""
    false_failure: int
    """Solved, and found not to be."""
    false_success: int
    """Not solved, and found to be."""
    true_failure: int
    """Not solved, and found so."""
    unknown_success: int = 0
    """Solved, and unknown to the judge."""
    unknown_failure: int = 0
    """Not solved, and unknown to the judge."""

    @classmethod
    def of(
        cls,
        truth: Bool[np.ndarray, " n"],
        found: Bool[np.ndarray, " n"],
        *,
        unknown: Bool[np.ndarray, " n"] | None = None,
    ) -> "Confusion":
        """Count verdicts."""
        known = np.ones(len(truth), bool) if unknown is None else ~unknown
        return cls(
            true_success=int((truth & found & known).sum()),
            false_failure=int((truth & ~found & known).sum()),
            false_success=int((~truth & found & known).sum()),
            true_failure=int((~truth & ~found & known).sum()),
            unknown_success=int((truth & ~known).sum()),
            unknown_failure=int((~truth & ~known).sum()),
        )

    @property
    def sensitivity(self) -> float:
        """Share of solved ones that are found so, of those that are known; NaN without any."""
        return _share(self.true_success, self.false_failure)

    @property
    def specificity(self) -> float:
        """Share of unsolved ones that are found so, of those that are known; NaN without any."""
        return _share(self.true_failure, self.false_success)

    @property
    def accuracy(self) -> float:
        """Share of right verdicts, of those that are known; NaN without any."""
        return _share(
            self.true_success + self.true_failure, self.false_success + self.false_failure
        )


@dataclass(frozen=True, kw_only=True)
class CorrectedRate:
    """A success rate with the judge's errors taken out."""

    measured: float
    """Share of successes among known verdicts."""
    rate: float
    """Corrected, between 0 and 1."""
    low: float
    """Lower end of the 95 % interval: the judge's errors and the number of episodes in it."""
    high: float
    """Upper end."""
    known: int
    """Number of known verdicts."""
    unknown: int
    """Number of unknown ones, which the rate says nothing about."""


def corrected_rate(
    successes: int, known: int, confusion: Confusion, *, unknown: int = 0
) -> CorrectedRate:
    """The true success rate, estimated from a judge's verdicts (Rogan & Gladen 1978).

    rate = (measured + specificity - 1) / (sensitivity + specificity - 1), cut to [0, 1]. The
    interval comes from draws of all three proportions out of their posteriors under Jeffreys'
    prior, so that few calibration episodes widen it as few evaluated ones do.

    Args:
        successes: Verdicts of success.
        known: Verdicts that are not unknown.
        confusion: The judge's errors, measured where the truth is known, on frames of this kind
            (imagined ones for imagined rollouts).
        unknown: Verdicts that are unknown; passed on.

    Raises:
        ValueError: more successes than verdicts, no verdict, or a confusion that lacks solved or
            unsolved examples, or whose judge is no better than chance.
    """
    if not 0 <= successes <= known or known < 1:
        raise UserError(f"expected 0 <= successes <= known >= 1, got {successes} of {known}")
    sensitivity, specificity = confusion.sensitivity, confusion.specificity
    if not sensitivity + specificity > 1:
        raise UserError(
            f"this judge is no better than chance (sensitivity {sensitivity:.2f}, specificity "
            f"{specificity:.2f}), so no rate can be read from it; measure it on solved and "
            "unsolved episodes, or train it on more"
        )
    measured = successes / known
    generator = numpy_generator_for(DRAW_SEED, successes, known)
    drawn = [
        generator.beta(yes + PRIOR, no + PRIOR, DRAWS)
        for yes, no in (
            (successes, known - successes),
            (confusion.true_success, confusion.false_failure),
            (confusion.true_failure, confusion.false_success),
        )
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(_rogan_gladen(*drawn), (tail, 1 - tail))
    point = _rogan_gladen(*(np.array([x]) for x in (measured, sensitivity, specificity)))
    return CorrectedRate(
        measured=measured,
        rate=float(point[0]),
        low=float(low),
        high=float(high),
        known=known,
        unknown=unknown,
    )


def _rogan_gladen(
    measured: Float[np.ndarray, " n"],
    sensitivity: Float[np.ndarray, " n"],
    specificity: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """The formula; where a draw's judge is no better than chance, anything is possible."""
    power = sensitivity + specificity - 1
    rate = (measured + specificity - 1) / np.where(power > 0, power, 1.0)
    even = (np.arange(len(rate)) + 0.5) / len(rate)
    return np.where(power > 0, np.clip(rate, 0, 1), even)


def _share(yes: int, no: int) -> float:
    return yes / (yes + no) if yes + no else float("nan")


def calibration_error(
    probability: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"], *, bins: int = 10
) -> float:
    """Expected calibration error (Guo et al. 2017): the mean gap of probability and frequency.

    Args:
        probability: Of success.
        truth: Whether it was one.
        bins: Number of equally wide bins; each gap counts as many times as its bin has verdicts.
    """
    place = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [
        abs(probability[place == i].mean() - truth[place == i].mean()) * (place == i).mean()
        for i in range(bins)
        if (place == i).any()
    ]
    return float(sum(gaps))


def fitted_temperature(logits: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> float:
    """The number by which logits are divided to make the truth likeliest (temperature scaling).

    Raises:
        ValueError: successes or failures alone, which no temperature fits.
    """
    if truth.all() or not truth.any():
        raise UserError(
            "calibration needs solved and unsolved frames, and these are of one kind; give "
            "--validation episodes of several behaviours"
        )

    def loss(log_temperature: float) -> float:
        probability = 1 / (1 + np.exp(-logits / np.exp(log_temperature)))
        probability = np.clip(probability, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        return float(-np.log(np.where(truth, probability, 1 - probability)).mean())

    found: Any = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(np.exp(found.x))
