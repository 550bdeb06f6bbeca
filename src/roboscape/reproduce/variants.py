"""The variants of a study: each is one change of the same training."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from roboscape.world_model.train import WorldModelRun

Change = Callable[[WorldModelRun], WorldModelRun]

DEPTH, INJECTION = "depth", "injection"
CONSISTENCY, ATTENTION = "consistency", "attention"
PARTS = (DEPTH, INJECTION, CONSISTENCY, ATTENTION)
"""The physical parts: the depth branch (Eq. 2 and 4), the injection of its features into RGB
(Eq. 3), keypoint consistency (Eq. 5) and keypoint attention (Eq. 7)."""
TRUE_LABELS = "true"
"""Depth and tracks as the simulator recorded them."""
FULL, NONE = "full", "none"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One training of a study."""

    name: str
    what: str
    """In words, for the tables."""
    against: str = ""
    """Name of the variant that it is compared with; empty: the variant is a reference."""
    change: Change = lambda run: run
    """Of the base run."""
    labels: str = TRUE_LABELS
    """Name of the depth and tracks that it learns from."""
    data_share: float = 1.0
    """Share of the training episodes, from the first, that it learns from."""
    budget: float = 1.0
    """CPU seconds, as a multiple of the study's."""
    step_as: str = ""
    """Name of the variant whose step costs the same, where it need not be timed."""


def setting(**changes: Any) -> Change:
    """A change of settings; each is looked up in the run, or in the part of it that has it.

    Raises:
        ValueError: at its application, where a run has no setting of that name.
    """

    def apply(run: WorldModelRun) -> WorldModelRun:
        for name, value in changes.items():
            run = with_setting(run, name, value)
        return run

    return apply


def with_setting(run: WorldModelRun, name: str, value: Any) -> WorldModelRun:
    """The run with one setting changed."""
    if name in {f.name for f in fields(run)}:
        return replace(run, **{name: value})
    for part in ("model", "masking", "loss", "optimizer", "fit"):
        content = getattr(run, part)
        if name in {f.name for f in fields(content)}:
            return replace(run, **{part: replace(content, **{name: value})})
    raise ValueError(f"a run has no setting `{name}`")


def with_parts(parts: Iterable[str]) -> Change:
    """A change that leaves these physical parts as they are and turns all others off.

    Raises:
        ValueError: an unknown part, or injection without depth.
    """
    kept = frozenset(parts)
    if not kept <= set(PARTS) or (INJECTION in kept and DEPTH not in kept):
        raise ValueError(
            f"expected some of {PARTS}, injection with depth alone; got {sorted(kept)}"
        )

    def apply(run: WorldModelRun) -> WorldModelRun:
        model = replace(
            run.model,
            branches="both" if DEPTH in kept else "rgb",
            inject_depth=INJECTION in kept,
        )
        loss = replace(
            run.loss,
            depth=run.loss.depth if DEPTH in kept else 0.0,
            keypoint=run.loss.keypoint if CONSISTENCY in kept else 0.0,
            attention=run.loss.attention if ATTENTION in kept else 0.0,
        )
        return replace(run, model=model, loss=loss)

    return apply


def of_parts(name: str, what: str, *parts: str, against: str = "") -> Variant:
    """A variant that has these physical parts and no others."""
    return Variant(name=name, what=what, against=against, change=with_parts(parts))


def table2_variants() -> tuple[Variant, ...]:
    """Table 2 and its complements: each part off alone, all off, each on alone.

    Without Eq. 7, RGB tokens weigh less beside depth tokens as well. `flat_attention` keeps that
    weight and takes the keypoints alone out (gamma = 1), so that the two can be distinguished.
    """
    return (
        of_parts(FULL, "all parts", *PARTS),
        of_parts("no_depth", "no depth branch", CONSISTENCY, ATTENTION, against=FULL),
        of_parts(
            "no_injection",
            "depth branch, not injected (Eq. 3 off)",
            DEPTH,
            CONSISTENCY,
            ATTENTION,
            against=FULL,
        ),
        of_parts(
            "no_consistency",
            "no keypoint consistency (Eq. 5 off)",
            DEPTH,
            INJECTION,
            ATTENTION,
            against=FULL,
        ),
        of_parts(
            "no_attention",
            "no keypoint attention (Eq. 7 off)",
            DEPTH,
            INJECTION,
            CONSISTENCY,
            against=FULL,
        ),
        Variant(
            name="flat_attention",
            what="attention loss without keypoints (γ = 1)",
            against=FULL,
            change=setting(gamma=1.0),
            step_as=FULL,
        ),
        of_parts(NONE, "no part", against=FULL),
        of_parts("only_depth", "depth branch and injection alone", DEPTH, INJECTION, against=NONE),
        of_parts("only_depth_branch", "depth branch alone, not injected", DEPTH, against=NONE),
        of_parts("only_consistency", "keypoint consistency alone", CONSISTENCY, against=NONE),
        of_parts("only_attention", "keypoint attention alone", ATTENTION, against=NONE),
    )


def grid_variants() -> tuple[Variant, ...]:
    """Loss weights one at a time around the preset's: lambda_2, lambda_3, gamma and K."""
    axes: dict[str, tuple[str, tuple[float, ...]]] = {
        "keypoint": ("λ₂", (0.0, 0.1, 1.0)),
        "attention": ("λ₃", (0.0, 0.3, 3.0)),
        "gamma": ("γ", (1.0, 2.0, 10.0, 20.0)),
        "keypoints": ("K", (16, 32, 128, 256)),
    }
    found = [Variant(name=FULL, what="the preset: λ₂ = .01, λ₃ = 1, γ = 5, K = 64")]
    for name, (symbol, values) in axes.items():
        found += [
            Variant(
                name=f"{name}_{value:g}",
                what=f"{symbol} = {value:g}",
                against=FULL,
                change=setting(**{name: int(value) if name == "keypoints" else value}),
                step_as=FULL,
            )
            for value in values
        ]
    return tuple(found)
