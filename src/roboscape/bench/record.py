"""The results of a benchmark: the machine, its peaks, figures beside their limits; kept as JSON."""

import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch

from roboscape.core.config import config_from_dict
from roboscape.core.files import read_json, write_json
from roboscape.core.precision import machine_name
from roboscape.core.runs import describe_machine, git

Better = Literal["lower", "higher"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine of some figures; figures of different machines cannot be compared."""

    name: str
    """Processor with its instruction set, or the GPU; equal names mean equal hardware."""
    description: str
    """The same for people."""
    threads: int
    torch: str
    load: float
    """Processes that wanted a core before the benchmark began, a mean over the last minute."""

    @property
    def identity(self) -> tuple[str, int, str]:
        """The properties that must be equal for ratios to mean something."""
        return self.name, self.threads, self.torch


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number, beside the best that this machine could do."""

    name: str
    value: float
    """Median over the samples."""
    unit: str
    better: Better
    low: float
    high: float
    """Smallest and largest sample."""
    samples: int
    limit: float | None = None
    """The value at this machine's measured peaks, in the same unit; none where there is none."""
    limited_by: str = ""
    """What the limit comes from."""
    aim: float | None = None
    """What the project wants on a machine like this one."""

    @property
    def share(self) -> float | None:
        """The reached share of the limit; 1 is all of it."""
        if not self.limit or not self.value:
            return None
        return self.limit / self.value if self.better == "lower" else self.value / self.limit


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A cost along a rollout."""

    name: str
    unit: str
    frames: tuple[int, ...]
    """First frame of every stretch."""
    values: tuple[float, ...]
    """Median over the stretch."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that one run of the benchmark found."""

    machine: Machine
    settings: dict[str, str]
    """What was asked for; figures of other settings cannot be compared."""
    commit: str
    peaks: list[Figure] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def all_figures(self) -> dict[str, Figure]:
        """Peaks and figures by their names."""
        return {figure.name: figure for figure in [*self.peaks, *self.figures]}

    def save(self, path: Path) -> None:
        """Write JSON, whole or not at all."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Report":
        """Read what `save` wrote; anything else is a ValueError that names the file."""
        return config_from_dict(cls, read_json(path), where=str(path))


def this_machine(device: str) -> Machine:
    """The machine that this process runs on."""
    cuda = torch.device(device).type == "cuda"
    # Fewer than the machine has, where the process is confined to some.
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return Machine(
        name=torch.cuda.get_device_name(device) if cuda else f"{machine_name()}, {cores} cores",
        description=f"{describe_machine()}, Python {platform.python_version()}",
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        load=os.getloadavg()[0],
    )


def new_report(device: str, settings: dict[str, str]) -> Report:
    """A report without figures yet."""
    return Report(machine=this_machine(device), settings=settings, commit=git("rev-parse", "HEAD"))
