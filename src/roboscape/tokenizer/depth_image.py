"""Depth as an image: normalised log depth on three equal channels, and back.

Equal steps of the image are equal *relative* steps of depth, as depth metrics count them.
"""

import math

import torch
from einops import reduce, repeat
from jaxtyping import Float
from torch import Tensor


def depth_to_image(
    depth_m: Float[Tensor, "*b h w"], *, min_m: float, max_m: float
) -> Float[Tensor, "*b 3 h w"]:
    """Map depth in [min_m, max_m] metres to [-1, 1]; what lies outside is clipped."""
    unit = (depth_m.clamp(min_m, max_m) / min_m).log() / math.log(max_m / min_m)
    return repeat(unit * 2 - 1, "... h w -> ... c h w", c=3)


def image_to_depth(
    image: Float[Tensor, "*b 3 h w"], *, min_m: float, max_m: float
) -> Float[Tensor, "*b h w"]:
    """Inverse of `depth_to_image`: the channels' mean, clipped to the range, in metres."""
    unit = (reduce(image, "... c h w -> ... h w", "mean").clamp(-1, 1) + 1) / 2
    return min_m * (unit * math.log(max_m / min_m)).exp()


def share_outside(depth_m: Float[Tensor, "*b h w"], *, min_m: float, max_m: float) -> float:
    """Share of pixels that `depth_to_image` clips; more than rounding deserves a warning."""
    slack = 1.001
    outside = (depth_m < min_m / slack) | (depth_m > max_m * slack) | ~torch.isfinite(depth_m)
    return outside.float().mean().item()
