"""Frames through a tokenizer: on its device, some at a time, back on the CPU."""

from collections.abc import Callable

import torch
from jaxtyping import Shaped
from torch import Tensor

from roboscape.tokenizer.model import Tokenizer

FRAMES_AT_ONCE = 64
"""Frames that pass through together; memory grows with it, not with the video."""


@torch.inference_mode()
def through(
    change: Callable[..., Tensor],
    frames: Shaped[Tensor, "n ..."],
    tokenizer: Tokenizer,
    *others: Shaped[Tensor, "n ..."],
) -> Shaped[Tensor, "n ..."]:
    """Any number of frames through a per-frame map of a tokenizer, such as its `encode_rgb`.

    Args:
        change: From some frames (and what belongs to them) to as many entries.
        frames: All frames.
        tokenizer: On whose device it is done.
        others: More of the same frames, that `change` takes too.
    """
    portions = zip(*(x.split(FRAMES_AT_ONCE) for x in (frames, *others)), strict=True)
    return torch.cat(
        [change(*(part.to(tokenizer.device) for part in parts)).cpu() for parts in portions]
    )
