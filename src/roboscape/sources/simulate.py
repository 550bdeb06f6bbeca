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
from pathlib import Path
from typing import Any, Protocol

from roboscape.dataset.records import Episode
from roboscape.sources.staging import stage_episode

MOST_STAGED = 400
"""A worker waits while its seed lies this far ahead of the first unsaved one (disk space)."""


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


@dataclass(frozen=True, kw_only=True)
class _Worker:
    """A running process and the parent's end of its pipe."""

    process: Any
    reports: Connection


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
        present_seed = {worker.reports: -1 for worker in running}
        open_pipes = dict.fromkeys(present_seed)
        while open_pipes:
            for pipe in multiprocessing.connection.wait(list(open_pipes)):
                try:
                    report: _Report = pipe.recv()  # type: ignore[union-attr]
                except EOFError:
                    del open_pipes[pipe]
                    _check_exit(running, pipe, present_seed[pipe])
                    continue
                present_seed[pipe] = report.seed
                if report.event == "failed":
                    raise RuntimeError(f"simulating seed {report.seed} failed:\n{report.error}")
                if report.event == "staged":
                    yield report.seed


def new_counter() -> Any:
    """A shared integer for `first_unsaved`."""
    return multiprocessing.get_context("spawn").Value("q", 0)


def _check_exit(running: list[_Worker], pipe: Any, seed: int) -> None:
    """Complain when the worker behind a closed pipe did not end in good order."""
    (process,) = (worker.process for worker in running if worker.reports is pipe)
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(
            f"the worker simulating seed {seed} died with exit code {process.exitcode}; "
            "what was collected is kept: run the same command again to continue"
        )


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
            running.append(_Worker(process=process, reports=reports))
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
            while seed >= first_unsaved.value + MOST_STAGED:
                time.sleep(0.2)
            reports.send(_Report(seed=seed, event="begins"))
            stage_episode(folder, simulator.simulate(seed))
            reports.send(_Report(seed=seed, event="staged"))
        simulator.close()
    except Exception:
        reports.send(_Report(seed=seed, event="failed", error=traceback.format_exc()))
        raise
