"""`roboscape reproduce sweep`: model size against amount of data (the paper's Figures 6 and 7)."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from matplotlib.figure import Figure

from roboscape.core.errors import UserError
from roboscape.presets.world_model import large, medium, small
from roboscape.reproduce.design import StudyDesign
from roboscape.reproduce.gpu_plan import plan_text
from roboscape.reproduce.law import PowerLaw, fit_power_law
from roboscape.reproduce.page import Block, Heading, Paragraph, Plot, Table
from roboscape.reproduce.plots import curve_plot
from roboscape.reproduce.report import (
    MEANS,
    all_runs,
    means_table,
    method_text,
    write_report,
)
from roboscape.reproduce.results import CPU, RunResult
from roboscape.reproduce.setup import DEFAULT, StudyFlags, StudyPlan, finished_study
from roboscape.reproduce.variants import FULL, Change, Variant
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.train import WorldModelRun

NAME = "sweep"
Sizes = Literal["tiny", "paper"]
TINY = {
    "narrow": {"num_layers": 2, "width": 64, "heads": 2, "control_field": 128},
    "lift": {},
    "wide": {"num_layers": 6, "width": 192, "heads": 6, "control_field": 384},
}
"""Sizes around the preset's, by what differs from it."""
REFERENCE = "lift"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Train three sizes on three amounts of data, and fit a law to their losses."""

    study: Annotated[StudyFlags, tyro.conf.arg(name="")] = DEFAULT
    """Data, budget and repetitions."""
    shares: tuple[float, ...] = (1.0, 0.25, 0.0625)
    """Shares of the training episodes."""
    budgets: tuple[float, ...] = (1.0,)
    """Computes, as multiples of the study's budget."""
    sizes: Sizes = "tiny"
    """`tiny`: around the preset `lift`; `paper`: the presets `small`, `medium` and `large`, for
    GPUs."""
    plan_gpu: bool = False
    """Train nothing; print the sweep at the paper's sizes as commands, with estimated costs."""

    def __post_init__(self) -> None:
        """Refuse amounts that are none."""
        if not all(0 < share <= 1 for share in self.shares) or not self.shares:
            raise UserError(f"--shares must lie in (0, 1], got {self.shares}")
        if not self.budgets or min(self.budgets) <= 0:
            raise UserError(f"--budgets must be above 0, got {self.budgets}")


def shapes(sizes: Sizes) -> dict[str, Change]:
    """The changes of a run that make it one size."""
    if sizes == "paper":
        made = {"small": small, "medium": medium, "large": large}
        return {name: paper_shape(make().model) for name, make in made.items()}
    return {name: tiny_shape(changes) for name, changes in TINY.items()}


def tiny_shape(changes: dict[str, int]) -> Change:
    """A change of the model's numbers."""
    return lambda run: replace(run, model=replace(run.model, **changes))


def paper_shape(shape: WorldModelConfig) -> Change:
    """The paper's size in the place of the preset's; all else of the recipe stays."""

    def change(run: WorldModelRun) -> WorldModelRun:
        model = replace(
            run.model, num_layers=shape.num_layers, width=shape.width, heads=shape.heads, patch=1
        )
        return replace(run, model=model)

    return change


def sweep_variants(config: Sweep) -> tuple[Variant, ...]:
    """Every size with every amount of data and compute, the unit of cost first."""
    known = shapes(config.sizes)
    first = REFERENCE if REFERENCE in known else next(iter(known))
    names = sorted(known, key=lambda name: name != first)
    return tuple(
        Variant(
            name=cell_name(name, share, budget),
            what=f"size {name}, {share:g} of the episodes, {budget:g} x the budget",
            change=known[name],
            data_share=share,
            budget=budget,
            step_as=cell_name(name, config.shares[0], config.budgets[0]),
        )
        for budget in config.budgets
        for share in config.shares
        for name in names
    )


def cell_name(size: str, share: float, budget: float) -> str:
    """The name of one cell of the sweep; the preset itself is the full model of all studies."""
    if (size, share, budget) == (REFERENCE, 1.0, 1.0):
        return FULL
    return f"{size}_data{share:g}" + (f"_budget{budget:g}" if budget != 1 else "")


