"""The machine's best speeds: matrix products and convolutions by format, memory traffic.

A peak is the fastest of many times at the best of several sizes: a limit, not an average.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from roboscape.bench.record import Figure
from roboscape.bench.timing import Limit, call_often, seconds_of
from roboscape.core.precision import FASTER_BY, Precision
from roboscape.core.progress import progress

SIDES = (256, 512, 1024, 2048, 4096, 8192)
"""Sides of the square matrices whose products look for the peak."""
LARGEST = {"cpu": 2048, "cuda": 8192}
TOO_SLOW_S = 0.5
"""A format whose call takes this long is not measured at a larger size."""
AT_THE_END = ", at the end"
"""Suffix in the name of a peak that was measured once more."""
BLOCK_S = 0.01
"""Shortest time that is measured."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to time, and the operations or bytes that it takes."""

    work: Callable[[], object]
    amount: float


def matmul_task(size: tuple[int, int, int], *, dtype: torch.dtype, device: str) -> Task:
    """A product of two matrices; in int8 as inference would do it."""
    rows, inner, columns = size
    amount = 2.0 * rows * inner * columns
    if dtype != torch.int8:
        a = torch.ones(rows, inner, device=device, dtype=dtype)
        b = torch.ones(inner, columns, device=device, dtype=dtype)
        return Task(work=lambda: a @ b, amount=amount)
    if torch.device(device).type == "cuda":
        x = torch.ones(rows, inner, device=device, dtype=dtype)
        # Stored by columns, which is what integer tensor cores read.
        y = torch.ones(columns, inner, device=device, dtype=dtype).t()
        return Task(work=lambda: torch._int_mm(x, y), amount=amount)
    return Task(work=int8_linear(rows, inner, columns), amount=amount)


