"""From an image to one short vector per token; sees little more than the token's own patch."""

from einops.layers.torch import Rearrange
from jaxtyping import Float
from torch import Tensor, nn

from roboscape.tokenizer.layers import ConvBlock, PositionNorm


class Encoder(nn.Module):
    """Strided convolutions that halve the image until one position is one token.

    Its field of view is kept small on purpose: a token whose surroundings stand still keeps its
    code from frame to frame, which is what a world model can learn soonest.
    """

    def __init__(self, *, width: int, blocks: int, code_bits: int, downsampling: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, kernel_size=4, stride=4)]
        layers += [ConvBlock(width, kernel=1, expansion=2) for _ in range(blocks)]
        channels, size = width, 4
        while size < downsampling:
            layers.append(nn.Conv2d(channels, 2 * width, kernel_size=2, stride=2))
            channels, size = 2 * width, 2 * size
            layers += [ConvBlock(channels, kernel=1, expansion=2) for _ in range(blocks)]
        layers += [PositionNorm(channels), nn.Conv2d(channels, code_bits, kernel_size=1)]
        self.layers = nn.Sequential(*layers, Rearrange("b v h w -> b (h w) v"))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n v"]:
        """Vectors before quantisation, row by row."""
        return self.layers(images)
