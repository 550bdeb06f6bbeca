"""Claims and first writers: what lets several processes work through one list."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from roboscape.core.files import write_json


@contextmanager
def claimed(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """True if this process alone works on something.

    The system drops the claim of a process that ends, however it ends.

    Args:
        path: A file that stands for it.
        wait: Until no other process works on it, rather than go on without.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def publish(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that several processes may write: the first one stays."""
    mine = path.with_name(f".{path.name}.{os.getpid()}")
    write_json(mine, content)
    with suppress(FileExistsError):
        os.link(mine, path)
    mine.unlink()
