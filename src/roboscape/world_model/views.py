"""Positions in a frame of one or several views: a learned vector a place, and one a camera."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from roboscape.world_model.config import WorldModelConfig


def camera_vectors(config: WorldModelConfig, *, channels: int) -> nn.Parameter | None:
    """A vector a camera, zero at first; None where there is one camera."""
    return nn.Parameter(torch.zeros(config.cameras, channels)) if config.cameras > 1 else None


def of_all_views(
    place: Float[Tensor, "p d"], camera: Float[Tensor, "v d"] | None
) -> Float[Tensor, "vp d"]:
    """The vectors of all places of all views, view after view: place + camera."""
    if camera is None:
        return place
    return rearrange(camera.unsqueeze(1) + place, "v p d -> (v p) d")
