"""`roboscape reproduce table2`: what each physical part of the paper is worth (its Table 2)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from roboscape.reproduce.design import StudyDesign
from roboscape.reproduce.page import Block, Heading, Paragraph, Plot, Table
from roboscape.reproduce.plots import difference_plot
from roboscape.reproduce.report import (
    MEANS,
    PROTOCOLS,
    SIGNIFICANT,
    Contrast,
    contrasts_of,
    means_table,
    method_text,
    under,
    write_report,
)
from roboscape.reproduce.setup import DEFAULT, StudyFlags, StudyPlan, finished_study
from roboscape.reproduce.variants import FULL, table2_variants
from roboscape.world_model.train import WorldModelRun

NAME = "table2"
PAPER = {
    "no_depth": {"psnr": 21.95 - 21.85, "abs_rel": 0.3921 - 0.36, "delta1": 0.5788 - 0.6214,
                 "delta_psnr": 3.486 - 3.3435},
    "only_depth": {"psnr": 21.71 - 21.85, "abs_rel": 0.3417 - 0.36, "delta1": 0.6497 - 0.6214,
                   "delta_psnr": 2.946 - 3.3435},
    "none": {"psnr": 21.49 - 21.85, "abs_rel": 0.3565 - 0.36, "delta1": 0.6248 - 0.6214,
             "delta_psnr": 1.987 - 3.3435},
}  # fmt: skip
"""Differences from the full model in the paper's ablation: one run each, on AgiBot-World. Its
keypoints are consistency and attention together, so that without them depth alone is left."""


@dataclass(frozen=True, kw_only=True)
class Table2:
    """Train the world model with and without each physical part, and test the differences."""

    study: Annotated[StudyFlags, tyro.conf.arg(name="")] = DEFAULT
    """Data, budget and repetitions."""


def run(config: Table2, *, base: Callable[[], WorldModelRun] | None = None) -> Path:
    """Do the missing runs, and write the page; returns its path."""
    study = finished_study(
        StudyPlan(name=NAME, flags=config.study, variants=table2_variants(), base=base)
    )
    return report(study, config.study)


def report(study: StudyDesign, flags: StudyFlags) -> Path:
    """Write the page of what is there."""
    pairs = [(one.name, one.against) for one in study.variants if one.against]
    # The paper takes both keypoint terms out at once.
    contrasts = contrasts_of(study, pairs=[*pairs, ("only_depth", FULL)])
    blocks = [*method_text(study), Heading(MEANS), means_table(study)]
    for protocol in study.protocols:
        if found := under(contrasts, protocol):
            caption = f"Differences and their 95 % intervals, {PROTOCOLS[protocol]}"
            figure = difference_plot(found)
            blocks.append(Plot(name=protocol, caption=caption, figure=figure))
    blocks += [Heading("The paper's signs"), paper_text(), paper_table(contrasts)]
    return write_report(
        study,
        name=NAME,
        title="Is it the physics? Table 2 of the paper, repeated",
        blocks=blocks,
        contrasts=contrasts,
        flags=flags,
    )


def paper_text() -> Block:
    """The explanation of the table of signs."""
    return Paragraph(
        "The paper reports one run of each, on other data and with far more compute, so only "
        "signs can be compared: the change of a metric when a part is taken out of the full model. "
        "A sign of ours counts where its corrected t-test over seeds is below "
        f"{SIGNIFICANT:g}."
    )


def paper_table(contrasts: list[Contrast]) -> Table:
    """The paper's differences beside those measured here."""
    rows = []
    titles = {"psnr": "PSNR", "abs_rel": "AbsRel", "delta1": "δ₁", "delta_psnr": "ΔPSNR"}
    for one in contrasts:
        if one.against != FULL:
            continue
        known = PAPER.get(one.variant, {})
        for metric, title in titles.items():
            found = one.of(metric)
            if metric not in known or found is None:
                continue
            ours = f"{found.difference:+.3f}"
            agrees = "same" if found.difference * known[metric] > 0 else "opposite"
            tested = found.t_holm is not None and found.t_holm < SIGNIFICANT
            rows.append(
                (one.variant, PROTOCOLS[one.protocol], title, f"{known[metric]:+.3f}", ours,
                 f"{agrees} sign" if tested else "open")
            )  # fmt: skip
    header = ("taken out", "protocol", "metric", "paper", "here", "sign")
    return Table(header=header, rows=tuple(rows))
