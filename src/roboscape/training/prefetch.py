"""The next batches are made while this one is learnt from."""

import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

Batch = TypeVar("Batch")

AHEAD = 2
"""Batches that may wait, for each that prepares them: a slow read is bridged by those before it."""


def prefetching(
    prepare: Callable[[int], Batch], numbers: range, *, loaders: int = 0
) -> AbstractContextManager[Iterator[Batch]]:
    """Batches of these numbers, in order, prepared ahead of their turn.

    A batch depends on its number alone, so preparing it early or elsewhere changes nothing. An
    error in preparing a batch is raised where its turn is.

    Args:
        prepare: From a batch's number to the batch.
        numbers: Of the batches.
        loaders: Processes that prepare; 0 for a thread of this one.
    """
    if loaders:
        return in_processes(prepare, numbers, loaders=loaders)
    return in_a_thread(prepare, numbers)


@contextmanager
def in_a_thread(prepare: Callable[[int], Batch], numbers: range) -> Iterator[Iterator[Batch]]:
    """Prepare in a thread that shares the interpreter with the training."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")

    def batches() -> Iterator[Batch]:
        waiting: deque[Future[Batch]] = deque()
        for number in numbers:
            waiting.append(thread.submit(prepare, number))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield batches()
    finally:
        thread.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, kw_only=True)
class Prepared(Dataset[Batch]):
    """Batches as PyTorch's loader asks for them: by their place in line."""

    prepare: Callable[[int], Batch]
    numbers: range

    def __len__(self) -> int:
        """Batches."""
        return len(self.numbers)

    def __getitem__(self, index: int) -> Batch:
        """A batch by its place."""
        return self.prepare(self.numbers[index])


@contextmanager
def in_processes(
    prepare: Callable[[int], Batch], numbers: range, *, loaders: int
) -> Iterator[Iterator[Batch]]:
    """Prepare in forked processes; tensors come back through shared memory."""
    batches = iter(
        DataLoader(
            Prepared(prepare=prepare, numbers=numbers),
            batch_size=None,
            collate_fn=as_it_is,
            num_workers=loaders,
            prefetch_factor=AHEAD,
            worker_init_fn=outlive_stop_requests,
            multiprocessing_context="fork",
            # Without one, the loader would draw from the training's own generator.
            generator=torch.Generator(),
        )
    )
    assert isinstance(batches, _MultiProcessingDataLoaderIter)
    try:
        yield batches
    finally:
        # Otherwise they would live as long as the traceback of an error does.
        batches._shutdown_workers()


def as_it_is(batch: Batch) -> Batch:
    """The batch."""
    return batch


GRACE_S = 30
"""How long a loading process outlives a request to stop."""


def outlive_stop_requests(_: int) -> None:
    """A scheduler signals every process of a job: the training's last step needs this one's batch.

    `multiprocessing` ends its processes by the same signal, so it must end them in the end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))
