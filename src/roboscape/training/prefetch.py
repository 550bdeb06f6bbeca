"""The next batch is made while this one is learnt from."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

Batch = TypeVar("Batch")

AHEAD = 2
"""Batches that may wait: a slow read is bridged by the one before it."""


class Prefetch(Generic[Batch]):
    """Batches by their number, each prepared ahead of its turn by one thread.

    A batch depends on its number alone, so preparing it early changes nothing.
    """

    def __init__(
        self, prepare: Callable[[int], Batch], *, end: int, thread: ThreadPoolExecutor
    ) -> None:
        self.prepare, self.end, self.thread = prepare, end, thread
        self.waiting: dict[int, Future[Batch]] = {}

    def get(self, number: int) -> Batch:
        """Batch `number`; the ones after it are begun."""
        for ahead in range(number, min(number + AHEAD + 1, self.end)):
            if ahead not in self.waiting:
                self.waiting[ahead] = self.thread.submit(self.prepare, ahead)
        return self.waiting.pop(number).result()


@contextmanager
def prefetching(prepare: Callable[[int], Batch], *, end: int) -> Iterator[Prefetch[Batch]]:
    """Prepare batches up to `end` ahead of their turn; an error there is raised where it is due."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        yield Prefetch(prepare, end=end, thread=thread)
    finally:
        thread.shutdown(wait=True, cancel_futures=True)
