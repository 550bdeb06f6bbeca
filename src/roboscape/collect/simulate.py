"""Processes that simulate seeds and stage the episodes."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from roboscape.dataset.records import Episode
from roboscape.sources.workers import staged_by_workers

MOST_STAGED = 400
"""A worker waits while its seed lies this far ahead of the first unsaved one (disk space)."""


@runtime_checkable
class Simulator(Protocol):
    """Something that records the episode of a seed."""

    def simulate(self, seed: int) -> Episode:
        """Record the episode; the same seed gives the same episode, bit for bit."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


def simulate_seeds(
    seeds: list[int],
    *,
    make_simulator: Callable[[], Simulator],
    folder: Path,
    workers: int,
    first_unsaved: Any,
) -> Iterator[int]:
    """Yield each seed once its episode is staged, in no particular order.

    `first_unsaved` is a shared integer that the caller advances as it saves what is staged.

    Raises:
        RuntimeError: a worker failed or died; the message names the seed.
    """
    for outcome in staged_by_workers(
        seeds,
        open_work=functools.partial(_simulating, make_simulator),
        folder=folder,
        workers=workers,
        first_unsaved=first_unsaved,
        most_staged=MOST_STAGED,
    ):
        if outcome.error:
            raise RuntimeError(
                f"simulating seed {outcome.number} failed: {outcome.error}; what was collected is "
                f"kept: run the same command again to continue\n{outcome.trace}"
            )
        yield outcome.number


@contextmanager
def _simulating(make_simulator: Callable[[], Simulator]) -> Iterator[Callable[[int], Episode]]:
    """A simulator's `simulate`, while the simulator is open."""
    simulator = make_simulator()
    try:
        yield simulator.simulate
    finally:
        simulator.close()
