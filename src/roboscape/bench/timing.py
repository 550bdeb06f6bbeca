"""Timing: after a warm-up, several times, in turns, and waiting for the device to finish."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from roboscape.bench.record import Better, Figure
from roboscape.core.progress import progress


def seconds_of(work: Callable[[], object], *, device: str) -> float:
    """Time of one call: CUDA's own events on a GPU, the wall clock elsewhere."""
    if torch.device(device).type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    with torch.cuda.device(device):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        first.record()
        work()
        last.record()
        torch.cuda.synchronize()
        return first.elapsed_time(last) / 1e3


def repeated(
    work: Callable[[], object], *, device: str, seconds: float, least: int = 3
) -> list[float]:
    """Times of calls until a budget is spent, at least so many; the first call is not counted."""
    work()
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        times.append(seconds_of(work, device=device))
    return times


def call_often(work: Callable[[], object], calls: int) -> None:
    """Call so many times."""
    for _ in range(calls):
        work()


@dataclass(frozen=True, kw_only=True)
class Work:
    """Something to time in turns with others."""

    call: Callable[[], object]
    repeats: int = 1
    """Calls in a turn; a fast work wants as long a turn as a slow one."""


def in_turns(works: Mapping[str, Work], *, device: str, rounds: int) -> dict[str, list[float]]:
    """Times of a call of every work, round by round, so that all meet the same disturbances.

    A first round warms up and is not counted.
    """

    times: dict[str, list[float]] = {name: [] for name in works}
    with progress((rounds + 1) * len(works), "in turns") as bar:
        for turn in range(rounds + 1):
            for name, work in works.items():
                seconds = seconds_of(partial(call_often, work.call, work.repeats), device=device)
                if turn:
                    times[name].append(seconds / work.repeats)
                bar.update()
    return times


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The best value that a figure could have, and why."""

    value: float
    reason: str


def figure(
    name: str,
    samples: Sequence[float],
    *,
    unit: str,
    better: Better = "lower",
    limit: Limit | None = None,
) -> Figure:
    """A figure out of samples: their median, and how far they spread."""
    return Figure(
        name=name,
        value=statistics.median(samples),
        unit=unit,
        better=better,
        low=min(samples),
        high=max(samples),
        samples=len(samples),
        limit=limit.value if limit else None,
        limited_by=limit.reason if limit else "",
    )


def ratio(
    name: str,
    slow: Sequence[float],
    fast: Sequence[float],
    *,
    limit: Limit | None = None,
) -> Figure:
    """The speed-up of one form over the other: a ratio per round, since drift hits both alike."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return figure(name, ratios, unit="x", better="higher", limit=limit)
