"""The certainty of a mean: spread over seeds, bootstrap interval over clips."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from roboscape.core.seeding import numpy_generator_for

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000
RESAMPLES_AT_ONCE = 256
BOOTSTRAP_SEED = 20_250_623


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over clips and what is known of its error."""

    mean: float
    low: float
    """Lower end of the 95 % interval, episodes resampled with replacement."""
    high: float
    """Upper end."""
    spread: float | None
    """Standard deviation (n - 1) of the means of single seeds; None for one seed."""
    num_clips: int
    num_seeds: int
    num_episodes: int = 0
    """Episodes that the clips are of; with one there is no interval, low and high are the mean. 0
    in results of older versions."""


def estimate(
    scores: Float[np.ndarray, "s b"],
    *,
    weights: Float[np.ndarray, " b"] | None = None,
    episodes: Int[np.ndarray, " b"] | None = None,
) -> Estimate | None:
    """Mean over seeds and clips with its errors; None where no clip has a value.

    Args:
        scores: one score a seed and clip; a clip with NaN in any seed is left out.
        weights: how much each clip counts, for example its number of valid pixels.
        episodes: the episode that each clip is of, where several may be of one: clips of one
            episode are alike, and are resampled together.
    """
    if episodes is None:
        episodes = np.arange(scores.shape[1])
    known = np.isfinite(scores).all(axis=0)
    if not known.any():
        return None
    kept = scores[:, known]
    weight = np.ones(known.sum()) if weights is None else weights[known].astype(np.float64)
    per_seed = kept @ weight / weight.sum()
    low, high = bootstrap_interval(kept.mean(axis=0), weights=weight, episodes=episodes[known])
    return Estimate(
        mean=float(per_seed.mean()),
        low=low,
        high=high,
        spread=float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None,
        num_clips=int(known.sum()),
        num_seeds=len(per_seed),
        num_episodes=len(np.unique(episodes[known])),
    )


def bootstrap_interval(
    values: Float[np.ndarray, " b"],
    *,
    weights: Float[np.ndarray, " b"],
    episodes: Int[np.ndarray, " b"] | None = None,
) -> tuple[float, float]:
    """Percentile interval of the weighted mean under resampling of the episodes.

    Args:
        values: One a clip.
        weights: How much each clip counts.
        episodes: The episode that each clip is of; its own where not given.
    """
    which = np.arange(len(values)) if episodes is None else episodes
    _, place = np.unique(which, return_inverse=True)
    totals = np.bincount(place, weights=values * weights)
    sizes = np.bincount(place, weights=weights)
    generator = numpy_generator_for(BOOTSTRAP_SEED, len(totals))
    means = [
        _means(totals, sizes, generator.integers(len(totals), size=(count, len(totals))))
        for count in _portions(NUM_RESAMPLES, RESAMPLES_AT_ONCE)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), (tail, 1 - tail))
    return float(low), float(high)


def _means(
    totals: Float[np.ndarray, " e"],
    sizes: Float[np.ndarray, " e"],
    chosen: Int[np.ndarray, "r e"],
) -> Float[np.ndarray, " r"]:
    """The weighted mean of each resample."""
    return totals[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)


def _portions(total: int, largest: int) -> list[int]:
    """`total` in pieces of at most `largest`, so that memory does not grow with it."""
    full, rest = divmod(total, largest)
    return [largest] * full + [rest] * (rest > 0)
