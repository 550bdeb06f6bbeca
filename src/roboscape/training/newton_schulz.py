"""The orthogonalisation inside Muon."""

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (K. Jordan, "Muon", 2024)."""


def orthogonalize(matrices: Tensor, *, dtype: torch.dtype, iterations: int = 5) -> Tensor:
    """Nearly the nearest orthogonal matrices of a batch `m r c`, by Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.to(dtype)
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
