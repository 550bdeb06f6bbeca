"""Codes: one integer per token, its bits, its vector of plus and minus ones, its factors.

Bit j, least significant first, is set where dimension j of the code vector is +1.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from roboscape.core.errors import UserError

MISSING = -1
"""Stands for the depth tokens of clips without depth, beside clips with it."""


def code_to_bits(codes: Int[Tensor, "*b"], *, code_bits: int) -> Bool[Tensor, "*b v"]:
    """Bits of every code, least significant first."""
    return (codes.unsqueeze(-1) >> torch.arange(code_bits, device=codes.device)) & 1 == 1


def bits_to_code(bits: Bool[Tensor, "*b v"]) -> Int[Tensor, "*b"]:
    """Inverse of `code_to_bits`, as int32."""
    powers = 1 << torch.arange(bits.shape[-1], device=bits.device)
    # No matrix product: CUDA has none of integers.
    return (bits * powers).sum(dim=-1).int()


def code_to_vectors(codes: Int[Tensor, "*b"], *, code_bits: int) -> Float[Tensor, "*b v"]:
    """Code vectors in {-1, +1}."""
    return code_to_bits(codes, code_bits=code_bits).float() * 2 - 1


def vectors_to_code(vectors: Float[Tensor, "*b v"]) -> Int[Tensor, "*b"]:
    """The nearest code of any vector: the signs of its dimensions (MAGVIT-2, section 3.1)."""
    return bits_to_code(vectors > 0)


def split_factors(
    codes: Int[Tensor, "*b"], *, code_bits: int, factors: int = 2
) -> Int[Tensor, "*b f"]:
    """Groups of consecutive bits as small integers, the lowest group first (factorised vocabulary).

    Raises:
        ValueError: the bits don't divide into that many equal groups.
    """
    size = factor_bits(code_bits=code_bits, factors=factors)
    shifts = size * torch.arange(factors, device=codes.device)
    return (codes.long().unsqueeze(-1) >> shifts) & ((1 << size) - 1)


def join_factors(groups: Int[Tensor, "*b f"], *, code_bits: int) -> Int[Tensor, "*b"]:
    """Inverse of `split_factors`, as int32."""
    size = factor_bits(code_bits=code_bits, factors=groups.shape[-1])
    shifts = size * torch.arange(groups.shape[-1], device=groups.device)
    return (groups.long() << shifts).sum(dim=-1).int()


def factor_bits(*, code_bits: int, factors: int) -> int:
    """Bits in each of `factors` equal groups."""
    if factors < 1 or code_bits % factors:
        raise UserError(
            f"{code_bits} code bits do not divide into {factors} equal groups; "
            f"choose a number of factors that divides {code_bits}"
        )
    return code_bits // factors
