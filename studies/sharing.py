"""What lets several processes work through one list: claims, files that the first one writes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from roboscape.core.files import read_json, write_json


@contextmanager
def claimed(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process alone is at something.

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
    """Write a file that several processes may write: the first one stays."""
    mine = path.with_name(f".{path.name}.{os.getpid()}")
    write_json(mine, content)
    with suppress(FileExistsError):
        os.link(mine, path)
    mine.unlink()


def agree_on_settings(folder: Path, wanted: dict[str, Any]) -> None:
    """All results of a folder are of the same settings.

    Raises:
        ValueError: the folder holds results of others.
    """
    path = folder / "settings.json"
    if not path.is_file():
        publish(path, wanted)
    found = read_json(path)
    if found != wanted:
        raise ValueError(
            f"{folder} holds results of {found}, asked for {wanted}; choose another --output"
        )
