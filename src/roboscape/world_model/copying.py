"""A head whose logits start from the previous frame's tokens (`copy_previous`).

Its features are those of the model, followed by what the previous frame holds at the same place.
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from roboscape.tokenizer.codes import split_factors
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.patches import fold

COPY_BONUS = 5.0
"""Logit of the previous frame's factors at the start: seven of ten, where there are 64."""


class CopyingHead(nn.Module):
    """A head that adds a bonus, gated by the features, to the factors of the previous frame."""

    def __init__(self, config: WorldModelConfig, linear: nn.Linear) -> None:
        super().__init__()
        self.config = config
        self.linear = linear
        self.gate = nn.Linear(config.width, config.tokens_per_patch * config.factors)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, COPY_BONUS)

    def forward(self, features: Float[Tensor, "*p e"]) -> Float[Tensor, "*p l"]:
        """Logits, flat, of features made by `with_previous`."""
        size = self.config.factor_size
        x, previous = features.tensor_split([self.config.width], dim=-1)
        entries = rearrange(previous.long() + size // 2, "... f -> ... f 1")
        logits = rearrange(self.linear(x), "... (f s) -> ... f s", s=size)
        bonus = rearrange(self.gate(x), "... f -> ... f 1").to(logits.dtype)
        return rearrange(logits.scatter_add(-1, entries, bonus), "... f s -> ... (f s)")


def with_previous(
    features: Float[Tensor, "b t p d"], codes: Int[Tensor, "b t n"], config: WorldModelConfig
) -> Float[Tensor, "b t p e"]:
    """Features, followed by the factors of the previous frame's tokens at the same place.

    Missing tokens are read as code 0.
    Counted from the middle of a factor's values, up to 512 of them are exact in bf16 too.
    """
    known = fold(codes.clamp(min=0), config)
    groups = split_factors(known, code_bits=config.code_bits, factors=config.factors)
    entries = rearrange(groups, "... k f -> ... (k f)") - config.factor_size // 2
    return torch.cat([features, entries.to(features.dtype)], dim=-1)
