"""The losses of a tokenizer and the figures to watch. Pure functions of tensors."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from roboscape.tokenizer.codes import code_to_bits
from roboscape.tokenizer.model import Reconstruction


@dataclass(frozen=True, kw_only=True)
class TokenizerLossConfig:
    """Weights of the terms (MAGVIT-2, section 3.1)."""

    squared: float = 1.0
    """Squared error: what PSNR counts."""
    absolute: float = 0.3
    """Absolute error: sharper edges."""
    entropy: float = 0.0005
    """Tokens sure of their code, and all codes used."""
    diversity: float = 1.0
    """Weight of the second half of that against the first."""
    commitment: float = 0.25
    """Vectors stay near their codes."""


def tokenizer_loss(
    result: Reconstruction, images: Float[Tensor, "b 3 h w"], *, config: TokenizerLossConfig
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """The weighted sum of all terms, and each of them for the record."""
    squared = F.mse_loss(result.images, images)
    absolute = F.l1_loss(result.images, images)
    entropy = result.sample_entropy - config.diversity * result.batch_entropy
    loss = (
        config.squared * squared
        + config.absolute * absolute
        + config.entropy * entropy
        + config.commitment * result.commitment
    )
    figures = {
        "squared": squared.item(),
        "absolute": absolute.item(),
        "sample_entropy": result.sample_entropy.item(),
        "batch_entropy": result.batch_entropy.item(),
        "commitment": result.commitment.item(),
    }
    return loss, figures


def psnr(images: Float[Tensor, "b 3 h w"], truth: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio of every image in [-1, 1], in dB."""
    error = (images - truth).square().mean(dim=(1, 2, 3)).clamp(min=1e-10)
    return 10 * torch.log10(4 / error)


@dataclass(frozen=True, kw_only=True)
class CodeUsage:
    """The use of the vocabulary."""

    lowest_bit_entropy: float
    """Entropy of the bit that changes least, in bits: 1 is a fair coin, 0 a dead bit."""
    mean_bit_entropy: float
    """Mean over the bits."""
    distinct: float
    """Distinct codes as a share of the tokens looked at."""


def code_usage(codes: Int[Tensor, "*b"], *, code_bits: int) -> CodeUsage:
    """Count how a set of codes uses the bits."""
    share = code_to_bits(codes.flatten(), code_bits=code_bits).double().mean(dim=0)
    share = share.clamp(1e-9, 1 - 1e-9)
    entropy = -(share * share.log() + (1 - share) * (1 - share).log()) / math.log(2)
    return CodeUsage(
        lowest_bit_entropy=entropy.min().item(),
        mean_bit_entropy=entropy.mean().item(),
        distinct=codes.unique().numel() / codes.numel(),
    )
