"""The changes from one image of a camera to the next."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

LONGEST_SIDE_PX = 128
"""Larger images are made smaller before motion is measured."""
MOVING_ABOVE = 10
"""A pixel whose grey value changes by more than this belongs to something that moves."""
REPEATED_WITHIN = 8
"""No pixel of a repeated frame changes by more than this, of 255; ..."""
REPEATED_SHARE_OF_CHANGE = 0.01
"""... or all together by less than this share of what the episode's largest changes are.

Lossy video redraws a repeated frame a little, most where it spared bits before.
"""


@dataclass(frozen=True, kw_only=True)
class ImageChanges:
    """Numbers for every row but the last: what led from its image to the next row's.

    Axes: t rows less one.
    """

    largest: Float32[np.ndarray, " t"]
    """Largest change of any pixel, of 255."""
    mean: Float32[np.ndarray, " t"]
    """Mean change of the grey image."""
    moving_share: Float32[np.ndarray, " t"]
    """Share of the pixels that belong to something moving."""
    flow: Float32[np.ndarray, "t 2"]
    """Mean motion of those pixels, in image widths: x right, y down; 0 where nothing moves."""

    @property
    def repeated(self) -> Bool[np.ndarray, " t"]:
        """True where the next row shows the same image again."""
        if not len(self.mean):
            return np.zeros(0, bool)
        usual = np.quantile(self.mean, 0.9)
        return (self.largest <= REPEATED_WITHIN) | (self.mean < REPEATED_SHARE_OF_CHANGE * usual)


def measure_changes(frames: UInt8[np.ndarray, "t h w 3"]) -> ImageChanges:
    """Compare every image with the next one (optical flow: DIS, Kroeger et al. 2016)."""
    count = len(frames) - 1
    largest, mean, share = (np.zeros(count, np.float32) for _ in range(3))
    flow = np.zeros((count, 2), np.float32)
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    before = _small_grey(frames[0])
    for row in range(count):
        after = _small_grey(frames[row + 1])
        largest[row] = cv2.absdiff(frames[row], frames[row + 1]).max()
        change = cv2.absdiff(before, after)
        mean[row] = change.mean()
        moving = change > MOVING_ABOVE
        share[row] = moving.mean()
        if moving.any():
            motion = estimator.calc(before, after, np.zeros((*before.shape, 2), np.float32))
            flow[row] = motion[moving].mean(axis=0) / before.shape[1]
        before = after
    return ImageChanges(largest=largest, mean=mean, moving_share=share, flow=flow)


def _small_grey(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "y x"]:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    factor = LONGEST_SIDE_PX / max(grey.shape)
    if factor >= 1:
        # DIS needs at least 12 pixels; tiny test images are made larger.
        factor = max(1.0, 32 / min(grey.shape))
    if factor == 1:
        return grey
    size = (max(32, round(grey.shape[1] * factor)), max(32, round(grey.shape[0] * factor)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
