"""Processes that simulate seeds and stage the episodes; the parent only watches."""

import multiprocessing
import multiprocessing.connection
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from roboscape.dataset.records import Episode
from roboscape.sources.staging import stage_episode

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


@dataclass(frozen=True, kw_only=True)
class _Report:
    """What a worker tells its parent: a seed that it begins, has staged, or failed on."""

    seed: int
    event: str
    error: str = ""


@dataclass(kw_only=True)
class _Worker:
    """A running process, the parent's end of its pipe, and the seed that it is at."""

    process: BaseProcess
    reports: Connection
    present_seed: int

    def check_exit(self) -> None:
        """Complain when the process, whose pipe has closed, did not end in good order."""
        self.process.join()
        if self.process.exitcode != 0:
            raise RuntimeError(
                f"the worker simulating seed {self.present_seed} died with exit code "
                f"{self.process.exitcode}; what was collected is kept: run the same command again "
                "to continue"
            )


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
    with _running_workers(
        seeds,
        make_simulator=make_simulator,
        folder=folder,
        count=min(workers, len(seeds)),
        first_unsaved=first_unsaved,
    ) as running:
        alive = list(running)
        while alive:
            ready = multiprocessing.connection.wait([worker.reports for worker in alive])
            for worker in [worker for worker in alive if worker.reports in ready]:
                try:
                    report: _Report = worker.reports.recv()
                except EOFError:
                    alive.remove(worker)
                    worker.check_exit()
                    continue
                worker.present_seed = report.seed
                if report.event == "failed":
                    raise RuntimeError(f"simulating seed {report.seed} failed:\n{report.error}")
                if report.event == "staged":
                    yield report.seed


def new_counter() -> Any:
    """A shared integer for `first_unsaved`."""
    return multiprocessing.get_context("spawn").Value("q", 0)


@contextmanager
def _running_workers(
    seeds: list[int],
    *,
    make_simulator: Callable[[], Simulator],
    folder: Path,
    count: int,
    first_unsaved: Any,
) -> Iterator[list[_Worker]]:
    """Start the processes, each with every `count`-th seed; end them whatever happens."""
    context = multiprocessing.get_context("spawn")
    running = []
    try:
        for index in range(count):
            reports, worker_end = context.Pipe(duplex=False)
            process = context.Process(
                target=_work,
                args=(seeds[index::count], make_simulator, folder, worker_end, first_unsaved),
                daemon=True,
            )
            process.start()
            worker_end.close()
            running.append(_Worker(process=process, reports=reports, present_seed=seeds[index]))
        yield running
    finally:
        for worker in running:
            worker.process.terminate()
            worker.process.join()
            worker.reports.close()


def _work(
    seeds: list[int],
    make_simulator: Callable[[], Simulator],
    folder: Path,
    reports: Connection,
    first_unsaved: Any,
) -> None:
    """A worker process: simulate and stage seed after seed."""
    # Ctrl-C reaches every process of the terminal; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    seed = seeds[0]
    try:
        simulator = make_simulator()
        for seed in seeds:
            _wait_for_room(seed, first_unsaved)
            reports.send(_Report(seed=seed, event="begins"))
            stage_episode(folder, simulator.simulate(seed))
            reports.send(_Report(seed=seed, event="staged"))
        simulator.close()
    except BrokenPipeError:
        # The parent was killed. What is staged is kept, and there is nobody to tell.
        return
    except Exception:
        reports.send(_Report(seed=seed, event="failed", error=traceback.format_exc()))
        raise


def _wait_for_room(seed: int, first_unsaved: Any) -> None:
    """Wait while too much lies staged.

    Raises:
        BrokenPipeError: the parent, which would make room, is gone.
    """
    parent = multiprocessing.parent_process()
    while seed >= first_unsaved.value + MOST_STAGED:
        if parent is not None and not parent.is_alive():
            raise BrokenPipeError("the collecting process has ended")
        time.sleep(0.2)
