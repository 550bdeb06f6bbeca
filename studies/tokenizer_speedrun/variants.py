"""The changes that the tokenizer's speed run tries, each against the `lift` preset."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from roboscape.tokenizer.train import TokenizerRun
from studies.tokenizer_speedrun.terms import (
    MakeTerm,
    Term,
    adversarial_term,
    edge_term,
    flicker_term,
    moving_term,
    random_features_term,
    similarity_term,
    with_grain,
)

Look = Callable[[Float[Tensor, "b 3 h w"], int, int], Float[Tensor, "b 3 h w"]]
"""From images, seed and step to what the encoder gets in their place."""


def as_they_are(images: Float[Tensor, "b 3 h w"], _seed: int, _step: int) -> Tensor:
    """The images themselves."""
    return images


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One change."""

    change: str
    """In words."""
    set_up: Callable[[TokenizerRun], TokenizerRun] = lambda run: run
    """What it makes of the baseline's configuration."""
    term: MakeTerm | None = None
    """What it adds to the loss."""
    look: Look = as_they_are
    """What the encoder sees in training."""


def setting(change: str, **sections: Any) -> Variant:
    """A change of numbers; a keyword is a field of the run, or a section with some of its own."""

    def set_up(run: TokenizerRun) -> TokenizerRun:
        fields = {
            name: replace(getattr(run, name), **value) if isinstance(value, dict) else value
            for name, value in sections.items()
        }
        return replace(run, **fields)

    return Variant(change=change, set_up=set_up)


def grain(levels: float) -> Look:
    """Noise of so many of 255 levels, new in every step."""

    def look(images: Tensor, seed: int, step: int) -> Tensor:
        return with_grain(images, levels=levels, seeds=(seed, step, 3))

    return look


VARIANTS: dict[str, Variant] = {
    "baseline": Variant(change="preset `lift`, its average shortened to 33 steps"),
    # The optimiser and its schedule.
    "adamw": setting("AdamW alone, 1e-3", optimizer={"kind": "adamw"}),
    "adamw_double": setting(
        "AdamW alone, 2e-3", optimizer={"kind": "adamw", "learning_rate": 2e-3}
    ),
    "muon_half": setting("Muon's rate .0025", optimizer={"muon_learning_rate": 0.0025}),
    "muon_double": setting("Muon's rate .01", optimizer={"muon_learning_rate": 0.01}),
    "decay_all": setting("the rate falls from the start", optimizer={"decay_fraction": 1.0}),
    "warmup_short": setting("10 steps of warm-up (50)", optimizer={"warmup_steps": 10}),
    "average_none": setting("no averaging", fit={"average_decay": 0.0}),
    "average_long": setting("average over 100 steps", fit={"average_decay": 0.99}),
    "batch_4": setting("4 images a step (8)", batch_size=4),
    "batch_16": setting("16 images a step", batch_size=16),
    # Codes.
    "bits_12": setting("12 bits, 2 groups (18, 3)", model={"code_bits": 12, "code_groups": 2}),
    "bits_24": setting("24 bits, 4 groups", model={"code_bits": 24, "code_groups": 4}),
    "bits_30": setting("30 bits, 5 groups", model={"code_bits": 30, "code_groups": 5}),
    "bits_36": setting("36 bits, 6 groups", model={"code_bits": 36, "code_groups": 6}),
    "groups_2": setting("18 bits in 2 groups", model={"code_groups": 2}),
    "groups_6": setting("18 bits in 6 groups", model={"code_groups": 6}),
    "entropy_none": setting("no entropy term", loss={"entropy": 0.0}),
    "entropy_half": setting("entropy .00025", loss={"entropy": 0.00025}),
    "entropy_double": setting("entropy .001", loss={"entropy": 0.001}),
    "commitment_half": setting("commitment .125", loss={"commitment": 0.125}),
    "commitment_double": setting("commitment .5", loss={"commitment": 0.5}),
    # The reconstruction.
    "squared_only": setting("squared error alone", loss={"absolute": 0.0}),
    "absolute_double": setting("absolute error .6 (.3)", loss={"absolute": 0.6}),
    "absolute_only": setting("absolute error alone", loss={"squared": 0.0, "absolute": 1.0}),
    "edge": Variant(change="+ error of the gradients, .3", term=edge_term(0.3)),
    "similarity": Variant(change="+ structural similarity, .05", term=similarity_term(0.05)),
    "random_features": Variant(
        change="+ features of a random network (no pretrained weights), .05",
        term=random_features_term(0.05),
    ),
    "adversarial": Variant(
        change="+ adversarial (PatchGAN, hinge) after a third of the run, .1",
        term=adversarial_term(0.1, start=1 / 3),
    ),
    "moving": Variant(change="+ pixels in motion count 4 times", term=moving_term(3.0)),
    # Tokens that stand still.
    "flicker": Variant(change="+ vectors at rest stay, 100", term=flicker_term(100.0)),
    "flicker_strong": Variant(change="+ vectors at rest stay, 3000", term=flicker_term(3000.0)),
    "grain": Variant(change="the encoder sees noise of 2 levels", look=grain(2.0)),
    # Shapes.
    "decoder_wider": setting("attention 384 wide (256)", model={"decoder_width": 384}),
    "decoder_deeper": setting("4 attention blocks (2)", model={"decoder_blocks": 4}),
    "decoder_shallower": setting("1 attention block", model={"decoder_blocks": 1}),
    "convolution_narrower": setting("convolutions 64 wide (96)", model={"convolution_width": 64}),
    "convolution_wider": setting("convolutions 128 wide", model={"convolution_width": 128}),
    "convolution_deeper": setting("3 convolution blocks (2)", model={"convolution_blocks": 3}),
    "convolution_shallower": setting("1 convolution block", model={"convolution_blocks": 1}),
    "encoder_wider": setting("encoder 96 wide (64)", model={"encoder_width": 96}),
    "encoder_deeper": setting("2 encoder blocks a size (1)", model={"encoder_blocks": 2}),
    "merge_1": setting("attention over single tokens (2 x 2)", model={"decoder_merge": 1}),
}


def variant_named(name: str) -> Variant:
    """A change, or several joined by `+`.

    Raises:
        ValueError: there is no such change.
    """
    unknown = sorted(set(name.split("+")) - set(VARIANTS))
    if unknown:
        raise ValueError(f"expected changes among {sorted(VARIANTS)}, got {unknown}")
    first, *others = (VARIANTS[part] for part in name.split("+"))
    return reduce(together, others, first)


def together(one: Variant, other: Variant) -> Variant:
    """Both changes, the second after the first."""
    makers = [variant.term for variant in (one, other) if variant.term is not None]

    def make_terms(seed: int) -> Term:
        terms = [make(seed) for make in makers]
        return lambda seen: torch.stack([term(seen) for term in terms]).sum()

    def look(images: Tensor, seed: int, step: int) -> Tensor:
        return other.look(one.look(images, seed, step), seed, step)

    unseen = one.look is as_they_are and other.look is as_they_are
    return Variant(
        change=f"{one.change}; {other.change}",
        set_up=lambda run: other.set_up(one.set_up(run)),
        term=make_terms if makers else None,
        look=as_they_are if unseen else look,
    )
