"""The machine's peaks, and how close the engine comes to them: `roboscape bench`."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from roboscape.bench.aims import with_aim
from roboscape.bench.models import shape_of
from roboscape.bench.peaks import Peaks, measure_peaks
from roboscape.bench.record import Report, new_report
from roboscape.bench.rollout import Effort, Found, measure_rollout
from roboscape.bench.table import compare, show

log = logging.getLogger(__name__)

Group = Literal["rollout"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What to measure, and how long."""

    preset: str = "small"
    """World model whose shape is measured, by the name of its preset."""
    only: tuple[Group, ...] = ()
    """Groups of figures to measure; all of them where none is named. Peaks are always measured."""
    quick: bool = False
    """About a minute instead of several: fewer samples, a shorter horizon."""
    threads: int = 0
    """CPU threads; 0 takes torch's own choice."""
    device: str = "cpu"
    """`cpu` or `cuda`."""
    output: Path = Path("runs/bench.json")
    """JSON file to write."""
    compare: Path | None = None
    """An earlier run's JSON to show beside this one."""
    read: Path | None = None
    """Measure nothing: show this JSON, or compare it, instead."""

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        if self.threads < 0:
            raise ValueError(f"threads must be 0 or more, got {self.threads}")
        if torch.device(self.device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError("there is no CUDA device here; leave out --device cuda")

    @property
    def effort(self) -> Effort:
        """How long to measure."""
        if self.quick:
            return Effort(rounds=2, horizon=200, seconds=1.0, batches=(8,))
        return Effort(rounds=7, horizon=1000, seconds=5.0, batches=(8, 16))


def run(config: Bench) -> None:
    """Measure or read, show, and compare."""
    old = Report.load(config.compare) if config.compare else None
    report = Report.load(config.read) if config.read else measure(config)
    if not config.read:
        report.save(config.output)
        log.info("wrote %s", config.output)
    sys.stdout.write(show(report))
    if old:
        sys.stdout.write("\n" + compare(old, report))


def measure(config: Bench) -> Report:
    """Peaks, then every group that was asked for."""
    if config.threads:
        torch.set_num_threads(config.threads)
    shape = shape_of(config.preset, branches="rgb")
    settings = {"preset": config.preset, "device": config.device}
    report = new_report(config.device, settings)
    frame = (shape.positions_per_frame, shape.width, shape.mlp_ratio * shape.width)
    peaks = measure_peaks(device=config.device, frame=frame, seconds=0.2 if config.quick else 1.0)
    report.peaks.extend(peaks.figures)
    for name, group in GROUPS.items():
        if name in (config.only or GROUPS):
            found = group(config, peaks)
            report.figures.extend(
                with_aim(figure, config.preset, peaks=peaks) for figure in found.figures
            )
            report.curves.extend(found.curves)
    return report


def rollout(config: Bench, peaks: Peaks) -> Found:
    """Figures of imagined frames."""
    return measure_rollout(
        preset=config.preset, device=config.device, peaks=peaks, effort=config.effort
    )


GROUPS: dict[Group, Callable[[Bench, Peaks], Found]] = {"rollout": rollout}
