"""Frames through a tokenizer: on its device, some at a time, back on the CPU."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from roboscape.tokenizer.model import Tokenizer

FRAMES_AT_ONCE = 64
"""Frames that pass through together; memory grows with it, not with the video."""


@torch.inference_mode()
def through(
    change: Callable[[Any], Tensor], frames: Shaped[Tensor, "n ..."], tokenizer: Tokenizer
) -> Shaped[Tensor, "n ..."]:
    """Any number of frames through a per-frame map of a tokenizer, such as its `encode_rgb`."""
    device = next(tokenizer.parameters()).device
    return torch.cat([change(part.to(device)).cpu() for part in frames.split(FRAMES_AT_ONCE)])
