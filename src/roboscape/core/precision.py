"""The choice of the number format that is fast here: by a short timed run, never assumed.

Some CPUs multiply bf16 matrices twice as fast as fp32 ones, others 500 times slower, and
convolutions differ from matrix products. So each kind of operation is timed in both formats.
"""

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch.nn import functional as F

from roboscape.core.errors import UserError
from roboscape.core.files import write_json

log = logging.getLogger(__name__)

Format = Literal["fp32", "bf16"]
Precision = Literal["auto", "fp32", "bf16"]
"""A number format, or `auto` for the one that is fast on this machine."""
Kind = Literal["matmul", "convolution"]

FASTER_BY = 1.15
"""bf16 must win by this factor, else fp32's accuracy is kept."""


@dataclass(frozen=True, kw_only=True)
class FormatSpeeds:
    """Measured speed of one kind of operation, in GFLOP/s."""

    fp32_gflops: float
    bf16_gflops: float

    @property
    def choice(self) -> Format:
        """The format to compute in."""
        return "bf16" if self.bf16_gflops > FASTER_BY * self.fp32_gflops else "fp32"


def compute_dtype(
    precision: Precision = "auto", *, kind: Kind = "matmul", device: str = "cpu"
) -> torch.dtype:
    """The format to autocast to for `kind` on this machine, as torch names it."""
    chosen = compute_format(precision, kind=kind, device=device)
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[chosen]


def compute_format(
    precision: Precision = "auto", *, kind: Kind = "matmul", device: str = "cpu"
) -> Format:
    """The format to compute `kind` in on this machine; "auto" asks the probe.

    Raises:
        ValueError: bf16 on a GPU that has none.
    """
    on_gpu = torch.device(device).type == "cuda"
    if precision == "auto" and not on_gpu:
        return announced_choice(kind, threads=torch.get_num_threads())
    supported = not on_gpu or torch.cuda.is_bf16_supported()
    if precision == "bf16" and not supported:
        raise UserError(
            f"this run computes in bf16, which device {device!r} does not offer; use another "
            "device (--device cpu can), or begin a new run with --precision fp32"
        )
    if precision == "auto":
        return "bf16" if supported else "fp32"
    return precision


@cache
def announced_choice(kind: Kind, *, threads: int) -> Format:
    """The probe's choice, logged once."""
    speeds = probe(kind, threads=threads)
    log.info(
        "%s: fp32 %.0f, bf16 %.0f GFLOP/s; computing in %s (override with --precision)",
        kind,
        speeds.fp32_gflops,
        speeds.bf16_gflops,
        speeds.choice,
    )
    return speeds.choice


@cache
def probe(kind: Kind, *, threads: int) -> FormatSpeeds:
    """Time `kind` in both formats; the answer is kept per machine in the user's cache folder."""
    path = Path.home() / ".cache" / "roboscape" / "precision.json"
    key = f"{kind} {threads} threads {machine_name()} torch {torch.__version__}"
    known = read_cache(path)
    if key not in known:
        known[key] = asdict(measure(kind))
        try:
            write_json(path, known)
        except OSError as error:
            log.warning("could not remember the number format probe in %s: %s", path, error)
    return FormatSpeeds(**known[key])


def read_cache(path: Path) -> dict[str, dict[str, float]]:
    """Earlier answers; none where there is no file or it cannot be read as JSON."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError:
        log.warning("%s is not valid JSON; probing again and replacing it", path)
        return {}


def machine_name() -> str:
    """The processor, with the instruction set that torch may use on it."""
    capability = torch.backends.cpu.get_cpu_capability()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        lines = cpu_info.read_text().splitlines()
        flags = [line for line in lines if line.startswith(("model name", "flags"))][:2]
        return f"{capability} {hash_text(' '.join(flags))}"
    return f"{capability} {platform.processor()}"


def hash_text(text: str) -> str:
    """A short stable name for a long text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def measure(kind: Kind) -> FormatSpeeds:
    """Time both formats on a size that a small model uses; about a fifth of a second each."""
    task = {"matmul": matmul_task, "convolution": convolution_task}[kind]
    return FormatSpeeds(
        fp32_gflops=gflops(*task(torch.float32)), bf16_gflops=gflops(*task(torch.bfloat16))
    )


def matmul_task(dtype: torch.dtype) -> tuple[Callable[[], torch.Tensor], float]:
    """A matrix product and its FLOPs."""
    a, b = torch.ones(1024, 256, dtype=dtype), torch.ones(256, 1024, dtype=dtype)
    return lambda: a @ b, 2.0 * 1024 * 256 * 1024


def convolution_task(dtype: torch.dtype) -> tuple[Callable[[], torch.Tensor], float]:
    """A 3x3 convolution and its FLOPs."""
    x = torch.ones(8, 64, 32, 32, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    return lambda: F.conv2d(x, weight, padding=1), 2.0 * 8 * 64 * 64 * 9 * 32 * 32


@torch.no_grad()
def gflops(operation: Callable[[], torch.Tensor], flops: float, *, seconds: float = 0.15) -> float:
    """Best speed over repetitions within a time budget, after one warm-up call."""
    operation()
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        operation()
        now = time.perf_counter()
        best = min(best, now - start)
        if now > end:
            return flops / best / 1e9
