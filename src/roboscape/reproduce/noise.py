"""`roboscape reproduce noise`: how much of the parts' gain wrong depth and tracks leave.

The paper learns from estimated depth and estimated tracks, and leaves open how their errors reach
the world model. Here true labels are made wrong in known amounts, and tracks are estimated too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from roboscape.annotate.perturb.depth import DepthErrors
from roboscape.annotate.perturb.tracks import TrackErrors
from roboscape.reproduce.design import StudyDesign
from roboscape.reproduce.labels import Labels
from roboscape.reproduce.page import Heading, Paragraph, Plot, Table
from roboscape.reproduce.plots import difference_plot
from roboscape.reproduce.report import (
    MEANS,
    PROTOCOLS,
    Contrast,
    contrasts_of,
    means_table,
    method_text,
    under,
    write_report,
)
from roboscape.reproduce.results import CPU, STEPS
from roboscape.reproduce.setup import DEFAULT, StudyFlags, StudyPlan, finished_study
from roboscape.reproduce.variants import FULL, Variant, table2_variants
from roboscape.world_model.train import WorldModelRun

NAME = "noise"
NO_DEPTH, NO_KEYPOINTS = "no_depth", "only_depth"
"""The models without the parts whose labels are made wrong."""
SHARED = (FULL, NO_DEPTH, NO_KEYPOINTS)
"""Variants of `table2` that this study shares with it."""
SURVIVAL_METRICS = ("psnr", "delta_psnr")
"""Measured of a model without depth as well."""

LABELS: dict[str, Labels] = {
    **{f"flicker_{x:02}": Labels(depth=DepthErrors(flicker=x / 100)) for x in (5, 10, 15)},
    **{f"bias_{x:02}": Labels(depth=DepthErrors(scale=x / 100)) for x in (5, 10, 15)},
    **{f"bent_{x:02}": Labels(depth=DepthErrors(smooth=x / 100)) for x in (5, 10, 15)},
    "tracks_small": Labels(tracks=TrackErrors(swaps=0.02, drift_px=1.0, jitter_px=0.5, lost=0.1)),
    "tracks_medium": Labels(tracks=TrackErrors(swaps=0.1, drift_px=3.0, jitter_px=1.0, lost=0.3)),
    "tracks_large": Labels(tracks=TrackErrors(swaps=0.3, drift_px=8.0, jitter_px=2.0, lost=0.5)),
    "lucas_kanade": Labels(tracker="lucas_kanade"),
}
"""Depth: AbsRel of a factor a frame (flicker), of one a whole episode (bias) and of a field that
varies slowly over the picture (bent), in hundredths. Published estimators have .05 to .15."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Train on wrong depth and tracks, and compare with true ones and with none."""

    study: Annotated[StudyFlags, tyro.conf.arg(name="")] = DEFAULT
    """Data, budget and repetitions."""


def noise_variants() -> tuple[Variant, ...]:
    """The full model on every kind of labels, with the models that do without."""
    shared = [one for one in table2_variants() if one.name in SHARED]
    return (
        *shared,
        *(
            Variant(name=name, what=described(labels), against=FULL, labels=name, step_as=FULL)
            for name, labels in LABELS.items()
        ),
    )


def described(labels: Labels) -> str:
    """Labels in words."""
    if labels.tracker:
        return f"tracks of {labels.tracker}"
    if labels.depth is not None:
        names = {"flicker": "a factor a frame", "scale": "a factor an episode",
                 "smooth": "a slowly varying field"}  # fmt: skip
        parts = [f"depth wrong by {names[k]}, AbsRel {getattr(labels.depth, k):g}"
                 for k in names if getattr(labels.depth, k)]  # fmt: skip
        return "; ".join(parts)
    assert labels.tracks is not None
    t = labels.tracks
    return (
        f"tracks: {t.swaps:g} swapped, drift {t.drift_px:g} px, jitter {t.jitter_px:g} px, "
        f"{t.lost:g} lost"
    )


def run(config: Noise, *, base: Callable[[], WorldModelRun] | None = None) -> Path:
    """Make the labels, do the missing runs, and write the page; returns its path."""
    wanted = set(config.study.only) or set(LABELS)
    study = finished_study(
        StudyPlan(
            name=NAME,
            flags=config.study,
            variants=noise_variants(),
            # A part is gained at equal steps, and its cost counts at equal CPU seconds.
            protocols=(STEPS, CPU),
            # Labels of variants that are not run need not be made.
            labels={name: labels for name, labels in LABELS.items() if name in wanted},
            base=base,
        )
    )
    return report(study, config.study)


def without(variant: str) -> str:
    """The model that does without what a variant's labels get wrong."""
    return NO_DEPTH if LABELS[variant].depth is not None else NO_KEYPOINTS


def report(study: StudyDesign, flags: StudyFlags) -> Path:
    """Write the page of what is there."""
    against_true = contrasts_of(study, pairs=[(name, FULL) for name in LABELS])
    against_none = contrasts_of(study, pairs=[(name, without(name)) for name in LABELS])
    gains = contrasts_of(study, pairs=[(FULL, NO_DEPTH), (FULL, NO_KEYPOINTS)])
    blocks = [
        *method_text(study),
        Heading(MEANS),
        means_table(study),
        Heading("What is left of the gain"),
        Paragraph(
            "Share of the gain of true labels over none that wrong labels leave: 1 where they do "
            "as well as the truth, 0 where they do as well as none, below 0 where they harm. None "
            "means no depth branch for depth, no keypoint terms for tracks. The given frame's "
            "depth has the errors of the training's labels. Where the gain itself is within its "
            "interval of 0 there is no share."
        ),
        survival_table(against_none, gains),
    ]
    for protocol in study.protocols:
        if found := under([*against_true, *against_none], protocol):
            caption = f"Differences and their 95 % intervals, {PROTOCOLS[protocol]}"
            plot = Plot(name=protocol, caption=caption, figure=difference_plot(found))
            blocks.append(plot)
    contrasts = [*gains, *against_true, *against_none]
    return write_report(
        study,
        name=NAME,
        title="Wrong labels: what is left of the gain",
        blocks=blocks,
        contrasts=contrasts,
        flags=flags,
    )


def survival_table(against_none: Sequence[Contrast], gains: Sequence[Contrast]) -> Table:
    """The share of the gain that is left, a row a kind of labels."""
    gain = {(one.against, one.protocol): one for one in gains}
    rows = []
    for one in against_none:
        whole = gain.get((one.against, one.protocol))
        cells = [survival(one, whole, metric) for metric in SURVIVAL_METRICS]
        what = described(LABELS[one.variant])
        rows.append((one.variant, what, PROTOCOLS[one.protocol], *cells))
    header = ("labels", "what", "in common", "of the PSNR gain", "of the ΔPSNR gain")
    return Table(header=header, rows=tuple(rows))


def survival(left: Contrast, gain: Contrast | None, metric: str) -> str:
    """The share of a gain that is left; a dash where there is no gain beyond its interval."""
    whole, part = gain.of(metric) if gain else None, left.of(metric)
    if whole is None or part is None or whole.low <= 0:
        return "–"
    return f"{part.difference / whole.difference:.2f}"
