"""Processes that make numbered episodes and stage them; the parent only watches."""

import multiprocessing
import multiprocessing.connection
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from roboscape.dataset.records import Episode
from roboscape.sources.staging import stage_episode

OpenWork = Callable[[], AbstractContextManager[Callable[[int], Episode]]]
"""What each process opens once: a function from a number to its episode."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result for a number: staged, or the error that prevented it."""

    number: int
    error: str = ""
    """Empty where the episode is staged."""
    trace: str = ""
    """Where in the program the error arose."""


@dataclass(frozen=True, kw_only=True)
class _Report:
    """A message of a worker to its parent: a number that it begins, has staged, or failed on."""

    event: str
    outcome: Outcome


@dataclass(kw_only=True)
class _Worker:
    """A running process, the parent's end of its pipe, and what it has to do."""

    process: BaseProcess
    reports: Connection
    left: list[int]
    """The numbers that it has not begun."""
    present: int | None = None
    """The number that it is at."""


def new_counter() -> Any:
    """A shared integer for `first_unsaved`."""
    return multiprocessing.get_context("spawn").Value("q", 0)


def staged_by_workers(
    numbers: list[int],
    *,
    open_work: OpenWork,
    folder: Path,
    workers: int,
    first_unsaved: Any,
    most_staged: int,
) -> Iterator[Outcome]:
    """Yield what became of each number, in no particular order.

    A number that fails, or whose process dies, costs only itself if the caller goes on asking.

    Args:
        numbers: what to make, ascending.
        open_work: called in each process.
        folder: where episodes are staged.
        workers: number of processes.
        first_unsaved: a shared integer that the caller advances as it saves what is staged.
        most_staged: a worker waits while its number lies this far ahead of `first_unsaved`.

    Raises:
        RuntimeError: a process could not begin its work.
    """
    count = min(workers, len(numbers))
    shares = [numbers[index::count] for index in range(count)]
    with _running(shares, (open_work, folder, first_unsaved, most_staged)) as (alive, start):
        while alive:
            ready = multiprocessing.connection.wait([worker.reports for worker in alive])
            for worker in [worker for worker in alive if worker.reports in ready]:
                try:
                    report: _Report = worker.reports.recv()
                except EOFError:
                    alive.remove(worker)
                    yield from _outcome_of_dead(worker)
                    if worker.left:
                        start(worker.left)
                    continue
                yield from _listen(worker, report)


def _listen(worker: _Worker, report: _Report) -> Iterator[Outcome]:
    """Take note of a report; yield the outcome that it may hold."""
    if report.event == "unable":
        raise RuntimeError(f"a worker could not begin: {report.outcome.trace}")
    if report.event == "begins":
        worker.present = report.outcome.number
        worker.left.remove(worker.present)
    else:
        worker.present = None
        yield report.outcome


def _outcome_of_dead(worker: _Worker) -> Iterator[Outcome]:
    """Yield the number that a process died at, if it did not end in good order."""
    worker.process.join()
    worker.reports.close()
    code = worker.process.exitcode
    if worker.present is not None:
        yield Outcome(number=worker.present, error=f"its process died with exit code {code}")
    elif worker.left:
        raise RuntimeError(f"a worker died with exit code {code} before it began its work")


@contextmanager
def _running(
    shares: list[list[int]], work: tuple[Any, ...]
) -> Iterator[tuple[list[_Worker], Callable[[list[int]], None]]]:
    """Start a process for each share of numbers; end them all whatever happens."""
    context = multiprocessing.get_context("spawn")
    alive: list[_Worker] = []

    def start(numbers: list[int]) -> None:
        reports, worker_end = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(numbers, worker_end, *work), daemon=True)
        process.start()
        worker_end.close()
        alive.append(_Worker(process=process, reports=reports, left=list(numbers)))

    try:
        for numbers in shares:
            start(numbers)
        yield alive, start
    finally:
        for worker in alive:
            worker.process.terminate()
            worker.process.join()
            worker.reports.close()


def _work(
    numbers: list[int],
    reports: Connection,
    open_work: OpenWork,
    folder: Path,
    first_unsaved: Any,
    most_staged: int,
) -> None:
    """A worker process: make and stage number after number."""
    # Ctrl-C reaches every process of the terminal; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with open_work() as make:
            for number in numbers:
                _wait_for_room(number, first_unsaved, most_staged)
                reports.send(_Report(event="begins", outcome=Outcome(number=number)))
                reports.send(_Report(event="done", outcome=_attempt(make, number, folder)))
    except BrokenPipeError:
        # The parent was killed. What is staged is kept, and no process is left to report to.
        return
    except Exception:
        trace = traceback.format_exc()
        reports.send(_Report(event="unable", outcome=Outcome(number=numbers[0], trace=trace)))
        raise


def _attempt(make: Callable[[int], Episode], number: int, folder: Path) -> Outcome:
    """Make and stage one episode; an error is sent to the parent."""
    try:
        stage_episode(folder, make(number), number=number)
    except Exception as error:  # noqa: BLE001 - the parent decides what an error means
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        return Outcome(number=number, error=said, trace=traceback.format_exc())
    return Outcome(number=number)


def _wait_for_room(number: int, first_unsaved: Any, most_staged: int) -> None:
    """Wait while too much lies staged.

    Raises:
        BrokenPipeError: the parent, which would make room, is gone.
    """
    parent = multiprocessing.parent_process()
    while number >= first_unsaved.value + most_staged:
        if parent is not None and not parent.is_alive():
            raise BrokenPipeError("the process that saves has ended")
        time.sleep(0.2)
