"""The shape of the tokenizer."""

from dataclasses import dataclass

from roboscape.core.errors import UserError
from roboscape.tokenizer.codes import factor_bits


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Sizes of a tokenizer, and how depth enters it."""

    image_size: int = 128
    """Side of the square images, in pixels."""
    code_bits: int = 18
    """Bits of a code; the vocabulary has 2 ** code_bits entries."""
    code_groups: int = 2
    """Groups of bits that are normalised, and whose entropy is counted, on their own."""
    downsampling: int = 16
    """Side of the square that one token stands for, in pixels."""
    encoder_width: int = 64
    """Channels at a quarter of the image's size; doubled below."""
    encoder_blocks: int = 1
    """Residual blocks at each size."""
    decoder_merge: int = 1
    """Side, in tokens, of the square that the decoder's attention sees as one position."""
    decoder_width: int = 256
    """Width of the attention blocks."""
    decoder_blocks: int = 6
    """Attention blocks over all tokens of a frame."""
    decoder_heads: int = 4
    """Attention heads."""
    convolution_width: int = 64
    """Channels of the decoder at a quarter of the image's size."""
    convolution_blocks: int = 1
    """Residual blocks there."""
    given_frame: bool = False
    """Whether the decoder can be shown a true frame of the scene, whose pixels it may take over."""
    soft_codes: bool = False
    """Whether imagined frames are decoded from what the world model believes (`SoftCodes`) instead
    of its likeliest tokens; `roboscape train decoder` teaches a decoder to read that."""
    depth_min_m: float = 0.1
    """Nearest depth in the range of the depth image."""
    depth_max_m: float = 10.0
    """Farthest depth in the range of the depth image."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        factor_bits(code_bits=self.code_bits, factors=self.code_groups)
        if self.image_size % self.downsampling or self.downsampling not in (4, 8, 16, 32):
            raise UserError(
                f"downsampling must be 4, 8, 16 or 32 and divide image_size; got "
                f"{self.downsampling} and {self.image_size}"
            )
        if self.decoder_merge < 1 or self.tokens_per_side % self.decoder_merge:
            raise UserError(
                f"decoder_merge must divide the {self.tokens_per_side} tokens of a side, got "
                f"{self.decoder_merge}"
            )
        if not 0 < self.depth_min_m < self.depth_max_m:
            raise UserError(
                f"expected 0 < depth_min_m < depth_max_m, got {self.depth_min_m} and "
                f"{self.depth_max_m}"
            )

    @property
    def tokens_per_side(self) -> int:
        """Rows, and columns, of the token grid."""
        return self.image_size // self.downsampling

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one frame."""
        return self.tokens_per_side**2
