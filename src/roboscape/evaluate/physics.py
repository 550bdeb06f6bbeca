"""Physics-IQ: where, when and how much moves (Motamed et al. 2025), with the benchmark's constants.

The benchmark's own score divides by the variance between two takes of one scene; a recorded
episode has no second take, so the four measures stand alone.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

BLUR_PX = (5, 5)
BACKGROUND_RATE = 0.3
MOTION_THRESHOLD = 10
MORPHOLOGY_KERNEL = np.ones((5, 5), np.uint8)
MASK_THRESHOLD = 127
REDUCTION = 4


@dataclass(frozen=True, kw_only=True)
class PhysicsIqScores:
    """The four measures of one pair of videos."""

    spatial_iou: float
    """Where motion happens at any time."""
    spatiotemporal_iou: float
    """Where and when: mean over frames; two empty masks agree."""
    weighted_spatial_iou: float
    """Where and how much: time averages of the masks, sum of minima over sum of maxima."""
    mse: float
    """Mean squared error of RGB in [0, 1] at a quarter of the size."""


def physics_iq(
    truth: UInt8[np.ndarray, "t h w 3"], predicted: UInt8[np.ndarray, "t h w 3"]
) -> PhysicsIqScores:
    """Compare the motion of two videos that start at the same moment."""
    true_mask, predicted_mask = small_masks(truth), small_masks(predicted)
    per_frame = [
        intersection_over_union(a, b) for a, b in zip(true_mask, predicted_mask, strict=True)
    ]
    return PhysicsIqScores(
        spatial_iou=intersection_over_union(true_mask.any(axis=0), predicted_mask.any(axis=0)),
        spatiotemporal_iou=float(np.mean(per_frame)),
        weighted_spatial_iou=_weighted_iou(true_mask.mean(axis=0), predicted_mask.mean(axis=0)),
        mse=_mean_square_error(truth, predicted),
    )


def motion_masks(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w"]:
    """Moving pixels (255) of each frame against a running average; the first frame has none."""
    masks = [np.zeros(frames.shape[1:3], np.uint8)]
    background = _blurred_grey(frames[0]).astype(np.float64)
    for frame in frames[1:]:
        grey = _blurred_grey(frame)
        cv2.accumulateWeighted(grey, background, BACKGROUND_RATE)
        difference = cv2.absdiff(grey, cv2.convertScaleAbs(background))
        _, mask = cv2.threshold(difference, MOTION_THRESHOLD, 255, cv2.THRESH_BINARY)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, MORPHOLOGY_KERNEL)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, MORPHOLOGY_KERNEL)
        masks.append(np.asarray(mask, np.uint8))
    return np.stack(masks)


def small_masks(frames: UInt8[np.ndarray, "t h w 3"]) -> Bool[np.ndarray, "t y x"]:
    """Motion masks at a quarter of the size, as the measures use them."""
    masks = np.stack([_quarter(mask) for mask in motion_masks(frames)])
    return masks > MASK_THRESHOLD


def intersection_over_union(
    first: Bool[np.ndarray, "y x"], second: Bool[np.ndarray, "y x"]
) -> float:
    """Shared area over covered area; 1 where both are empty."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0


def _weighted_iou(first: Float[np.ndarray, "y x"], second: Float[np.ndarray, "y x"]) -> float:
    """Sum of minima over sum of maxima; 1 where nothing moves in either."""
    union = np.maximum(first, second).sum()
    return float(np.minimum(first, second).sum() / union) if union else 1.0


def _mean_square_error(
    truth: UInt8[np.ndarray, "t h w 3"], predicted: UInt8[np.ndarray, "t h w 3"]
) -> float:
    """Mean over frames of the squared error of small frames with levels in [0, 1]."""
    per_frame = [
        np.mean((_quarter(a).astype(np.float64) / 255 - _quarter(b).astype(np.float64) / 255) ** 2)
        for a, b in zip(truth, predicted, strict=True)
    ]
    return float(np.mean(per_frame))


def _blurred_grey(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Luma after a 5 x 5 Gaussian."""
    return np.asarray(cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), BLUR_PX, 0))


def _quarter(image: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "y x *c"]:
    """A quarter of the height and width, bilinear."""
    height, width = image.shape[:2]
    return np.asarray(cv2.resize(image, (width // REDUCTION, height // REDUCTION)))
