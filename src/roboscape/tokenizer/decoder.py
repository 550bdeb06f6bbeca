"""From the tokens of a frame back to its image; sees the whole frame at once."""

import torch
from einops.layers.torch import Rearrange
from jaxtyping import Float
from torch import Tensor, nn

from roboscape.tokenizer.layers import AttentionBlock, ConvBlock, PositionNorm

PATCH = 4
"""Side of the square that one position of the last feature map paints, in pixels."""


class Decoder(nn.Module):
    """Attention over the tokens, where it is cheap, then convolutions at a quarter of the size.

    A position embedding lets it remember a scene that stands still, so that few bits per token go a
    long way.
    """

    def __init__(
        self,
        *,
        width: int,
        blocks: int,
        heads: int,
        convolution_width: int,
        convolution_blocks: int,
        code_bits: int,
        tokens_per_side: int,
        downsampling: int,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(code_bits, width)
        self.position = nn.Parameter(0.02 * torch.randn(tokens_per_side**2, width))
        self.blocks = nn.Sequential(*[AttentionBlock(width, heads=heads) for _ in range(blocks)])
        scale = downsampling // PATCH
        self.enlarge = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, convolution_width * scale**2),
            Rearrange("b (h w) (c y x) -> b c (h y) (w x)", h=tokens_per_side, y=scale, x=scale),
        )
        self.convolutions = nn.Sequential(
            *[ConvBlock(convolution_width, kernel=3) for _ in range(convolution_blocks)],
            PositionNorm(convolution_width),
            nn.Conv2d(convolution_width, 3 * PATCH**2, kernel_size=3, padding=1),
            nn.PixelShuffle(PATCH),
        )

    def forward(self, vectors: Float[Tensor, "b n v"]) -> Float[Tensor, "b 3 h w"]:
        """The image of every frame, in [-1, 1] up to the model's error."""
        x = self.embed(vectors)
        x = self.blocks(x + self.position.to(x.dtype))
        return self.convolutions(self.enlarge(x).contiguous(memory_format=torch.channels_last))
