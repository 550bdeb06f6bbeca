"""Depth and error as colours that people can read."""

import cv2
import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8

from roboscape.core.errors import UserError

ERROR_FULL_SCALE = 0.5
"""The mean absolute difference of the three channels (of 1) that is drawn brightest."""


def colour_depth(
    depth_m: Float[np.ndarray, "*b h w"], *, nearest_m: float, farthest_m: float
) -> UInt8[np.ndarray, "*b h w 3"]:
    """Depth in metres as RGB: equal steps of colour are equal ratios of depth, near is bright."""
    if not 0 < nearest_m < farthest_m:
        raise UserError(f"expected 0 < nearest_m < farthest_m, got {nearest_m} and {farthest_m}")
    log_m = np.log(np.clip(depth_m, nearest_m, farthest_m))
    nearness = (np.log(farthest_m) - log_m) / (np.log(farthest_m) - np.log(nearest_m))
    return apply_colour_map(nearness, cv2.COLORMAP_INFERNO)


def colour_error(
    truth: UInt8[np.ndarray, "*b h w 3"], imagined: UInt8[np.ndarray, "*b h w 3"]
) -> UInt8[np.ndarray, "*b h w 3"]:
    """A picture of where two videos differ: mean absolute difference of channels, black is none."""
    difference = np.abs(truth.astype(np.float32) - imagined.astype(np.float32)).mean(axis=-1)
    return apply_colour_map(difference / 255 / ERROR_FULL_SCALE, cv2.COLORMAP_MAGMA)


def depth_range_m(depth_m: Float[np.ndarray, "*b h w"]) -> tuple[float, float]:
    """The range that a clip's depth is coloured over: its 1st to 99th percentile, in metres."""
    positive = depth_m[depth_m > 0]
    if not positive.size:
        raise UserError("expected a depth map with positive values; all are zero or negative")
    nearest_m, farthest_m = np.percentile(positive, (1, 99))
    return float(nearest_m), float(max(farthest_m, nearest_m * 1.01))


def apply_colour_map(
    unit: Float[np.ndarray, "*b h w"], colour_map: int
) -> UInt8[np.ndarray, "*b h w 3"]:
    """Values in [0, 1] through one of OpenCV's perceptual colour maps, as RGB."""
    levels = np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)
    palette = cv2.applyColorMap(np.arange(256, dtype=np.uint8), colour_map)
    return rearrange(palette, "level 1 colour -> level colour")[levels][..., ::-1].copy()
