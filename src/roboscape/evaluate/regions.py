"""Moving and still regions: where a true video changes, and how well each is predicted.

A still picture is hard to beat where nothing moves, and useless where something does: one PSNR over
the whole image hides both. The regions follow from the true video alone, so they are the same for
everything that is compared.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from roboscape.evaluate.appearance import IDENTICAL_DB

BLUR_PX = (5, 5)
"""Means over so many pixels are compared: camera noise and video compression are no motion."""
CHANGE_LEVELS = 16
"""Largest difference of such means, in any of the three colours (0 to 255), that is no motion."""
SMALLEST_SHARE = 0.001
"""Share of an image below which a region of it has no score."""


def moving_regions(truth: UInt8[np.ndarray, "b t h w 3"]) -> Bool[np.ndarray, "b n h w"]:
    """A mask of the moving pixels of each frame after the given one; the rest is still.

    A pixel moves where its 5 x 5 mean differs by more than `CHANGE_LEVELS` from that in the given
    frame (something has come, or has gone) or in the frame before (something is passing).

    Args:
        truth: Recorded frames; frame 0 is the given one. There are n = t - 1 others.
    """
    means = np.stack([[cv2.blur(frame, BLUR_PX) for frame in clip] for clip in truth])
    means = means.astype(np.int16)
    since_given = np.abs(means[:, 1:] - means[:, :1]).max(axis=-1)
    since_before = np.abs(means[:, 1:] - means[:, :-1]).max(axis=-1)
    return np.maximum(since_given, since_before) > CHANGE_LEVELS


def region_psnr_db(
    truth: UInt8[np.ndarray, "b n h w 3"],
    predicted: UInt8[np.ndarray, "b n h w 3"],
    *,
    region: Bool[np.ndarray, "b n h w"],
) -> Float[np.ndarray, "b n"]:
    """PSNR over the pixels of a region, frame by frame, in dB, data range 255.

    NaN where the region is smaller than `SMALLEST_SHARE` of the image.
    """
    difference = truth.astype(np.float32) - predicted.astype(np.float32)
    square = np.square(difference).mean(axis=-1, dtype=np.float64)
    pixels = region.sum(axis=(-2, -1))
    mean_square = (square * region).sum(axis=(-2, -1)) / np.maximum(pixels, 1)
    smallest = 255**2 / 10 ** (IDENTICAL_DB / 10)
    decibels = 10 * np.log10(255**2 / np.maximum(mean_square, smallest))
    enough = pixels >= SMALLEST_SHARE * region.shape[-2] * region.shape[-1]
    return np.where(enough, decibels, np.nan)
