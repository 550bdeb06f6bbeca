"""The training losses (Eq. 4 to 8): sums over what a batch asks for, and how much that is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from roboscape.core.errors import UserError
from roboscape.tokenizer.codes import code_to_vectors, split_factors
from roboscape.world_model.config import DEPTH, RGB
from roboscape.world_model.keypoints import Keypoints, attention_map
from roboscape.world_model.model import ModelInputs, WorldModel
from roboscape.world_model.patches import fold, patch_of, unfold


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
        """Raise `UserError` for weights that make no sense."""
        if min(self.depth, self.keypoint, self.attention) < 0 or self.gamma < 1:
            raise UserError(f"expected weights >= 0 and gamma >= 1, got {self}")
        if self.keypoints < 1:
            raise UserError(f"keypoints must be 1 or more, got {self.keypoints}")


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The targets of some clips' losses. The tokens to predict are in the inputs."""

    inputs: ModelInputs
    first: Int[Tensor, "b n"]
    """RGB codes of the clips' first frame."""
    keypoints: Keypoints
    """Of all frames of the clips, the first included."""

    @property
    def timesteps(self) -> slice:
        """The frames that have a timestep of their own."""
        return slice(-self.inputs.controls.shape[1], None)


CHUNK, GPU_CHUNK = 1024, 32768
"""Tokens whose logits exist at a time: 1024 numbers each would be the largest tensor of a step.

Every chunk is full: for each new size of a matrix product oneDNN compiles and keeps a kernel, and
memory would grow from step to step. A GPU waits for the launch of small chunks.
"""


def chunk_of(device: torch.device) -> int:
    """Tokens of a chunk there."""
    return GPU_CHUNK if device.type == "cuda" else CHUNK


class Predictions:
    """The predictions of one pass of a model. Logits are computed only where a loss reads them."""

    def __init__(self, model: WorldModel, inputs: ModelInputs) -> None:
        self.model, self.inputs = model, inputs
        self.features = model.features(inputs)
        self._losses: dict[int, Float[Tensor, "b t n"]] = {}

    def token_losses(self, modality: int) -> Float[Tensor, "b t n"]:
        """`-log p` of every masked token of a modality; 0 where a token was not masked."""
        if modality not in self._losses:
            self._losses[modality] = self._token_losses(modality)
        return self._losses[modality]

    def _token_losses(self, modality: int) -> Float[Tensor, "b t n"]:
        """Chunk by chunk; the backward pass computes a chunk's logits again."""
        config = self.model.config
        masked = fold(self.inputs.masked[modality], config)
        # Patches of which nothing is masked have no loss.
        read = masked.any(dim=-1)
        codes = fold(self.inputs.current[modality], config)[read]
        groups = split_factors(codes, code_bits=config.code_bits, factors=config.factors)

        def chunk_losses(x: Float[Tensor, "q e"], targets: Int[Tensor, "q k f"]) -> Tensor:
            return factor_losses(self.model.logits(x, modality=modality), targets)

        size = chunk_of(codes.device) // config.tokens_per_patch
        chunks = zip(
            fill_chunks(self.features[modality][read], size=size),
            fill_chunks(groups, size=size),
            strict=True,
        )
        found = joined(checkpoint(chunk_losses, x, y, use_reentrant=False) for x, y in chunks)
        losses = torch.zeros(masked.shape, device=found.device)
        losses[read] = torch.where(masked[read], found[: len(groups)].sum(dim=-1), 0.0)
        by_frame = unfold(rearrange(losses, "b t p k -> (b t) p k"), config)
        return rearrange(by_frame, "(b t) n -> b t n", b=len(losses))

    def expected_rgb(
        self, chosen: Bool[Tensor, "b t j"], tokens: Int[Tensor, "b t j"]
    ) -> Float[Tensor, "q v"]:
        """The expected RGB code vectors (`expected_codes`) at the chosen ones of some tokens."""
        clip, timestep, _ = chosen.nonzero(as_tuple=True)
        patch, place = patch_of(tokens[chosen], self.model.config)
        size = chunk_of(place.device)
        chunks = zip(
            fill_chunks(self.features[RGB][clip, timestep, patch], size=size),
            fill_chunks(place, size=size),
            strict=True,
        )
        logits = ((self.model.logits(x, modality=RGB), at) for x, at in chunks)
        return joined(expected_codes(x[range(len(x)), at]) for x, at in logits)[: len(clip)]


def fill_chunks(
    rows: Shaped[Tensor, "rows ..."], *, size: int
) -> tuple[Shaped[Tensor, "chunk ..."], ...]:
    """Split into chunks of one size, the last filled up with zeros."""
    filler = rows.new_zeros(-len(rows) % size, *rows.shape[1:])
    return torch.cat([rows, filler]).split(size)


def joined(chunks: Iterable[object]) -> Shaped[Tensor, "rows ..."]:
    """Inverse of `fill_chunks`, filling included."""
    return torch.cat([chunk for chunk in chunks if isinstance(chunk, Tensor)])


@dataclass(frozen=True, kw_only=True)
class LossTerm:
    """One term of Eq. 8: a sum over some tokens, and their number; the loss is the mean."""

    count: Int[Tensor, ""]
    """It follows from the targets alone, so that the number of all tokens in all microbatches of
    all ranks is known before the first pass."""
    sum: Callable[[Predictions], Float[Tensor, ""]]


