"""From clips of tokens to training rows: what is hidden, what is corrupted."""

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from roboscape.tokenizer.codes import join_factors
from roboscape.world_model.embedding import Rows
from roboscape.world_model.model import WorldModel


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
