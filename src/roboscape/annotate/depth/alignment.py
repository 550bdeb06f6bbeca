"""Depth of single frames made consistent over time.

A model that sees one frame at a time gives each its own scale and shift, so that depth flickers.
Where the picture does not change, depth must not change either: those pixels tell the scale and
shift that bring a frame to the ones before it. Every frame is compared with several earlier ones,
the first among them, so that errors do not add up over an episode.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Float32, UInt8

UNCHANGED_GREY = 3.0
"""Pixels whose smoothed brightness changed less (of 255) count as unchanged."""
SMALLEST_SHARE = 0.05
"""With fewer unchanged pixels (a moving camera, a cut) all pixels decide."""
ROWS_BACK = (1, 4, 16)
"""A frame is compared with the frames this far before it, and with the first."""
SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Values of all frames on one scale: `values = scale * given + shift`."""

    values: Float[np.ndarray, "t h w"]
    scale: Float[np.ndarray, " t"]
    shift: Float[np.ndarray, " t"]


def align_over_time(
    values: Float[np.ndarray, "t h w"],
    frames: UInt8[np.ndarray, "t h w 3"],
    *,
    shift_only: bool = False,
) -> Aligned:
    """Bring every frame to the scale and shift of the first.

    Scale and shift match the median and the mean distance from it to those of earlier frames, on
    the pixels that look the same in both. Least squares, or a comparison with an average picture,
    would shrink a noisy frame a little at every step, until an episode's end is flat; two moments
    of single frames do not.

    Args:
        values: what is affine per frame: disparity of a relative model, logarithm of metric depth.
        frames: the pictures.
        shift_only: keep the scale of each frame; for logarithms, whose shift is the scale of depth.
    """
    grey = np.stack([smooth_grey(frame) for frame in frames])
    aligned = values.astype(np.float64)
    scale, shift = np.ones(len(values)), np.zeros(len(values))
    for row in range(1, len(values)):
        earlier = {0, *(row - back for back in ROWS_BACK if back <= row)}
        still = {one: np.abs(grey[row] - grey[one]) < UNCHANGED_GREY for one in earlier}
        chosen = {one: mask for one, mask in still.items() if mask.mean() >= SMALLEST_SHARE}
        chosen = chosen or {row - 1: np.ones_like(still[row - 1])}
        pairs = [(values[row][mask], aligned[one][mask]) for one, mask in chosen.items()]
        scale[row], shift[row] = _match(pairs, shift_only=shift_only)
        aligned[row] = scale[row] * values[row] + shift[row]
    return Aligned(values=aligned.astype(np.float32), scale=scale, shift=shift)


def _match(pairs: list[tuple[np.ndarray, np.ndarray]], *, shift_only: bool) -> tuple[float, float]:
    """Scale and shift that give the first of each pair the median and spread of the second."""
    spreads = [(_spread(given), _spread(wanted)) for given, wanted in pairs]
    measurable = [
        np.log(wanted / given)
        for given, wanted in spreads
        if min(given, wanted) > SMALLEST_SPREAD and not shift_only
    ]
    scale = float(np.exp(np.mean(measurable))) if measurable else 1.0
    shift = np.mean([np.median(wanted) - scale * np.median(given) for given, wanted in pairs])
    return scale, float(shift)


def _spread(values: np.ndarray) -> float:
    """Mean distance from the median."""
    return float(np.abs(values - np.median(values)).mean())


def unchanged_pixels(frames: UInt8[np.ndarray, "t h w 3"]) -> Bool[np.ndarray, "t h w"]:
    """A mask of the pixels that look as in the frame before; in the first frame, none."""
    grey = np.stack([smooth_grey(frame) for frame in frames])
    still = np.abs(np.diff(grey, axis=0)) < UNCHANGED_GREY
    return np.concatenate([np.zeros_like(still[:1], shape=(1, *grey.shape[1:])), still])


def smooth_grey(frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"]:
    """Brightness without the noise of the sensor and of compression."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.GaussianBlur(grey, (0, 0), 1.0)


def depth_confidence(
    depth_m: Float[np.ndarray, "t h w"],
    frames: UInt8[np.ndarray, "t h w 3"],
    *,
    tolerance: float = 0.02,
) -> Float[np.ndarray, " t"]:
    """The confidence in the depth of each frame, from any estimator.

    The share of the unchanged pixels of a frame whose depth stayed within `tolerance` of the frame
    before: 1 is steady, 0 flickers everywhere. The first frame has the second's; a frame without
    unchanged pixels says nothing and has 0.
    """
    unchanged = unchanged_pixels(frames)[1:]
    change = np.abs(np.diff(np.log(np.maximum(depth_m, 1e-6)), axis=0))
    steady = rearrange((change < tolerance) & unchanged, "t h w -> t (h w)").sum(axis=1)
    of = rearrange(unchanged, "t h w -> t (h w)").sum(axis=1)
    share = np.divide(steady, of, out=np.zeros(len(of)), where=of > 0)
    return np.concatenate([share[:1], share]) if len(share) else np.ones(len(depth_m))
