"""Attention that is fast on the device at hand."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def attend(
    q: Float[Tensor, "b h q d"],
    k: Float[Tensor, "b h k d"],
    v: Float[Tensor, "b h k d"],
    *,
    bias: Float[Tensor, "q k"] | None = None,
) -> Float[Tensor, "b h q d"]:
    """Scaled dot-product attention; `bias` is added to the scores.

    Sequences here are short (tens of tokens) and many (thousands). On CPUs the fused kernel's
    backward pass is 5 to 9 times slower in bf16 than the plain products (`docs/decisions.md`).
    """
    if q.device.type != "cpu":
        mask = None if bias is None else bias.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    return scores.softmax(dim=-1) @ v
