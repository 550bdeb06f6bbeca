"""The training objective: what a row shows, what it hides, and the sum of Eq. 8."""

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from roboscape.tokenizer.codes import code_to_vectors, join_factors, split_factors
from roboscape.world_model.config import DEPTH, RGB
from roboscape.world_model.keypoints import Keypoints, attention_map
from roboscape.world_model.losses import (
    LossConfig,
    attention_loss,
    cross_entropy_loss,
    expected_codes,
    keypoint_loss,
    token_losses,
)
from roboscape.world_model.model import Rows, WorldModel, fold, position_of


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """How training rows are made."""

    fully_hidden: float = 0.5
    """Share of rows that show nothing of their own frame (Eq. 2); others are refinement steps."""
    corruption: float = 0.1
    """Largest share of a clip's previous-frame tokens that another frame's stand in for."""
    self_predicted: float = 0.25
    """Share of steps whose previous frames are the model's own predictions (step forcing)."""
    self_predicted_after: int = 200
    """First step at which that may happen: predictions must be worth something."""

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1]."""
        shares = (self.fully_hidden, self.corruption, self.self_predicted)
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"shares must lie in [0, 1], got {self}")


def next_frame_rows(tokens: Int[Tensor, "m b t n"], controls: Float[Tensor, "b t c"]) -> Rows:
    """Eq. 2 itself: one row for every frame after the first, all of its own tokens hidden.

    `controls[:, t]` led into frame t; the first is ignored.
    """
    current = tokens[:, :, 1:]
    return Rows(
        previous=tokens[:, :, :-1],
        current=current,
        hidden=torch.ones_like(current, dtype=torch.bool),
        controls=controls[:, 1:],
    )


def revealed_rows(rows: Rows, *, fully_hidden: float, generator: torch.Generator) -> Rows:
    """Reveal a random part of some rows, at a cosine-distributed rate (MaskGIT, section 3.2)."""
    m, b, t, n = rows.hidden.shape
    rate = hiding_rates((b, t), generator=generator)
    whole = torch.rand(b, t, generator=generator) < fully_hidden
    hidden = hide(torch.where(whole, 1.0, rate), modalities=m, tokens=n, generator=generator)
    return replace(rows, hidden=hidden.to(rows.hidden.device))


def corrupted_rows(rows: Rows, *, largest_rate: float, generator: torch.Generator) -> Rows:
    """Replace some previous-frame tokens by those at the same place in another frame of the batch.

    A mistake that the model could make itself, unlike a random one of 2^V codes.
    """
    assert rows.previous is not None
    m, b, t, n = rows.previous.shape
    rate = rearrange(largest_rate * torch.rand(b, generator=generator), "b -> b 1 1")
    wrong = torch.rand(m, b, t, n, generator=generator) < rate
    order = torch.randperm(b * t, generator=generator).to(rows.previous.device)
    frames = rearrange(rows.previous, "m b t n -> m (b t) n")
    other = rearrange(frames[:, order], "m (b t) n -> m b t n", b=b)
    wrong = wrong.to(rows.previous.device)
    return replace(rows, previous=torch.where(wrong, other, rows.previous))


@torch.no_grad()
def self_predicted_rows(model: WorldModel, rows: Rows) -> Rows:
    """Previous frames as the model itself predicts them from true ones (step forcing, RoboWorld).

    One pass gives them for all rows; the first frame, a rollout's prompt, stays true.
    """
    assert rows.previous is not None
    hidden = replace(rows, hidden=torch.ones_like(rows.hidden))
    predictions = torch.stack(
        [
            join_factors(
                model.frame_logits(features, modality=modality).argmax(dim=-1),
                code_bits=model.config.code_bits,
            )
            for modality, features in enumerate(model.features(hidden))
        ]
    ).to(rows.previous.dtype)
    previous = torch.cat([rows.previous[:, :, :1], predictions[:, :, :-1]], dim=2)
    return replace(rows, previous=previous)


def masked_rows(
    tokens: Int[Tensor, "m b t n"],
    controls: Float[Tensor, "b t c"],
    *,
    generator: torch.Generator,
) -> Rows:
    """The plain masked objective (Genie): some clean frames, the later ones masked."""
    m, b, t, n = tokens.shape
    prompt = torch.randint(1, t, (b, 1), generator=generator)
    later: Bool[Tensor, "b t"] = torch.arange(t) >= prompt
    rates = hiding_rates((b, t), generator=generator)
    hidden = hide(rates, modalities=m, tokens=n, generator=generator)
    hidden &= rearrange(later, "b t -> b t 1")
    return Rows(previous=None, current=tokens, hidden=hidden.to(tokens.device), controls=controls)


def hiding_rates(shape: tuple[int, int], *, generator: torch.Generator) -> Float[Tensor, "b t"]:
    """Cosine-distributed shares of hidden tokens (MaskGIT, section 3.2)."""
    return (torch.rand(shape, generator=generator) * torch.pi / 2).cos()


def hide(
    rates: Float[Tensor, "b t"], *, modalities: int, tokens: int, generator: torch.Generator
) -> Bool[Tensor, "m b t n"]:
    """Hide every token with its row's probability, and at least one a row."""
    draws = torch.rand(modalities, *rates.shape, tokens, generator=generator)
    lowest = draws.amin(dim=-1, keepdim=True)
    return draws <= torch.maximum(rearrange(rates, "b t -> b t 1"), lowest)


