"""The way in which the threads of a computation wait for each other."""

import os

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
