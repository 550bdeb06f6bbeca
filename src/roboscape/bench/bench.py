"""The machine's peaks, and how close the engine comes to them: `roboscape bench`."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from roboscape.bench.aims import with_aim
from roboscape.bench.loading import measure_loading
from roboscape.bench.models import shape_of
from roboscape.bench.peaks import Peaks, measure_again, measure_peaks
from roboscape.bench.record import Report, new_report
from roboscape.bench.rollout import Effort, Found, measure_rollout
from roboscape.bench.table import compare, show
from roboscape.bench.tokenizer import measure_tokenizer
from roboscape.bench.training import Steps, measure_training
from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.core.precision import Precision

log = logging.getLogger(__name__)

Group = Literal["rollout", "training", "loading", "tokenizer"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The settings of a benchmark: the parts to measure, and for how long."""

    preset: str = "small"
    """World model whose shape is measured, by the name of its preset."""
    only: tuple[Group, ...] = ()
    """Groups of figures to measure; all of them where none is named. Peaks are always measured."""
    quick: bool = False
    """A few minutes instead of ten or more: fewer samples, a shorter horizon, fewer forms."""
    threads: int = 0
    """CPU threads; 0 takes torch's own choice."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    precision: Precision = "auto"
    """Number format that rollouts and trainings compute in; "auto" times both."""
    clips: int = 1
    """Clips of a training step."""
    output: Path = Path("runs/bench.json")
    """JSON file to write."""
    compare: Path | None = None
    """An earlier run's JSON to show beside this one."""
    read: Path | None = None
    """Measure nothing: show this JSON, or compare it, instead."""

    def __post_init__(self) -> None:
        """Raise `UserError` for numbers out of range."""
        if self.threads < 0 or self.clips < 1:
            raise UserError(
                f"expected threads >= 0 and clips >= 1, got {self.threads} and {self.clips}"
            )

    @property
    def seconds(self) -> float:
        """For a figure that is measured on its own."""
        return 1.0 if self.quick else 5.0


def run(config: Bench) -> None:
    """Measure or read, show, and compare."""
    old = Report.load(config.compare) if config.compare else None
    report = Report.load(config.read) if config.read else measure(config)
    sys.stdout.write(show(report))
    if old:
        sys.stdout.write("\n" + compare(old, report))


def measure(config: Bench) -> Report:
    """Peaks, then every group that was asked for; written down after each."""
    config = replace(config, device=resolve_device(config.device))
    if config.threads:
        torch.set_num_threads(config.threads)
    shape = shape_of(config.preset, branches="rgb")
    settings = {
        "preset": config.preset,
        "device": config.device,
        "precision": config.precision,
        "clips a step": str(config.clips),
    }
    report = new_report(config.device, settings)
    peaks = measure_peaks(
        device=config.device,
        frame=(shape.patches_per_frame, shape.width, shape.mlp_ratio * shape.width),
        seconds=config.seconds / 5,
        precision=config.precision,
    )
    report.peaks.extend(peaks.figures)
    for name, group in GROUPS.items():
        if name in (config.only or GROUPS):
            found = group(config, peaks)
            report.figures.extend(
                with_aim(figure, config.preset, peaks=peaks) for figure in found.figures
            )
            report.curves.extend(found.curves)
            report.save(config.output)
    report.peaks.append(measure_again(peaks, device=config.device, seconds=config.seconds / 5))
    report.save(config.output)
    log.info("wrote %s", config.output)
    return report


def rollout(config: Bench, peaks: Peaks) -> Found:
    """Figures of imagined frames."""
    effort = Effort(
        rounds=3 if config.quick else 7,
        horizon=200 if config.quick else 1000,
        seconds=config.seconds,
        batches=(8,) if config.quick else (8, 16),
    )
    return measure_rollout(preset=config.preset, device=config.device, peaks=peaks, effort=effort)


def training(config: Bench, peaks: Peaks) -> Found:
    """Figures of training steps."""
    effort = Steps(
        rounds=3,
        steps=1 if config.quick else 3,
        clips=config.clips,
        precision=config.precision,
        only_compared=config.quick,
    )
    figures = measure_training(
        preset=config.preset, device=config.device, peaks=peaks, effort=effort
    )
    return Found(figures=figures)


def loading(config: Bench, peaks: Peaks) -> Found:
    """Figures of the token store."""
    return Found(
        figures=measure_loading(
            preset=config.preset,
            peaks=peaks,
            seconds=config.seconds,
            episodes=50 if config.quick else 400,
        )
    )


def tokenizer(config: Bench, peaks: Peaks) -> Found:
    """Figures of the tokenizer."""
    figures = measure_tokenizer(
        preset="lift", device=config.device, peaks=peaks, seconds=config.seconds
    )
    return Found(figures=figures)


GROUPS: dict[Group, Callable[[Bench, Peaks], Found]] = {
    "rollout": rollout,
    "training": training,
    "loading": loading,
    "tokenizer": tokenizer,
}
