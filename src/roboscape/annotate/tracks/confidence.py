"""The confidence in point tracks, from any tracker."""

import cv2
import numpy as np
from einops import rearrange
from jaxtyping import Float, Float32, UInt8

from roboscape.dataset.records import Tracks

_FEWEST_GREY = 2.0
"""A patch whose brightness varies less (of 255) could be anywhere: it is no evidence."""


def track_confidence(
    frames: UInt8[np.ndarray, "t h w 3"], tracks: Tracks, *, patch_px: int = 7
) -> Float[np.ndarray, "t k"]:
    """The likeness of a point to its look in the first frame, in [0, 1]; 0 where invisible.

    The correlation of the square patch around the point with that of the first frame, bilinearly
    sampled; negative ones count as 0. A point that slid off what it followed, and one that hides,
    loses it; so does one that turns or changes its light, which makes this a lower bound.
    """
    first = _patches(frames[0], tracks.xy_px[0], side=patch_px)
    scores = []
    for frame, xy_px, visible in zip(frames, tracks.xy_px, tracks.visible, strict=True):
        alike = _correlation(first, _patches(frame, xy_px, side=patch_px))
        scores.append(np.where(visible, alike.clip(0, 1), 0.0))
    return np.stack(scores)


def _patches(
    frame: UInt8[np.ndarray, "h w 3"], xy_px: Float[np.ndarray, "k 2"], *, side: int
) -> Float32[np.ndarray, "k n"]:
    """The grey values around points; outside the picture its border goes on."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    offset = np.arange(side, dtype=np.float32) - (side - 1) / 2
    dy, dx = (rearrange(one, "y x -> (y x)") for one in np.meshgrid(offset, offset, indexing="ij"))
    x = xy_px[:, :1].astype(np.float32) + dx
    y = xy_px[:, 1:].astype(np.float32) + dy
    return cv2.remap(grey, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _correlation(
    one: Float32[np.ndarray, "k n"], other: Float32[np.ndarray, "k n"]
) -> Float[np.ndarray, " k"]:
    """Normalised correlation of patches; patches without texture correlate where both have none."""
    a = one - one.mean(axis=1, keepdims=True)
    b = other - other.mean(axis=1, keepdims=True)
    spread_a, spread_b = a.std(axis=1), b.std(axis=1)
    product = (a * b).mean(axis=1) / np.maximum(spread_a * spread_b, _FEWEST_GREY**2)
    flat = (spread_a < _FEWEST_GREY) & (spread_b < _FEWEST_GREY)
    alike = 1 - np.abs(one.mean(axis=1) - other.mean(axis=1)) / 32
    return np.where(flat, alike, product)
