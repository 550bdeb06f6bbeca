"""Attention that is fast on the device at hand."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from roboscape.core.recompute import recomputed

WEIGHTS_BYTES = 2**21
"""Attention weights that exist at a time on CPUs: what stays in the cache, and leaves few holes in
memory."""

LONG_QUERIES = 32
"""Queries from which on the fused kernel is quicker in fp32 too; a few at a time are not."""


def attend(
    q: Float[Tensor, "b h q d"],
    k: Float[Tensor, "b h k d"],
    v: Float[Tensor, "b h k d"],
    *,
    bias: Float[Tensor, "q k"] | Float[Tensor, "b 1 q k"] | None = None,
) -> Float[Tensor, "b h q d"]:
    """Scaled dot-product attention; `bias` is added to the scores, one for all or one each.

    Sequences here are short (tens of tokens) and many (thousands). On CPUs the fused kernel is
    quicker forwards, and its backward pass 5 to 9 times slower in bf16 than the plain products
    (`docs/decisions.md`).
    """
    if q.device.type != "cpu" or fused_is_quicker(q, k, v):
        mask = None if bias is None else bias.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    heads, queries, keys = q.shape[1], q.shape[2], k.shape[2]
    size = max(1, WEIGHTS_BYTES // (heads * queries * keys * q.element_size()))
    pieces = list(zip(q.split(size), k.split(size), v.split(size), strict=True))
    biases = [bias] * len(pieces) if bias is None or bias.ndim == 2 else bias.split(size)
    # Weights are kept for the backward pass only where they are smaller than what made them.
    mixed = []
    for piece, own in zip(pieces, biases, strict=True):
        weighted = partial(weighted_values, bias=own)
        mixed.append(recomputed(weighted, *piece) if keys > 3 * k.shape[3] else weighted(*piece))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def fused_is_quicker(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """True where PyTorch's fused kernel is the quicker one on CPUs (measured; see `attend`)."""
    if torch.compiler.is_exporting():
        # Graphs for other programs hold plain products, which all of them know.
        return False
    learns = torch.is_grad_enabled() and any(one.requires_grad for one in (q, k, v))
    return not learns and (q.dtype != torch.float32 or q.shape[2] >= LONG_QUERIES)


def weighted_values(
    q: Float[Tensor, "b h q d"],
    k: Float[Tensor, "b h k d"],
    v: Float[Tensor, "b h k d"],
    *,
    bias: Float[Tensor, "q k"] | Float[Tensor, "b 1 q k"] | None,
) -> Float[Tensor, "b h q d"]:
    """The plain products."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    return scores.softmax(dim=-1) @ v