def int8_linear(rows: int, inner: int, columns: int) -> Callable[[], Tensor]:
    """The integer linear layer of oneDNN: 8 bits in, fp32 out."""
    x = torch.ones(rows, inner, dtype=torch.uint8)
    weight = torch.ones(columns, inner, dtype=torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    scales, zeros = torch.ones(columns), torch.zeros(columns, dtype=torch.int32)
    inputs = (x, 1.0, 0, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")
    return lambda: torch.ops.onednn.qlinear_pointwise(*inputs)


def convolution_task(channels: int, *, dtype: torch.dtype, device: str) -> Task:
    """A 3x3 convolution as the tokenizer has them, channels last."""
    layout = {"device": device, "dtype": dtype}
    x = torch.ones(8, channels, 32, 32, **layout).to(memory_format=torch.channels_last)
    weight = torch.ones(channels, channels, 3, 3, **layout)
    weight = weight.to(memory_format=torch.channels_last)
    amount = 2.0 * 8 * 32 * 32 * 9 * channels**2
    return Task(work=lambda: F.conv2d(x, weight, padding=1), amount=amount)


def copy_task(*, mebibytes: int, device: str) -> Task:
    """A copy in memory, larger than any cache: every byte is read and written."""
    source = torch.ones(mebibytes * 2**18, device=device)
    target = torch.empty_like(source)
    return Task(work=lambda: target.copy_(source), amount=2.0 * source.nbytes)


def fastest(tasks: Iterable[Callable[[], Task]], *, device: str, seconds: float) -> list[float]:
    """Amounts per second, in units of 1e9, at the best task; each is given so many seconds."""
    best: list[float] = []
    for make in tasks:
        task = make()
        task.work()
        once = seconds_of(task.work, device=device)
        # Calls as short as a clock's own cost, or a GPU's launch, are timed by the dozen.
        calls = max(1, round(BLOCK_S / once))
        taken: list[float] = []
        while not taken or sum(taken) * calls < seconds:
            taken.append(seconds_of(partial(call_often, task.work, calls), device=device) / calls)
        rates = [task.amount / t / 1e9 for t in taken]
        if not best or max(rates) > max(best):
            best = rates
        if once > TOO_SLOW_S:
            break
    return best


def peak(name: str, rates: list[float], *, unit: str) -> Figure:
    """The fastest; all of them are its spread."""
    return Figure(
        name=name,
        value=max(rates),
        unit=unit,
        better="higher",
        low=min(rates),
        high=max(rates),
        samples=len(rates),
    )


FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
CHANNELS = (64, 96, 128)


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """The machine's peaks, and the limits that follow from them."""

    figures: tuple[Figure, ...]
    precision: Precision = "auto"
    """The format that the engine computes in: the asked one, or its own choice."""

    def rate(self, name: str) -> float:
        """Operations or bytes a second."""
        return 1e9 * next(f.value for f in self.figures if f.name == f"peak: {name}")

    @property
    def best_format(self) -> str:
        """The format that limits are counted in: the one asked for, or the fastest."""
        if self.precision != "auto":
            return self.precision
        return max(("fp32", "bf16"), key=lambda name: self.rate(f"matmul {name}"))

    @property
    def best_matmul(self) -> float:
        """FLOPs a second in that format."""
        return self.rate(f"matmul {self.best_format}")

    @property
    def is_bf16_fast(self) -> bool:
        """True if bf16 is faster here, as `core.precision` decides it, and may be used."""
        return self.best_format == "bf16" and self.rate("matmul bf16") > FASTER_BY * self.rate(
            "matmul fp32"
        )

    def seconds(self, flops: float, *, kind: str = "") -> Limit:
        """The least time for so many FLOPs, in one format or the fastest."""
        kind = kind or self.best_format
        least = flops / self.rate(f"matmul {kind}")
        return Limit(value=least, reason=f"{flops / 1e9:.3g} GFLOP at the {kind} matmul peak")

    def speedup(self, flops: float, *, plain_flops: float) -> Limit:
        """The most that a form can gain on the plain one, which computes in fp32 at the peak."""
        work, speed = plain_flops / flops, self.best_matmul / self.rate("matmul fp32")
        return Limit(
            value=work * speed,
            reason=f"{work:.3g} x less work, {speed:.3g} x faster format, both at their peaks",
        )


@torch.no_grad()
def measure_peaks(
    *,
    device: str,
    frame: tuple[int, int, int],
    seconds: float,
    largest: int = 0,
    precision: Precision = "auto",
) -> Peaks:
    """Every format's matrix product (large, and of the size that one frame needs) and convolution.

    Args:
        device: Where.
        frame: Rows, inner size and columns of the product in a model's MLP for one frame.
        seconds: For each size.
        largest: Side of the largest square matrices; 0 takes what the device needs.
        precision: That limits are counted in.
    """
    largest = largest or LARGEST[torch.device(device).type]
    large = [(side, side, side) for side in SIDES if side <= largest]
    plan: dict[str, list[Callable[[], Task]]] = {}
    for name, dtype in FORMATS.items():
        make = partial(matmul_task, dtype=dtype, device=device)
        plan[f"matmul {name}"] = [partial(make, size) for size in (*large, frame)]
        plan[f"matmul {name} of one frame"] = [partial(make, frame)]
        if dtype != torch.int8:
            convolve = partial(convolution_task, dtype=dtype, device=device)
            plan[f"convolution {name}"] = [partial(convolve, count) for count in CHANNELS]
    plan["memory copy"] = [partial(copy_task, mebibytes=256, device=device)]
    found = []
    with progress(len(plan), "peaks") as bar:
        for name, tasks in plan.items():
            rates = fastest(tasks, device=device, seconds=seconds)
            found.append(peak(f"peak: {name}", rates, unit=unit_of(name)))
            bar.update()
    return Peaks(figures=tuple(found), precision=precision)


def unit_of(name: str) -> str:
    """The unit of a peak."""
    if "memory" in name:
        return "GB/s"
    return "GOP/s" if "int8" in name else "GFLOP/s"


@torch.no_grad()
def measure_again(peaks: Peaks, *, device: str, seconds: float) -> Figure:
    """The fastest matrix product once more: whether the machine is still what it was."""
    name, dtype = f"matmul {peaks.best_format}", FORMATS[peaks.best_format]
    sides = [side for side in SIDES if side <= LARGEST[torch.device(device).type]]
    tasks = [partial(matmul_task, (s, s, s), dtype=dtype, device=device) for s in sides]
    rates = fastest(tasks, device=device, seconds=seconds)
    return peak(f"peak: {name}{AT_THE_END}", rates, unit=unit_of(name))
