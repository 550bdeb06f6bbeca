"""The way in which the threads of a computation wait for each other."""

import os
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "4000"}
"""A waiting thread checks so many times, some microseconds, then sleeps (`docs/decisions.md`)."""


def wait_without_spinning() -> None:
    """Let OpenMP threads sleep while they wait, in this process and its children.

    To be called before torch is imported: the library reads the setting once, when it is loaded.

    By default they keep their cores busy for milliseconds at every barrier. Where another program
    wants a core too, the last thread of each barrier then waits for the threads that wait for it,
    and a training on two cores becomes many times slower
    (`benchmarks/training/busy_neighbour.py`). Nothing is changed where the user has set either
    variable.
    """
    if not WAITING.keys() & os.environ.keys():
        os.environ.update(WAITING)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Do a work with so many of torch's threads; the number of before returns.

    Small matrix products that two threads share out can end in other last bits than one's.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class FastestThreads:
    """The number of torch's threads that a repeated work of one kind is fastest with, found on it.

    A small work can be slower with two threads than with one, many times so where another program
    keeps a core busy or outside a program's first thread (`docs/decisions.md`), a large one faster;
    so the first times of every kind are measured.
    """

    def __init__(self, counts: tuple[int, ...], *, trials: int = 4) -> None:
        """Choose among some counts, after each was tried so often in turns."""
        self._counts, self._trials = tuple(dict.fromkeys(counts)), trials
        self._seconds: dict[Hashable, dict[int, list[float]]] = {}

    @classmethod
    def one_or_all(cls) -> "FastestThreads":
        """One thread, or as many as torch has now."""
        import torch

        return cls((1, torch.get_num_threads()))

    @contextmanager
    def of(self, kind: Hashable) -> Iterator[None]:
        """Do a work of this kind with the number of threads that is due; that of before returns."""
        tried = self._seconds.setdefault(kind, {count: [] for count in self._counts})
        count = self.choice(kind)
        if count is None:
            count = min(self._counts, key=lambda one: len(tried[one]))
        with threads(count):
            start_s = time.perf_counter()
            yield
            if len(tried[count]) < self._trials:
                tried[count].append(time.perf_counter() - start_s)

    def choice(self, kind: Hashable) -> int | None:
        """The count for works of this kind; None until all counts were tried."""
        tried = self._seconds.get(kind, {})
        if len(self._counts) == 1:
            return self._counts[0]
        if not tried or any(len(times) < self._trials for times in tried.values()):
            return None
        # Other load makes single works slow, and none fast.
        return min(self._counts, key=lambda one: min(tried[one]))
