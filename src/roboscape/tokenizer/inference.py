"""A tokenizer prepared for imagining: its decoder in the format that is fast here."""

import copy

import torch

from roboscape.tokenizer.model import Tokenizer


def for_decoding(tokenizer: Tokenizer, *, dtype: torch.dtype) -> Tokenizer:
    """A copy whose decoder computes in `dtype`; the tokenizer itself where that is fp32.

    The encoder keeps fp32: a code is a sign, and signs near zero would turn. The copy cannot be
    trained or saved.
    """
    if dtype == torch.float32:
        return tokenizer
    prepared = copy.deepcopy(tokenizer).eval().requires_grad_(requires_grad=False)
    prepared.decoder.to(dtype)
    return prepared
