"""The amount and the order of the motion of a clip's points (RoboScape, section 3.1)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

ACTIVE_SHARE = 0.1
"""Share of the tracks, those that travel farthest, on which a clip's motion is measured."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Motion of a clip's tracks."""

    path_px: float
    """Mean path length of the active tracks."""
    disorder: float
    """How often they turn: 0 straight on, 0.5 a random walk, 1 back and forth at every frame."""
    key_frame: int
    """The frame that the active tracks moved farthest into."""


def measure_motion(xy_px: Float[np.ndarray, "t k 2"], visible: Bool[np.ndarray, "t k"]) -> Motion:
    """Motion of a clip's most active tracks; steps of a hidden point do not count."""
    steps = np.diff(xy_px.astype(np.float64), axis=0)
    seen = visible[1:] & visible[:-1]
    steps = np.where(seen[..., None], np.nan_to_num(steps), 0)
    lengths = np.linalg.norm(steps, axis=-1)
    if not lengths.any():
        return Motion(path_px=0.0, disorder=0.0, key_frame=0)
    count = max(1, round(ACTIVE_SHARE * xy_px.shape[1]))
    active = np.argsort(-lengths.sum(axis=0), kind="stable")[:count]
    steps, lengths = steps[:, active], lengths[:, active]
    return Motion(
        path_px=float(lengths.sum(axis=0).mean()),
        disorder=turning(steps, lengths),
        key_frame=int(lengths.mean(axis=1).argmax()) + 1,
    )


def turning(steps: Float[np.ndarray, "t k 2"], lengths: Float[np.ndarray, "t k"]) -> float:
    """Mean of (1 - cosine) / 2 between steps that follow each other, weighted by their lengths."""
    weight = lengths[1:] * lengths[:-1]
    if not weight.any():
        return 0.0
    aligned = (steps[1:] * steps[:-1]).sum(axis=-1)
    return float((1 - aligned.sum() / weight.sum()) / 2)
