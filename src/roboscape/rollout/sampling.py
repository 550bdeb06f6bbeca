"""Choosing tokens: temperature, confidence, and MaskGIT's schedule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from roboscape.tokenizer.codes import MISSING, join_factors, split_factors
from roboscape.tokenizer.model import SoftCodes
from roboscape.world_model.losses import mean_codes


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The way in which tokens are chosen while imagining."""

    temperature: float = 0.0
    """0 takes the likeliest token; above, tokens are drawn."""
    refinement_steps: int = 1
    """MaskGIT passes a frame; 1 predicts all tokens at once (Eq. 2)."""


GREEDY = Sampling()
"""The likeliest tokens, one pass a frame."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Tokens chosen from one modality's logits."""

    codes: Int[Tensor, "b n"]
    confidence: Float[Tensor, "b n"]
    """Probability that the model gave the chosen token, at temperature 1."""
    soft: SoftCodes
    """Mean code vectors, and probabilities of the given frame's tokens, at temperature 1."""

    def where(self, chosen: Bool[Tensor, "b n"], other: "Choice") -> "Choice":
        """These tokens where `chosen`, the other ones elsewhere."""
        return Choice(
            codes=torch.where(chosen, self.codes, other.codes),
            confidence=torch.where(chosen, self.confidence, other.confidence),
            soft=SoftCodes(
                vectors=torch.where(chosen.unsqueeze(-1), self.soft.vectors, other.soft.vectors),
                unchanged=torch.where(chosen, self.soft.unchanged, other.soft.unchanged),
            ),
        )


def choose(
    logits: Float[Tensor, "b n f s"],
    *,
    given: Int[Tensor, "b n"],
    code_bits: int,
    temperature: float,
    persistence: float = 0.0,
    generators: Sequence[torch.Generator] = (),
) -> Choice:
    """Draw every token from softmax(logits / temperature); the likeliest at temperature 0.

    Args:
        logits: Of a frame of every world.
        given: Tokens of every world's given frame.
        code_bits: Bits of a token's code.
        temperature: Divides the logits.
        persistence: Probability, in what is believed, that a token is still the given frame's.
        generators: Randomness of every world, on the logits' device; not read at temperature 0.
    """
    logits = logits.float()
    scores = logits
    if temperature > 0:
        # The largest of Gumbel-perturbed logits is a draw from their softmax.
        waits = torch.empty_like(logits)
        for world, generator in zip(waits, generators, strict=True):
            world.exponential_(generator=generator)
        scores = logits / temperature - waits.log()
    groups = scores.argmax(dim=-1)
    kept = split_factors(given.clamp(min=0), code_bits=code_bits, factors=logits.shape[-2])
    both = torch.stack([groups, kept], dim=-1)
    probabilities = logits.softmax(dim=-1)
    chosen, unchanged = probabilities.gather(-1, both).prod(dim=-2).unbind(dim=-1)
    codes = join_factors(groups, code_bits=code_bits)
    soft = SoftCodes(
        vectors=mean_codes(probabilities), unchanged=unchanged.masked_fill(given == MISSING, 0.0)
    )
    if persistence:
        soft = soft.toward(given, persistence, code_bits=code_bits)
        share = persistence * (given != MISSING)
        chosen = torch.lerp(chosen, (codes == given).to(chosen.dtype), share)
    return Choice(codes=codes, confidence=chosen, soft=soft)


def hidden_after(step: int, *, steps: int, tokens: int) -> int:
    """Tokens still hidden after pass `step` of `steps`: MaskGIT's cosine schedule."""
    return 0 if step + 1 == steps else int(tokens * math.cos((step + 1) / steps * math.pi / 2))


def hide_least_confident(
    confidence: Float[Tensor, "b n"], *, hidden: Bool[Tensor, "b n"], count: int
) -> Bool[Tensor, "b n"]:
    """The `count` least confident of the tokens still hidden; what was revealed stays so."""
    ranked = confidence.masked_fill(~hidden, torch.inf).argsort(dim=-1, stable=True)
    return torch.zeros_like(hidden).scatter(1, ranked[:, :count], value=True) & hidden
