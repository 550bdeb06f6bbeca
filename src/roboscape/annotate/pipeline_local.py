"""Annotating in this process: one episode after the other, no Ray."""

import errno
import time
from collections.abc import Callable, Iterator

from roboscape.annotate.pipeline_failures import Outcome
from roboscape.annotate.pipeline_stage import Item, Stage, annotate_item, read_frames
from roboscape.dataset.reader import LeRobotDataset

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def outcomes_here(
    stage: Stage, items: list[Item], *, dataset: LeRobotDataset, attempts: int
) -> Iterator[Outcome]:
    """Annotate episode by episode, and tell what came of each."""
    annotator = stage.make() if items else None

    def work(item: Item) -> None:
        frames = read_frames(stage, dataset, item)
        annotate_item(stage, annotator, dataset, item, frames=frames)

    for item in items:
        yield attempted(work, item, attempts=attempts)


def attempted(work: Callable[[Item], None], item: Item, *, attempts: int) -> Outcome:
    """Do a piece of work, several times if need be; its last failure is returned, not raised.

    Whatever goes wrong with one episode (a torn file, a decoder's own error, a server that does not
    answer) must not end a run over thousands; a full disk does, since no episode can succeed.
    """
    reason, seconds = "", 0.0
    for attempt in range(1, attempts + 1):
        start = time.monotonic()
        try:
            work(item)
        except Exception as error:
            if is_disk_full(error):
                raise
            reason = f"{type(error).__name__}: {error}"
            seconds = time.monotonic() - start
        else:
            return Outcome(
                camera=item.camera,
                episode=item.episode,
                attempts=attempt,
                seconds=time.monotonic() - start,
            )
    return Outcome(
        camera=item.camera,
        episode=item.episode,
        reason=reason,
        attempts=attempts,
        seconds=seconds,
    )


def is_disk_full(error: Exception) -> bool:
    """True if an error, or one that caused it, says that no room is left on the disk."""
    chain = (error, error.__cause__)
    return any(isinstance(one, OSError) and one.errno in FULL for one in chain)
