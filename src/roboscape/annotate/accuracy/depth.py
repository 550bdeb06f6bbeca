"""The accuracy of a depth annotator, against a simulator's or a sensor's depth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DepthAccuracy:
    """Errors of estimated depth; of one episode, or means over several."""

    abs_rel: float
    """Mean of |estimate - truth| / truth, in metres as they are."""
    abs_rel_scaled: float
    """The same after one scale for the whole episode, the ratio of the medians."""
    delta_1: float
    """Share of pixels within a factor of 1.25, scaled."""
    flicker: float
    """Mean absolute change, from frame to frame, of the logarithm of estimate over truth."""


def depth_accuracy(
    estimate_m: Float[np.ndarray, "t h w"], truth_m: Float[np.ndarray, "t h w"]
) -> DepthAccuracy:
    """Compare the depth of one episode with the truth, over pixels whose truth is positive."""
    known = truth_m > 0
    if not known.any():
        raise UserError("no pixel has a true depth to compare with")
    estimate, truth = np.maximum(estimate_m[known], 1e-6), truth_m[known]
    scaled = estimate * (np.median(truth) / np.median(estimate))
    ratio = np.maximum(scaled / truth, truth / scaled)
    logarithm = np.log(np.maximum(estimate_m, 1e-6) / np.where(known, truth_m, 1))
    steady = known[1:] & known[:-1]
    change = np.abs(np.diff(logarithm, axis=0))[steady]
    return DepthAccuracy(
        abs_rel=float((np.abs(estimate - truth) / truth).mean()),
        abs_rel_scaled=float((np.abs(scaled - truth) / truth).mean()),
        delta_1=float((ratio < 1.25).mean()),
        flicker=float(change.mean()) if change.size else 0.0,
    )
