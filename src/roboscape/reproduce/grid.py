"""`roboscape reproduce grid`: the weights of the keypoint losses, one at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from roboscape.reproduce.design import StudyDesign
from roboscape.reproduce.page import Heading, Plot
from roboscape.reproduce.plots import difference_plot
from roboscape.reproduce.report import (
    MEANS,
    contrasts_of,
    means_table,
    method_text,
    write_report,
)
from roboscape.reproduce.results import STEPS
from roboscape.reproduce.setup import DEFAULT, StudyFlags, StudyPlan, finished_study
from roboscape.reproduce.variants import grid_variants
from roboscape.world_model.train import WorldModelRun

NAME = "grid"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Train with other λ₂, λ₃, γ and K than the preset's, and test the differences."""

    study: Annotated[StudyFlags, tyro.conf.arg(name="")] = DEFAULT
    """Data, budget and repetitions."""


def run(config: Grid, *, base: Callable[[], WorldModelRun] | None = None) -> Path:
    """Do the missing runs, and write the page; returns its path."""
    study = finished_study(
        StudyPlan(
            name=NAME,
            flags=config.study,
            variants=grid_variants(),
            # Steps of all cost the same.
            protocols=(STEPS,),
            base=base,
        )
    )
    return report(study, config.study)


def report(study: StudyDesign, flags: StudyFlags) -> Path:
    """Write the page of what is there."""
    found = contrasts_of(study)
    blocks = [
        *method_text(study),
        Heading(MEANS),
        means_table(study),
    ]
    if found:
        caption = "Differences from the preset and their 95 % intervals"
        blocks.append(Plot(name="differences", caption=caption, figure=difference_plot(found)))
    return write_report(
        study,
        name=NAME,
        title="Weights of the keypoint losses",
        blocks=blocks,
        contrasts=found,
        flags=flags,
    )
