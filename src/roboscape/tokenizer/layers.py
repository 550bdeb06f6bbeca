"""Building blocks of the encoder and the decoder."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from roboscape.core.attention import attend


class PositionNorm(nn.Module):
    """Layer normalisation over the channels of each position alone.

    Group normalisation would carry what happens in one corner of the image to every token.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.channels = channels

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise."""
        last = rearrange(x, "b c h w -> b h w c")
        weight = self.weight.to(x.dtype)
        return rearrange(F.layer_norm(last, (self.channels,), weight), "b h w c -> b c h w")


class ConvBlock(nn.Module):
    """Residual: normalise, convolve wide, convolve back; starts as the identity."""

    def __init__(self, channels: int, *, kernel: int, expansion: int = 1) -> None:
        super().__init__()
        self.norm = PositionNorm(channels)
        self.first = nn.Conv2d(channels, channels * expansion, kernel, padding=kernel // 2)
        self.second = nn.Conv2d(
            channels * expansion,
            channels,
            1 if expansion > 1 else kernel,
            padding=0 if expansion > 1 else kernel // 2,
        )
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add what the convolutions find."""
        # In place: a sum of its own is one more pass over memory, which bounds large maps.
        return self.second(F.silu(self.first(self.norm(x)))).add_(x)


class AttentionBlock(nn.Module):
    """A pre-norm transformer block over all tokens of a frame; starts as the identity."""

    def __init__(self, width: int, *, heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.expand = nn.Linear(width, mlp_ratio * width)
        self.contract = nn.Linear(mlp_ratio * width, width)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.contract.weight)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Mix positions, then channels."""
        joined = self.queries_keys_values(self.norm_attention(x))
        q, k, v = rearrange(joined, "b n (three h d) -> three b h n d", three=3, h=self.heads)
        # Written out: for 64 tokens the fused kernel's backward pass is slower on CPUs.
        mixed = attend(q, k, v)
        x = x + self.output(rearrange(mixed, "b h n d -> b n (h d)"))
        # The tanh approximation takes fifteen times as long in bf16 on CPUs.
        return x + self.contract(F.gelu(self.expand(self.norm_mlp(x))))
