"""Files that are either whole or absent."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from roboscape.core.errors import UserError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place on success, remove it on failure.

    Works for a file or a folder. A folder that already stands at `path` is replaced.
    The temporary name starts with a dot and holds the process id, so that a killed writer leaves
    nothing that a reader could mistake for data.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(temporary)
    try:
        yield temporary
        if temporary.is_file():
            flush_to_disk(temporary)
        if path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        remove(temporary)


def flush_to_disk(path: Path) -> None:
    """Make sure that a file's bytes are on disk before its name is."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """The SHA-256 digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=str) + "\n")


def append_json_line(path: Path, row: Any) -> None:
    """Append one line of JSON; a last line that a kill has cut off does not swallow it."""
    with path.open("ab+") as file:
        file.seek(max(0, file.tell() - 1))
        cut_off = file.read(1) not in (b"", b"\n")
        file.write((("\n" if cut_off else "") + json.dumps(row) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; a missing or broken file is a `ValueError` that names it."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"expected a JSON file at {path}, found none") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}); it may be truncated") from error
