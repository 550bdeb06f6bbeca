"""The training losses as pure functions (Eq. 4, 5, 7 and 8)."""

from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from roboscape.tokenizer.codes import code_to_vectors


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of Eq. 8, and the keypoints. A weight of 0 turns its term off."""

    depth: float = 1.0
    """lambda_1, of the depth cross-entropy (Eq. 4)."""
    keypoint: float = 0.01
    """lambda_2, of the keypoint consistency (Eq. 5)."""
    attention: float = 1.0
    """lambda_3, of the keypoint-weighted cross-entropy (Eq. 7)."""
    gamma: float = 5.0
    """Weight of a token that a sampled track passes through (Eq. 6)."""
    keypoints: int = 16
    """K, the number of most active tracks that are sampled."""

    def __post_init__(self) -> None:
        """Refuse weights that make no sense."""
        if min(self.depth, self.keypoint, self.attention) < 0 or self.gamma < 1:
            raise ValueError(f"expected weights >= 0 and gamma >= 1, got {self}")
        if self.keypoints < 1:
            raise ValueError(f"keypoints must be 1 or more, got {self.keypoints}")


def token_losses(
    logits: Float[Tensor, "*p f s"], groups: Int[Tensor, "*p f"]
) -> Float[Tensor, "*p f"]:
    """Cross-entropy of every factor of every token, in nats; their sum is `-s log p` of Eq. 4."""
    flat = F.cross_entropy(logits.float().flatten(end_dim=-2), groups.flatten(), reduction="none")
    return flat.reshape(groups.shape)


def cross_entropy_loss(losses: Float[Tensor, "p f"]) -> Float[Tensor, ""]:
    """L_RGB or L_Depth of Eq. 4, as a mean over tokens instead of a sum."""
    return losses.sum(dim=1).mean()


def attention_loss(losses: Float[Tensor, "p f"], weights: Float[Tensor, " p"]) -> Float[Tensor, ""]:
    """L_Attention of Eq. 7: Eq. 4 weighted by the map A, with the same divisor."""
    return (losses.sum(dim=1) * weights).mean()


def bit_table(*, bits: int, device: torch.device | None = None) -> Float[Tensor, "s v"]:
    """The code vector in {-1, +1}^bits of every entry of one factor."""
    return code_to_vectors(torch.arange(2**bits, device=device), code_bits=bits)


def expected_codes(logits: Float[Tensor, "*p f s"]) -> Float[Tensor, "*p v"]:
    """The mean code vector under the predicted distribution, in [-1, 1]^V.

    Exact: the factors are independent, and each bit belongs to one factor. This is the
    differentiable "predicted token" of Eq. 5.
    """
    table = bit_table(bits=logits.shape[-1].bit_length() - 1, device=logits.device)
    means = einsum(logits.float().softmax(dim=-1), table, "... f s, s v -> ... f v")
    return rearrange(means, "... f v -> ... (f v)")


def keypoint_loss(
    predicted: Float[Tensor, "q v"], first: Float[Tensor, "q v"]
) -> Float[Tensor, ""]:
    """L_Keypoint of Eq. 5: squared distance of the predicted token under a keypoint at t to the
    token under it in the first frame, averaged over the points that are there.

    Unlike the paper's (T - 1) K the divisor leaves out invisible points. The first frame is given,
    so its true code stands in for its prediction.
    """
    if not len(predicted):
        return predicted.sum()
    return (predicted - first).square().sum(dim=-1).mean()


def accuracy(logits: Float[Tensor, "p f s"], groups: Int[Tensor, "p f"]) -> Float[Tensor, ""]:
    """Share of tokens with every factor right."""
    right: Bool[Tensor, "p f"] = logits.argmax(dim=-1) == groups
    return right.all(dim=1).float().mean()