def run(config: Sweep, *, base: Callable[[], WorldModelRun] | None = None) -> Path | None:
    """Do the missing runs and write the page, or print the plan; returns the page's path."""
    if config.plan_gpu:
        sys.stdout.write(plan_text(shares=config.shares, flags=config.study) + "\n")
        return None
    study = finished_study(
        StudyPlan(
            name=NAME,
            flags=config.study,
            variants=sweep_variants(config),
            protocols=(CPU,),
            base=base,
        )
    )
    return report(study, config.study)


def report(study: StudyDesign, flags: StudyFlags) -> Path:
    """Write the page of what is there."""
    runs = [one for found in all_runs(study) for one in found.values()]
    blocks: list[Block] = [
        *method_text(study),
        Heading(MEANS),
        means_table(study),
        Heading("The law"),
        Paragraph(
            "Validation loss: cross-entropy of the next RGB frame after true ones, nats a token. "
            "A power law without a floor, least squares of the logarithm over all runs: a slope "
            "within what was swept, at this compute, nothing beyond. Intervals: 95 %, t."
        ),
        *law_blocks(runs),
        cells_table(study),
        Plot(name="loss", caption="Validation loss by data", figure=loss_figure(study)),
    ]
    return write_report(
        study,
        name=NAME,
        title="Size and data at a fixed compute",
        blocks=blocks,
        contrasts=(),
        flags=flags,
    )


def law_blocks(runs: list[RunResult]) -> list[Block]:
    """The fitted law of all runs, and that of each size alone, where there are enough runs."""
    lines = []
    try:
        lines.append(law_of(runs).text())
    except UserError as error:
        lines.append(f"No law: {error}.")
    for parameters in sorted({one.parameters for one in runs}):
        of_size = [one for one in runs if one.parameters == parameters]
        try:
            lines.append(f"{parameters / 1e6:.2f}M parameters alone: {law_of(of_size).text()}")
        except UserError:
            continue
    return [Paragraph(line) for line in lines]


def law_of(runs: list[RunResult]) -> PowerLaw:
    """The law of the RGB loss in parameters, frames and, of several computes, steps."""
    several = len({(one.parameters, one.steps) for one in runs}) > len(
        {one.parameters for one in runs}
    )
    quantities = {
        "parameters": np.array([float(one.parameters) for one in runs]),
        "frames": np.array([float(one.frames) for one in runs]),
    }
    if several:
        # At one compute, steps follow from the size.
        quantities["steps"] = np.array([float(one.steps) for one in runs])
    return fit_power_law(np.array([one.losses["rgb_loss"] for one in runs]), **quantities)


def cells_table(study: StudyDesign) -> Table:
    """Losses of every cell."""
    rows = []
    for found in all_runs(study):
        runs = list(found.values())
        losses = [one.losses["rgb_loss"] for one in runs]
        sd = f" ± {np.std(losses, ddof=1):.3f}" if len(losses) > 1 else ""
        rows.append(
            (
                runs[0].variant,
                f"{runs[0].parameters / 1e6:.2f}M",
                f"{runs[0].frames}",
                f"{runs[0].steps}",
                f"{len(runs)}",
                f"{np.mean(losses):.3f}{sd}",
            )
        )
    header = ("cell", "parameters", "frames", "steps", "seeds", "RGB loss")
    return Table(header=header, rows=tuple(rows))


def loss_figure(study: StudyDesign) -> Figure:
    """Loss over frames, a curve a size."""
    series: dict[str, tuple[list[float], list[float], list[float]]] = {}
    for found in sorted(all_runs(study), key=lambda runs: next(iter(runs.values())).frames):
        runs = list(found.values())
        losses = [one.losses["rgb_loss"] for one in runs]
        x, mean, sd = series.setdefault(
            f"{runs[0].parameters / 1e6:.2f}M, {runs[0].steps} steps", ([], [], [])
        )
        x.append(float(runs[0].frames))
        mean.append(float(np.mean(losses)))
        sd.append(float(np.std(losses, ddof=1)) if len(losses) > 1 else 0.0)
    return curve_plot(
        series, x_title="frames of training episodes", y_title="RGB loss, nats a token"
    )
