"""From features to logits, optionally starting from the previous frame."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from roboscape.tokenizer.codes import split_factors
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.patches import fold

COPY_BONUS = 5.0
"""What the previous frame's factors are worth at the start: seven of ten, where there are 64."""


def make_head(config: WorldModelConfig) -> nn.Module:
    """A branch's head; at first it prefers nothing but, where that is asked for, the last frame."""
    head = nn.Linear(config.width, config.slots * config.factors * config.factor_size)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return CopyingHead(config, head) if config.copy_previous else head


class CopyingHead(nn.Module):
    """Adds a bonus, gated by the features, to every factor that the previous frame has there.

    Most of a scene stands still; without this, weights have to learn to copy all of its entries.
    The features' last channels name the factors (`with_previous`).
    """

    def __init__(self, config: WorldModelConfig, linear: nn.Linear) -> None:
        super().__init__()
        self.config = config
        self.linear = linear
        self.gate = nn.Linear(config.width, config.slots * config.factors)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, COPY_BONUS)

    def forward(self, features: Float[Tensor, "*p e"]) -> Float[Tensor, "*p l"]:
        """Logits, flat."""
        x, previous = features.split(
            [self.config.width, self.config.slots * self.config.factors], dim=-1
        )
        entries = rearrange(previous.long() + self.config.factor_size // 2, "... f -> ... f 1")
        logits = rearrange(self.linear(x), "... (f s) -> ... f s", s=self.config.factor_size)
        bonus = rearrange(self.gate(x), "... f -> ... f 1").to(logits.dtype)
        return rearrange(logits.scatter_add(-1, entries, bonus), "... f s -> ... (f s)")


def with_previous(
    features: Float[Tensor, "b t p d"],
    codes: Int[Tensor, "b t n"],
    config: WorldModelConfig,
) -> Float[Tensor, "b t p e"]:
    """Features, followed by the factors of the previous frame's tokens at their place.

    So they travel with the features through any selection of positions. Counted from the middle of
    a factor's table, up to 512 entries are exact in bf16 too.
    """
    groups = split_factors(fold(codes, config), code_bits=config.code_bits, factors=config.factors)
    entries = rearrange(groups, "... slots f -> ... (slots f)") - config.factor_size // 2
    return torch.cat([features, entries.to(features.dtype)], dim=-1)
