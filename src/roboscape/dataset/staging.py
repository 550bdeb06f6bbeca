"""Adding files to a dataset so that a crash, a full disk or a second writer cannot break it."""

import errno
import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roboscape.core.errors import UserError
from roboscape.core.files import flush_to_disk, remove

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Staging:
    """A hidden folder inside a dataset that mirrors it, until its files are moved into place.

    One file, the last to be moved, makes the others count: `commit_with`. Whatever a crash leaves
    behind is either still in the hidden folder or not referred to by that file.
    """

    def __init__(self, root: Path, *, commit_with: str) -> None:
        self.root = root
        self.folder = root / ".staging"
        self._commit_with = commit_with
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"another process is writing to {root}; wait for it, or write elsewhere"
            ) from error
        self.discard()

    def path(self, relative: str) -> Path:
        """The path at which to write the file that will stand at `relative` in the dataset."""
        path = self.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def commit(self) -> None:
        """Move every staged file into place, the one that makes them count last."""
        files = sorted(
            (path for path in self.folder.rglob("*") if path.is_file() and path.name != "lock"),
            key=lambda path: (path == self.folder / self._commit_with, path),
        )
        for path in files:
            flush_to_disk(path)
        for path in files:
            target = self.root / path.relative_to(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)

    def discard(self) -> None:
        """Throw away what is staged."""
        for path in self.folder.iterdir():
            if path.name != "lock":
                remove(path)

    def close(self) -> None:
        """Let others write; remove the hidden folder."""
        remove(self.folder)
        self._lock.close()


@contextmanager
def clear_when_disk_is_full(root: Path, *, safe: str) -> Iterator[None]:
    """Turn a full disk into a `ValueError`: where, how much room is left, what is safe."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free_mib = shutil.disk_usage(root).free / 2**20
        raise UserError(
            f"the disk (or quota) that holds {root} is full, {free_mib:.0f} MiB free; {safe}; make "
            "room and run the same command again"
        ) from error
