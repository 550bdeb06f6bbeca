"""Paired comparisons over seeds: t and Wilcoxon with Holm's correction, effect sizes, intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from roboscape.core.seeding import numpy_generator_for

CONFIDENCE = 0.95
NUM_RESAMPLES = 4000
BOOTSTRAP_SEED = 20_250_623


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric of a variant against that of its reference, paired by seed.

    Differences are variant minus reference. Tests are two-sided; None where they are not defined
    (a single seed, or no difference at all).
    """

    metric: str
    seeds: int
    clips: int
    """With a value under every seed of both."""
    mean: float
    """Of the variant, over seeds and clips."""
    reference: float
    difference: float
    sd: float | None
    """Of the difference, over seeds (n - 1)."""
    low: float
    """Lower end of the 95 % bootstrap interval of the difference, seeds and clips resampled."""
    high: float
    dz: float | None
    """Cohen's dz: difference / sd."""
    t_p: float | None
    """Paired t-test over seeds."""
    wilcoxon_p: float | None
    """Wilcoxon's signed-rank test over seeds; with five it is never below .0625."""
    clips_p: float | None
    """Wilcoxon's signed-rank test over clips, each the mean of its seeds: of these trainings, not
    of others."""
    t_holm: float | None = None
    """Holm-corrected over the metrics of the comparison."""
    wilcoxon_holm: float | None = None
    clips_holm: float | None = None


def compare(
    metric: str, variant: Float[np.ndarray, "s b"], reference: Float[np.ndarray, "s b"]
) -> Comparison | None:
    """Compare the scores of the same seeds and clips; None where no clip has a value in all.

    Args:
        metric: Its name.
        variant: One score a seed and clip, NaN where there is none.
        reference: The same of the reference.
    """
    known = np.isfinite(variant).all(axis=0) & np.isfinite(reference).all(axis=0)
    if not known.any():
        return None
    differences = (variant - reference)[:, known]
    per_seed = differences.mean(axis=1)
    sd = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None
    low, high = bootstrap_interval(differences)
    return Comparison(
        metric=metric,
        seeds=len(per_seed),
        clips=int(known.sum()),
        mean=float(variant[:, known].mean()),
        reference=float(reference[:, known].mean()),
        difference=float(per_seed.mean()),
        sd=sd,
        low=low,
        high=high,
        dz=float(per_seed.mean() / sd) if sd else None,
        t_p=paired_t(per_seed),
        wilcoxon_p=signed_rank(per_seed),
        clips_p=signed_rank(differences.mean(axis=0)),
    )


def paired_t(differences: Float[np.ndarray, " n"]) -> float | None:
    """Two-sided p of the paired t-test; None for a single pair or differences without spread."""
    from scipy import stats

    if len(differences) < 2 or not differences.std() > 0:
        return None
    found: Any = stats.ttest_1samp(differences, 0.0)
    return float(found.pvalue)


def signed_rank(differences: Float[np.ndarray, " n"]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test; None for a single pair or no difference."""
    from scipy import stats

    if len(differences) < 2 or not differences.any():
        return None
    found: Any = stats.wilcoxon(differences)
    return float(found.pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction: adjusted p-values in the same order; None stays None."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons, each kind of p-value Holm-corrected over all of them."""
    t_holm = holm([one.t_p for one in comparisons])
    wilcoxon_holm = holm([one.wilcoxon_p for one in comparisons])
    clips_holm = holm([one.clips_p for one in comparisons])
    return [
        replace(one, t_holm=t, wilcoxon_holm=w, clips_holm=c)
        for one, t, w, c in zip(comparisons, t_holm, wilcoxon_holm, clips_holm, strict=True)
    ]


def bootstrap_interval(values: Float[np.ndarray, "s b"]) -> tuple[float, float]:
    """Percentile interval of the mean, seeds and clips drawn anew independently of each other."""
    seeds, clips = values.shape
    generator = numpy_generator_for(BOOTSTRAP_SEED, seeds, clips)
    seed_counts = generator.multinomial(seeds, [1 / seeds] * seeds, size=NUM_RESAMPLES)
    clip_counts = generator.multinomial(clips, [1 / clips] * clips, size=NUM_RESAMPLES)
    means = ((seed_counts @ values) * clip_counts).sum(axis=1) / (seeds * clips)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)
