"""Geometry: predicted depth against true depth, both in metres.

Two protocols. `metric` compares metres as they are. `depth@aether` is the protocol of CUT3R and
Aether for video depth: one scale (or one scale and one shift) a clip is fitted first, pixels count
where 0 < truth < 70 m, predictions are cut at 70 m, and clips are weighted by their valid pixels.
"""

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float

DELTA_BASE = 1.25
SMALLEST_DEPTH_M = 1e-5
AETHER_FARTHEST_M = 70.0
SCALE_ITERATIONS = 10
SMALLEST_SCALE = 1e-3
SCALE_SHIFT_ITERATIONS = 30
SMALLEST_RESIDUAL_M = 1e-8


@dataclass(frozen=True, kw_only=True)
class DepthScores:
    """AbsRel = mean |p - d| / d; delta_k = share of pixels with max(p/d, d/p) < 1.25^k."""

    abs_rel: Float[np.ndarray, "*b"]
    delta1: Float[np.ndarray, "*b"]
    delta2: Float[np.ndarray, "*b"]


def metric_depth_scores(
    truth_m: Float[np.ndarray, "b t h w"],
    predicted_m: Float[np.ndarray, "b t h w"],
    *,
    valid: Bool[np.ndarray, "b t h w"],
) -> DepthScores:
    """Scores of each frame in metres, nothing aligned; a frame without valid pixels is NaN."""
    return _score(truth_m, predicted_m, valid)


def valid_in_range(
    truth_m: Float[np.ndarray, "*b h w"], *, nearest_m: float, farthest_m: float
) -> Bool[np.ndarray, "*b h w"]:
    """Mask of protocol `metric`: the truth is finite and inside the dataset's depth range."""
    return np.isfinite(truth_m) & (truth_m >= nearest_m) & (truth_m <= farthest_m)


def valid_at_aether(truth_m: Float[np.ndarray, "*b h w"]) -> Bool[np.ndarray, "*b h w"]:
    """Mask of protocol `depth@aether`: 0 < truth < 70 m."""
    return np.isfinite(truth_m) & (truth_m > 0) & (truth_m < AETHER_FARTHEST_M)


def aether_depth_scores(
    truth_m: Float[np.ndarray, "b t h w"],
    predicted_m: Float[np.ndarray, "b t h w"],
    *,
    with_shift: bool,
) -> DepthScores:
    """Scores of each clip after fitting one scale, or one scale and one shift, to all of it."""
    valid = valid_at_aether(truth_m)
    fit = fit_scale_and_shift if with_shift else fit_scale
    clips = []
    for truth, predicted, mask in zip(truth_m, predicted_m, valid, strict=True):
        aligned = fit(truth[mask], predicted[mask]).apply(predicted)
        flat = [rearrange(array, "t h w -> (t h) w") for array in (truth, aligned, mask)]
        clips.append(_score(flat[0], np.minimum(flat[1], AETHER_FARTHEST_M), flat[2]))
    return DepthScores(
        abs_rel=np.array([clip.abs_rel for clip in clips]),
        delta1=np.array([clip.delta1 for clip in clips]),
        delta2=np.array([clip.delta2 for clip in clips]),
    )


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The map from predicted depth to the truth: scale * predicted + shift."""

    scale: float
    shift_m: float = 0.0

    def apply(self, depth_m: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
        """The aligned depth."""
        return self.scale * depth_m + self.shift_m


def fit_scale(truth_m: Float[np.ndarray, " p"], predicted_m: Float[np.ndarray, " p"]) -> Alignment:
    """The scale of least absolute error: ten Weiszfeld steps from the ratio of the means."""
    if not truth_m.size:
        return Alignment(scale=1.0)
    truth, predicted = truth_m.astype(np.float64), predicted_m.astype(np.float64)
    scale = truth.mean() / predicted.mean()
    for _ in range(SCALE_ITERATIONS):
        weight = 1 / (np.abs(scale * predicted - truth) + SMALLEST_RESIDUAL_M)
        weighted = weight * predicted
        scale = weighted @ truth / (weighted @ predicted)
    return Alignment(scale=max(float(scale), SMALLEST_SCALE))


def fit_scale_and_shift(
    truth_m: Float[np.ndarray, " p"], predicted_m: Float[np.ndarray, " p"]
) -> Alignment:
    """Scale and shift of least absolute error, by reweighted least squares.

    The original minimises the same sum with up to 1000 Adam steps; this goes to the minimum itself.
    """
    if not truth_m.size:
        return Alignment(scale=1.0)
    truth, predicted = truth_m.astype(np.float64), predicted_m.astype(np.float64)
    weight = np.ones_like(truth)
    scale, shift_m = 1.0, 0.0
    for _ in range(SCALE_SHIFT_ITERATIONS):
        scale, shift_m = _weighted_line(truth, predicted, weight)
        residual = np.abs(scale * predicted + shift_m - truth)
        weight = 1 / np.maximum(residual, SMALLEST_RESIDUAL_M)
    return Alignment(scale=scale, shift_m=shift_m)


def _weighted_line(
    truth: Float[np.ndarray, " p"],
    predicted: Float[np.ndarray, " p"],
    weight: Float[np.ndarray, " p"],
) -> tuple[float, float]:
    """Slope and intercept of the weighted least-squares line from `predicted` to `truth`."""
    total = weight.sum()
    mean_predicted, mean_truth = weight @ predicted / total, weight @ truth / total
    centred = predicted - mean_predicted
    weighted = weight * centred
    variance = weighted @ centred
    scale = weighted @ (truth - mean_truth) / variance if variance > 0 else 0.0
    return float(scale), float(mean_truth - scale * mean_predicted)


def _score(
    truth_m: Float[np.ndarray, "*b h w"],
    predicted_m: Float[np.ndarray, "*b h w"],
    valid: Bool[np.ndarray, "*b h w"],
) -> DepthScores:
    """Means over the valid pixels of the last two axes; NaN where there are none."""
    count = valid.sum(axis=(-2, -1))
    safe_truth = np.where(valid, truth_m, 1.0)
    safe_predicted = np.maximum(np.where(valid, predicted_m, 1.0), SMALLEST_DEPTH_M)
    error = np.abs(np.where(valid, predicted_m, 1.0) - safe_truth) / safe_truth
    ratio = np.maximum(safe_predicted / safe_truth, safe_truth / safe_predicted)

    def mean(value: Float[np.ndarray, "*b h w"] | Bool[np.ndarray, "*b h w"]) -> np.ndarray:
        total = np.where(valid, value, 0).sum(axis=(-2, -1), dtype=np.float64)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    return DepthScores(
        abs_rel=mean(error),
        delta1=mean(ratio < DELTA_BASE),
        delta2=mean(ratio < DELTA_BASE**2),
    )