CHUNK = 1024
"""Tokens whose logits exist at a time: 1024 numbers each would be the largest tensor of a step.

Every chunk is full: for each new size of a matrix product oneDNN compiles and keeps a kernel, and
memory would grow from step to step.
"""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The terms of Eq. 8, unweighted; none where switched off."""

    rgb: Float[Tensor, ""]
    depth: Float[Tensor, ""] | None = None
    keypoint: Float[Tensor, ""] | None = None
    attention: Float[Tensor, ""] | None = None

    def total(self, config: LossConfig) -> Float[Tensor, ""]:
        """L = L_RGB + lambda_1 L_Depth + lambda_2 L_Keypoint + lambda_3 L_Attention (Eq. 8)."""
        loss = self.rgb
        for term, weight in (
            (self.depth, config.depth),
            (self.keypoint, config.keypoint),
            (self.attention, config.attention),
        ):
            loss = loss if term is None else loss + weight * term
        return loss

    def figures(self) -> dict[str, float]:
        """What to report."""
        named = {
            "loss_rgb": self.rgb,
            "loss_depth": self.depth,
            "loss_keypoint": self.keypoint,
            "loss_attention": self.attention,
        }
        return {name: term.item() for name, term in named.items() if term is not None}


def loss_terms(
    model: WorldModel,
    rows: Rows,
    *,
    first: Int[Tensor, "b n"],
    keypoints: Keypoints,
    config: LossConfig,
) -> Terms:
    """All terms of one pass, read only where a token was hidden.

    Args:
        model: Its switches decide whether depth is there at all.
        rows: What it sees; the targets are the rows' own frames.
        first: RGB codes of the clips' first frame.
        keypoints: Of every frame of the clips, the first included.
        config: Which terms, and K and gamma.
    """
    features = list(model.features(rows))
    count = rows.controls.shape[1]
    rgb = losses_where_hidden(model, features[RGB], rows, modality=RGB)
    depth = attention = keypoint = None
    if len(features) > 1 and config.depth:
        depth = cross_entropy_loss(
            losses_where_hidden(model, features[DEPTH], rows, modality=DEPTH)
        )
    if config.attention:
        tokens = model.config.tokens_per_frame
        weights = attention_map(keypoints, tokens=tokens, gamma=config.gamma)[:, -count:]
        hidden = fold(rows.hidden[RGB], model.config)
        attention = attention_loss(rgb, fold(weights, model.config)[hidden])
    if config.keypoint:
        keypoint = keypoint_term(model, features[RGB], rows, first=first, keypoints=keypoints)
    return Terms(rgb=cross_entropy_loss(rgb), depth=depth, keypoint=keypoint, attention=attention)


def losses_where_hidden(
    model: WorldModel, features: Float[Tensor, "b t p d"], rows: Rows, *, modality: int
) -> Float[Tensor, "hidden f"]:
    """Cross-entropies of all hidden tokens of a modality, chunk by chunk, in the order of `fold`.

    The backward pass computes a chunk's logits again instead of keeping them all.
    """
    config = model.config
    hidden = fold(rows.hidden[modality], config)
    # Positions of which nothing is hidden have no loss.
    read = hidden.any(dim=-1)
    codes = fold(rows.current[modality], config)[read]
    groups = split_factors(codes, code_bits=config.code_bits, factors=config.factors)

    def chunk_losses(x: Float[Tensor, "q d"], targets: Int[Tensor, "q slots f"]) -> Tensor:
        return token_losses(model.logits(x, modality=modality), targets)

    size = CHUNK // config.slots
    padded = zip(
        fill_chunks(features[read], size=size), fill_chunks(groups, size=size), strict=True
    )
    losses = [checkpoint(chunk_losses, x, y, use_reentrant=False) for x, y in padded]
    joined = torch.cat([loss for loss in losses if isinstance(loss, Tensor)])[: len(groups)]
    return joined[hidden[read]]


def fill_chunks(
    rows: Shaped[Tensor, "rows ..."], *, size: int = CHUNK
) -> tuple[Shaped[Tensor, "chunk ..."], ...]:
    """Split into chunks of one size, the last filled up with zeros."""
    filler = rows.new_zeros(-len(rows) % size, *rows.shape[1:])
    return torch.cat([rows, filler]).split(size)


def keypoint_term(
    model: WorldModel,
    features: Float[Tensor, "b t p d"],
    rows: Rows,
    *,
    first: Int[Tensor, "b n"],
    keypoints: Keypoints,
) -> Float[Tensor, ""]:
    """Eq. 5 on the tokens under keypoints that the model had to predict."""
    count = rows.controls.shape[1]
    cells, valid = keypoints.cells[:, -count:], keypoints.valid[:, -count:]
    hidden = rows.hidden[RGB].gather(2, cells)
    chosen: Bool[Tensor, "b t k"] = valid & hidden
    clip, row, _ = chosen.nonzero(as_tuple=True)
    position, slot = position_of(cells[chosen], model.config)
    chunks = zip(fill_chunks(features[clip, row, position]), fill_chunks(slot), strict=True)
    predicted = torch.cat(
        [expected_codes(model.logits(x, modality=RGB)[range(len(x)), s]) for x, s in chunks]
    )
    # Every keypoint's token in the first frame, repeated for the rows that it is compared with.
    starts = first.gather(1, keypoints.cells[:, 0])
    starts = rearrange(starts, "b k -> b 1 k").expand_as(cells)[chosen]
    predicted = predicted[: len(starts)]
    return keypoint_loss(predicted, code_to_vectors(starts, code_bits=model.config.code_bits))
