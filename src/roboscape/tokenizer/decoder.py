"""From the tokens of a frame back to its image; sees the whole frame at once."""

import torch
from einops.layers.torch import Rearrange
from jaxtyping import Float
from torch import Tensor, nn

from roboscape.tokenizer.config import TokenizerConfig
from roboscape.tokenizer.layers import AttentionBlock, ConvBlock, PositionNorm

PATCH = 4
"""Side of the square that one position of the last feature map paints, in pixels."""


class Decoder(nn.Module):
    """Attention over the tokens, where it is cheap, then convolutions at a quarter of the size.

    A position embedding lets it remember a scene that stands still, so that few bits per token go a
    long way. Attention may see a square of `merge` x `merge` tokens as one position.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        merge, width = config.decoder_merge, config.decoder_width
        side = config.tokens_per_side // merge
        self.gather = Rearrange(
            "b (h y w x) v -> b (h w) (y x v)", h=side, w=side, y=merge, x=merge
        )
        self.embed = nn.Linear(config.code_bits * merge**2, width)
        self.position = nn.Parameter(0.02 * torch.randn(side**2, width))
        self.blocks = nn.Sequential(
            *[
                AttentionBlock(width, heads=config.decoder_heads)
                for _ in range(config.decoder_blocks)
            ]
        )
        channels, scale = config.convolution_width, config.downsampling * merge // PATCH
        self.enlarge = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, channels * scale**2),
            Rearrange("b (h w) (c y x) -> b c (h y) (w x)", h=side, y=scale, x=scale),
        )
        self.convolutions = nn.Sequential(
            *[ConvBlock(channels, kernel=3) for _ in range(config.convolution_blocks)],
            PositionNorm(channels),
            nn.Conv2d(channels, 3 * PATCH**2, kernel_size=3, padding=1),
            nn.PixelShuffle(PATCH),
        )

    def forward(self, vectors: Float[Tensor, "b n v"]) -> Float[Tensor, "b 3 h w"]:
        """The image of every frame, in [-1, 1] up to the model's error."""
        x = self.embed(self.gather(vectors))
        x = self.blocks(x + self.position.to(x.dtype))
        return self.convolutions(self.enlarge(x).contiguous(memory_format=torch.channels_last))
