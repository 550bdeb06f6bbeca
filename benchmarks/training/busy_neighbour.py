"""Training steps beside a busy program, with and without the commands' setting for waiting threads.

    python benchmarks/training/busy_neighbour.py            # a minute; two threads or more

Each measurement is a fresh process, for the setting is read when torch is loaded. The neighbours
are processes that compute without pause, one by default.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import tyro

from roboscape.core.threads import WAITING

STEPS = """
import sys, time, torch
from roboscape.bench.training_child import Task, learn, make_ours
threads, seconds = int(sys.argv[1]), float(sys.argv[2])
torch.set_num_threads(threads)
task = Task(form="ours", objective="all terms", preset="lift", clips=1, steps=1, threads=threads,
            device="cpu", precision="fp32")
model, loss_of = make_ours(task)
learn(loss_of, [])
start, steps = time.perf_counter(), 0
while time.perf_counter() < start + seconds or steps < 2:
    learn(loss_of, [])
    steps += 1
print(steps / (time.perf_counter() - start))
"""


@dataclass(frozen=True, kw_only=True)
class BusyNeighbour:
    """What to measure."""

    threads: int = os.cpu_count() or 2
    """Of the training."""
    neighbours: int = 1
    """Busy processes beside it."""
    seconds: float = 4.0
    """Of each measurement."""
    rounds: int = 3
    """Measurements of each kind, in turns."""


def steps_per_second(config: BusyNeighbour, *, setting: dict[str, str]) -> float:
    """Forward and backward passes a second of a fresh process."""
    others = {name: value for name, value in os.environ.items() if name not in WAITING}
    answer = subprocess.run(
        [sys.executable, "-c", STEPS, str(config.threads), str(config.seconds)],
        env=others | setting,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(answer.stdout)


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many processes that compute without pause."""
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def main(config: BusyNeighbour) -> None:
    """Measure in turns and print medians, and how many times faster the setting makes it."""
    settings = {"torch's own": {}, "roboscape's": WAITING}
    found: dict[tuple[str, int], list[float]] = {}
    print(
        f"{config.threads} threads; processes that wanted a core before: {os.getloadavg()[0]:.1f}"
    )
    for _ in range(config.rounds):
        for count in (0, config.neighbours):
            with neighbours(count):
                for name, setting in settings.items():
                    value = steps_per_second(config, setting=setting)
                    found.setdefault((name, count), []).append(value)
    print("steps a second, median (smallest to largest)")
    for (name, count), values in found.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"  {name:<12} {count} busy neighbours: {median(values):6.2f}  ({spread})")
    for count in (0, config.neighbours):
        ours, plain = (found[name, count] for name in ("roboscape's", "torch's own"))
        ratios = [a / b for a, b in zip(ours, plain, strict=True)]
        print(f"  ratio with {count} busy neighbours: {median(ratios):.2f}")


if __name__ == "__main__":
    main(tyro.cli(BusyNeighbour))