TermFunction = Callable[[Targets, LossConfig], LossTerm | None]
"""Makes a term; None where the model does not predict what it is about."""


def rgb_term(targets: Targets, _: LossConfig) -> LossTerm:
    """L_RGB of Eq. 4: cross-entropy of the masked RGB tokens, as a mean instead of a sum."""
    return LossTerm(
        count=targets.inputs.masked[RGB].sum(),
        sum=lambda predictions: predictions.token_losses(RGB).sum(),
    )


def depth_term(targets: Targets, _: LossConfig) -> LossTerm | None:
    """L_Depth of Eq. 4: the same of the depth tokens, where there is depth."""
    if len(targets.inputs.masked) == 1:
        return None
    return LossTerm(
        count=targets.inputs.masked[DEPTH].sum(),
        sum=lambda predictions: predictions.token_losses(DEPTH).sum(),
    )


def keypoint_term(targets: Targets, _: LossConfig) -> LossTerm:
    """L_Keypoint of Eq. 5: squared distance between the predicted token under a keypoint at time t
    and the token under it in the first frame.

    It is a mean over the keypoints that are visible and lie on masked tokens (the paper divides by
    (T - 1) K). The first frame is given, so its true code stands for its prediction.
    """
    cells, valid = (
        points[:, targets.timesteps]
        for points in (targets.keypoints.cells, targets.keypoints.valid)
    )
    chosen = valid & targets.inputs.masked[RGB].gather(2, cells)

    def distances(predictions: Predictions) -> Float[Tensor, ""]:
        first = targets.first.gather(1, targets.keypoints.cells[:, 0])
        first = rearrange(first, "b k -> b 1 k").expand_as(cells)[chosen]
        expected = predictions.expected_rgb(chosen, cells)
        bits = predictions.model.config.code_bits
        return (expected - code_to_vectors(first, code_bits=bits)).square().sum()

    return LossTerm(count=chosen.sum(), sum=distances)


def attention_term(targets: Targets, config: LossConfig) -> LossTerm:
    """L_Attention of Eq. 7: L_RGB with every token weighted by the map A, and the same divisor."""
    masked = targets.inputs.masked[RGB]
    weights = attention_map(targets.keypoints, tokens=masked.shape[-1], gamma=config.gamma)
    weights = weights[:, targets.timesteps]
    return LossTerm(
        count=masked.sum(),
        sum=lambda predictions: (predictions.token_losses(RGB) * weights).sum(),
    )


TERMS: dict[str, tuple[TermFunction, Callable[[LossConfig], float]]] = {
    "rgb": (rgb_term, lambda _: 1.0),
    "depth": (depth_term, lambda config: config.depth),
    "keypoint": (keypoint_term, lambda config: config.keypoint),
    "attention": (attention_term, lambda config: config.attention),
}
"""All that Eq. 8 adds up, and the weights. A new loss is a function and a line here."""


def loss_terms(targets: Targets, config: LossConfig) -> dict[str, LossTerm]:
    """The terms that are switched on, by name."""
    found = {name: make(targets, config) for name, (make, weigh) in TERMS.items() if weigh(config)}
    return {name: term for name, term in found.items() if term is not None}


def total_loss(means: dict[str, Float[Tensor, ""]], config: LossConfig) -> Float[Tensor, ""]:
    """L = L_RGB + lambda_1 L_Depth + lambda_2 L_Keypoint + lambda_3 L_Attention (Eq. 8)."""
    weighted = [TERMS[name][1](config) * mean for name, mean in means.items()]
    return torch.stack(weighted).sum()


def factor_losses(
    logits: Float[Tensor, "*p f s"], groups: Int[Tensor, "*p f"]
) -> Float[Tensor, "*p f"]:
    """Cross-entropy of every factor of every token, in nats; their sum is `-s log p` of Eq. 4."""
    flat = F.cross_entropy(logits.float().flatten(end_dim=-2), groups.flatten(), reduction="none")
    return flat.reshape(groups.shape)


def bit_table(*, bits: int, device: torch.device | None = None) -> Float[Tensor, "s v"]:
    """The code vector in {-1, +1}^bits of every value of one factor."""
    return code_to_vectors(torch.arange(2**bits, device=device), code_bits=bits)


def expected_codes(logits: Float[Tensor, "*p f s"]) -> Float[Tensor, "*p v"]:
    """The mean code vector under the predicted distribution, in [-1, 1]^V.

    Exact: the factors are independent, and each bit belongs to one factor. This is the
    differentiable "predicted token" of Eq. 5.
    """
    return mean_codes(logits.float().softmax(dim=-1))


def mean_codes(probabilities: Float[Tensor, "*p f s"]) -> Float[Tensor, "*p v"]:
    """As `expected_codes`, of the probabilities of each factor's values."""
    bits = probabilities.shape[-1].bit_length() - 1
    means = einsum(
        probabilities,
        bit_table(bits=bits, device=probabilities.device),
        "... f s, s v -> ... f v",
    )
    return rearrange(means, "... f v -> ... (f v)")


def accuracy(logits: Float[Tensor, "p f s"], groups: Int[Tensor, "p f"]) -> Float[Tensor, ""]:
    """Share of tokens with every factor right."""
    right: Bool[Tensor, "p f"] = logits.argmax(dim=-1) == groups
    return right.all(dim=1).float().mean()
