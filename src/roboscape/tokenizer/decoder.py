"""From the tokens of a frame back to its image; may be shown a given frame of the scene."""

from dataclasses import dataclass

import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from jaxtyping import Float
from torch import Tensor, nn

from roboscape.tokenizer.config import TokenizerConfig
from roboscape.tokenizer.layers import AttentionBlock, ConvBlock, PositionNorm

PATCH = 4
"""Side of the square that one position of the last feature map paints, in pixels."""


UNCHANGED_LOGIT = 4.0
"""At first a pixel is the given frame's with this logit where its token is unchanged, and its
negative elsewhere."""


@dataclass(frozen=True, kw_only=True)
class GivenView:
    """The given frame as a decoder sees it."""

    images: Float[Tensor, "b 3 h w"]
    """The true frame, in [-1, 1]."""
    unchanged: Float[Tensor, "b n"]
    """1 where the tokens to decode equal those of the given frame, 0 where not; between them, the
    probability that they do."""


class Decoder(nn.Module):
    """Attention over the tokens, where it is cheap, then convolutions at a quarter of the size.

    A position embedding lets it remember a scene that stands still, so that few bits per token go a
    long way. Attention may see a square of `merge` x `merge` tokens as one position.

    Shown a given frame, it mixes that frame's pixels with painted ones. The encoder is local, so an
    unchanged token is an unchanged patch; the weight of the mixture is predicted for every pixel,
    so that patches join without seams. Without a given frame every pixel is painted.
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
            # Channels last, as the convolutions read them.
            Rearrange("b (h w) (c y x) -> b (h y) (w x) c", h=side, y=scale, x=scale),
        )
        self.convolutions = nn.Sequential(
            *[ConvBlock(channels, kernel=3) for _ in range(config.convolution_blocks)],
            PositionNorm(channels),
            nn.Conv2d(channels, 3 * PATCH**2, kernel_size=3, padding=1),
            nn.PixelShuffle(PATCH),
        )
        self.config = config
        self.given = GivenFrameLayers(config) if config.given_frame else None

    def forward(
        self, vectors: Float[Tensor, "b n v"], given: GivenView | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """The image of every frame, in [-1, 1] up to the model's error.

        Layers compute in the format of their weights; the given frame's pixels are mixed in fp32.
        """
        x = self.embed(self.gather(vectors).to(self.embed.weight.dtype))
        if self.given is not None and given is not None:
            x = x + self.given.at_tokens(given)
        x = self.blocks(x + self.position.to(x.dtype))
        maps = rearrange(self.enlarge(x), "b h w c -> b c h w")
        if self.given is None or given is None:
            return self.convolutions(maps)
        maps = self.given.at_quarter(given).add_(maps)
        *refine, norm, paint, shuffle = self.convolutions
        for layer in refine:
            maps = layer(maps)
        maps = norm(maps)
        share = self.given.share(maps, given)
        # One pass over the pixels; products and their sum take many times as long.
        return torch.lerp(shuffle(paint(maps)).float(), given.images, share)


class GivenFrameLayers(nn.Module):
    """The layers that read a given frame and mix it in; they change nothing at first but copying.

    iVideoGPT (Wu et al. 2024, section 3.1) conditions its decoder on context frames for the same
    reason: what is known need not be squeezed through the tokens.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        merge, channels = config.decoder_merge, config.convolution_width
        side = config.downsampling * merge
        self.tokens = nn.Linear(3 * side**2 + merge**2, config.decoder_width)
        self.quarter = nn.Conv2d(3 * PATCH**2 + 1, channels, kernel_size=3, padding=1)
        self.mixture = nn.Conv2d(channels, PATCH**2, kernel_size=3, padding=1)
        for layer in (self.tokens, self.quarter, self.mixture):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def at_tokens(self, given: GivenView) -> Float[Tensor, "b p d"]:
        """The given frame's squares of pixels, and which of their tokens are unchanged."""
        side, merge = self.config.tokens_per_side, self.config.decoder_merge
        # Cast first: what follows moves half as much memory in a format of 16 bits.
        number_format = self.tokens.weight.dtype
        pixels = rearrange(
            given.images.to(number_format),
            "b c (h y) (w x) -> b (h w) (c y x)",
            h=side // merge,
            w=side // merge,
        )
        flags = rearrange(
            given.unchanged.to(number_format),
            "b (h y w x) -> b (h w) (y x)",
            h=side // merge,
            y=merge,
            x=merge,
        )
        return self.tokens(torch.cat([pixels, flags], dim=-1))

    def at_quarter(self, given: GivenView) -> Float[Tensor, "b c h w"]:
        """The same at the size of the last feature map."""
        number_format = self.quarter.weight.dtype
        pixels = rearrange(
            given.images.to(number_format),
            "b c (h y) (w x) -> b h w (c y x)",
            y=PATCH,
            x=PATCH,
        )
        flags = self.spread(given, pixels_a_token=self.config.downsampling // PATCH)
        flags = rearrange(flags.to(number_format), "b one h w -> b h w one")
        # Channels last in memory, as the convolutions read them.
        return self.quarter(rearrange(torch.cat([pixels, flags], dim=-1), "b h w c -> b c h w"))

    def share(self, maps: Float[Tensor, "b c h w"], given: GivenView) -> Float[Tensor, "b 1 y x"]:
        """The share of every pixel that is taken from the given frame."""
        logits = rearrange(self.mixture(maps), "b (y x) h w -> b 1 (h y) (w x)", y=PATCH, x=PATCH)
        flags = self.spread(given, pixels_a_token=self.config.downsampling)
        return (logits.float() + UNCHANGED_LOGIT * (2 * flags.float() - 1)).sigmoid()

    def spread(self, given: GivenView, *, pixels_a_token: int) -> Float[Tensor, "b 1 y x"]:
        """The tokens' flags as an image."""
        flags = rearrange(given.unchanged, "b (h w) -> b 1 h w", w=self.config.tokens_per_side)
        return flags.repeat_interleave(pixels_a_token, 2).repeat_interleave(pixels_a_token, 3)
