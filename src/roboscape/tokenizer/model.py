"""The tokenizer: images to discrete codes and back (MAGVIT-2: lookup-free quantisation)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from vector_quantize_pytorch import LFQ

from roboscape.core.pretrained import load_model, resolve, save_weights
from roboscape.tokenizer.codes import MISSING, code_to_vectors, factor_bits, vectors_to_code
from roboscape.tokenizer.config import TokenizerConfig
from roboscape.tokenizer.decoder import Decoder, GivenView
from roboscape.tokenizer.depth_image import depth_to_image, image_to_depth
from roboscape.tokenizer.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The result of one pass through the tokenizer, for a training step."""

    images: Float[Tensor, "b 3 h w"]
    codes: Int[Tensor, "b n"]
    sample_entropy: Float[Tensor, ""]
    """Mean entropy of a token's soft assignment: low where the encoder is sure, nats."""
    batch_entropy: Float[Tensor, ""]
    """Entropy of the mean assignment: high where all codes are used, nats."""
    commitment: Float[Tensor, ""]
    """Squared distance of the vectors to their codes."""


@dataclass(frozen=True, kw_only=True)
class SoftCodes:
    """A world model's belief about the tokens of a frame, for a decoder that reads its doubt."""

    vectors: Float[Tensor, "*b n v"]
    """Mean code vectors under the model's distribution, in [-1, 1]."""
    unchanged: Float[Tensor, "*b n"]
    """Probability that a token is the given frame's."""

    @classmethod
    def stack(cls, parts: Sequence["SoftCodes"], *, dim: int = 0) -> "SoftCodes":
        """Several along a new leading axis."""
        return cls(
            vectors=torch.stack([part.vectors for part in parts], dim=dim),
            unchanged=torch.stack([part.unchanged for part in parts], dim=dim),
        )

    def toward(self, given: Int[Tensor, "*b n"], share: float, *, code_bits: int) -> "SoftCodes":
        """The mixture of this belief with the one that tokens are still the given frame's.

        Args:
            given: The given frame's tokens; where one is `MISSING` the belief stays as it is.
            share: Weight of the latter, in [0, 1].
            code_bits: Bits of a token's code.
        """
        shares = share * (given != MISSING).to(self.unchanged.dtype)
        vectors = code_to_vectors(given.clamp(min=0), code_bits=code_bits).to(self.vectors.dtype)
        return SoftCodes(
            vectors=torch.lerp(self.vectors, vectors, shares.unsqueeze(-1)),
            unchanged=torch.lerp(self.unchanged, torch.ones_like(self.unchanged), shares),
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> "SoftCodes":
        """The same change of the leading axes made to both."""
        return SoftCodes(vectors=change(self.vectors), unchanged=change(self.unchanged))


@dataclass(frozen=True, kw_only=True)
class GivenFrame:
    """A true frame that a decoder may take pixels from; one for every frame to decode, or one."""

    images: Float[Tensor, "b 3 h w"]
    """In [-1, 1]."""
    codes: Int[Tensor, "b n"]
    """Its tokens; where they equal those to decode, nothing has changed."""

    def view(self, codes: Int[Tensor, "b n"], soft: SoftCodes | None = None) -> GivenView:
        """The view of it that the decoder of `codes`, or of soft codes, gets."""
        images = self.images.expand(len(codes), -1, -1, -1)
        equal = (codes == self.codes).to(images.dtype)
        return GivenView(images=images, unchanged=equal if soft is None else soft.unchanged)


class Tokenizer(nn.Module):
    """RGB and depth images to codes and back; both kinds share the weights.

    A frame of several cameras is their images below each other, and their codes after each other.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(
            width=config.encoder_width,
            blocks=config.encoder_blocks,
            code_bits=config.code_bits,
            downsampling=config.downsampling,
        )
        group_bits = factor_bits(code_bits=config.code_bits, factors=config.code_groups)
        self.quantizer = LFQ(
            dim=config.code_bits,
            codebook_size=2**group_bits,
            num_codebooks=config.code_groups,
            keep_num_codebooks_dim=True,
            commitment_loss_weight=1.0,
            spherical=True,
        )
        # The library puts codes on the unit sphere; the decoder sees plus and minus one.
        self.code_scale = group_bits**0.5
        self.decoder = Decoder(config)
        # Convolutions run fastest with channels last.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(
        self,
        images: Float[Tensor, "b 3 h w"],
        *,
        given: Float[Tensor, "b 3 h w"] | None = None,
        inverse_temperature: float = 100.0,
    ) -> Reconstruction:
        """Encode, quantise with straight-through gradients, decode.

        With `given`, true frames that the decoder may take pixels from, the encoder gets no
        gradient of the images.
        """
        vectors = self.encoder(images)
        with torch.autocast(images.device.type, enabled=False):
            (quantized, _, _), terms = self.quantizer(
                vectors.float(), inv_temperature=inverse_temperature, return_loss_breakdown=True
            )
        codes = vectors_to_code(vectors)
        view = None
        if given is not None:
            view, quantized = self.given_frame(given).view(codes), quantized.detach()
        return Reconstruction(
            images=self.decoder(quantized * self.code_scale, view).float(),
            codes=codes,
            sample_entropy=terms.per_sample_entropy,
            batch_entropy=terms.batch_entropy,
            commitment=terms.commitment,
        )

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Int[Tensor, "b n"]:
        """Codes of images in [-1, 1], int32, row by row; views below each other, view by view."""
        views = self.views_apart(images)
        codes = vectors_to_code(self.encoder(views))
        return rearrange(codes, "(b v) n -> b (v n)", b=len(images))

    def views_apart(self, images: Float[Tensor, "b 3 vh w"]) -> Float[Tensor, "bv 3 h w"]:
        """Frames whose views lie below each other, as an image a view."""
        size = self.config.image_size
        if images.shape[2] == size:
            return images
        return rearrange(images, "b c (v h) w -> (b v) c h w", h=size)

    @torch.no_grad()
    def given_frame(
        self, images: Float[Tensor, "b 3 h w"], codes: Int[Tensor, "b n"] | None = None
    ) -> GivenFrame:
        """True frames for `decode`, with their codes, which are computed where not given."""
        codes = self.encode(images) if codes is None else codes.to(images.device)
        return GivenFrame(images=images, codes=codes)

    def given_rgb(
        self, frames: UInt8[Tensor, "b h w 3"], codes: Int[Tensor, "b n"] | None = None
    ) -> GivenFrame | None:
        """True RGB frames, for `decode_rgb`; None where the decoder takes none."""
        if not self.config.given_frame:
            return None
        return self.given_frame(rgb_to_image(frames.to(self.device)), codes)

    def given_depth(
        self, depth_m: Float[Tensor, "b h w"], codes: Int[Tensor, "b n"] | None = None
    ) -> GivenFrame | None:
        """True depth in metres, for `decode_depth`; None where the decoder takes none."""
        if not self.config.given_frame:
            return None
        return self.given_frame(self.depth_to_image(depth_m.to(self.device)), codes)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def decode(
        self,
        codes: Int[Tensor, "b n"],
        given: GivenFrame | None = None,
        soft: SoftCodes | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Images of codes; with a given frame, its pixels where nothing has changed.

        A tokenizer without `given_frame` takes no notice of it, one without `soft_codes` none of
        `soft`, what a world model believes of imagined codes.
        """
        soft = soft if self.config.soft_codes else None
        view = given.view(codes, soft) if given is not None and self.config.given_frame else None
        exact = code_to_vectors(codes, code_bits=self.config.code_bits)
        return self.decoded(exact if soft is None else soft.vectors, view).float().clamp(-1, 1)

    def decoded(
        self, vectors: Float[Tensor, "b n v"], view: GivenView | None
    ) -> Float[Tensor, "b 3 h w"]:
        """The images of code vectors, view by view, up to the decoder's error in [-1, 1]."""
        tokens = self.config.tokens_per_frame
        if view is not None:
            view = GivenView(
                images=self.views_apart(view.images),
                unchanged=rearrange(view.unchanged, "b (v n) -> (b v) n", n=tokens),
            )
        images = self.decoder(rearrange(vectors, "b (v n) c -> (b v) n c", n=tokens), view)
        return rearrange(images, "(b v) c h w -> b c (v h) w", b=len(vectors))

    def encode_rgb(self, frames: UInt8[Tensor, "b h w 3"]) -> Int[Tensor, "b n"]:
        """Codes of RGB frames."""
        return self.encode(rgb_to_image(frames))

    def decode_rgb(
        self,
        codes: Int[Tensor, "b n"],
        given: GivenFrame | None = None,
        soft: SoftCodes | None = None,
    ) -> UInt8[Tensor, "b h w 3"]:
        """RGB frames of codes."""
        return image_to_rgb(self.decode(codes, given, soft))

    def encode_depth(self, depth_m: Float[Tensor, "b h w"]) -> Int[Tensor, "b n"]:
        """Codes of depth in metres."""
        return self.encode(self.depth_to_image(depth_m))

    def decode_depth(
        self,
        codes: Int[Tensor, "b n"],
        given: GivenFrame | None = None,
        soft: SoftCodes | None = None,
    ) -> Float[Tensor, "b h w"]:
        """Depth of codes, in metres."""
        return self.image_to_depth(self.decode(codes, given, soft))

    def depth_to_image(self, depth_m: Float[Tensor, "b h w"]) -> Float[Tensor, "b 3 h w"]:
        """Depth as this tokenizer sees it."""
        range_m = {"min_m": self.config.depth_min_m, "max_m": self.config.depth_max_m}
        return depth_to_image(depth_m, **range_m)

    def image_to_depth(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
        """Inverse of `depth_to_image`, in metres."""
        range_m = {"min_m": self.config.depth_min_m, "max_m": self.config.depth_max_m}
        return image_to_depth(image, **range_m)

    def save_pretrained(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`."""
        save_weights(self, self.config, folder)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, subfolder: str = "") -> "Tokenizer":
        """Load from a folder or a hub repository, ready to encode and decode."""
        return load_model(cls, TokenizerConfig, resolve(name, subfolder=subfolder))


def rgb_to_image(frames: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b 3 h w"]:
    """Bytes to [-1, 1], channels first."""
    # In place: memory bounds these passes over all pixels, which every decoded frame takes.
    return rearrange(frames, "b h w c -> b c h w").float().div_(127.5).sub_(1)


def image_to_rgb(images: Float[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b h w 3"]:
    """Inverse of `rgb_to_image`, rounded and clipped."""
    levels = images.clamp(-1, 1).add_(1).mul_(127.5).round_().to(torch.uint8)
    return rearrange(levels, "b c h w -> b h w c")
