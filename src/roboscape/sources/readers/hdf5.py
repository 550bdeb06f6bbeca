"""Common parts of readers of HDF5 recordings: the demonstrations in files, arrays that fit."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from roboscape.core.errors import UserError

SUFFIXES = (".hdf5", ".h5")


def hdf5_files(source: Path) -> dict[str, Path]:
    """The HDF5 files of a folder by their path in it; a file is a folder of itself."""
    if source.is_file():
        return {source.name: source}
    paths = sorted(path for path in source.rglob("*") if path.suffix in SUFFIXES)
    if not paths:
        raise UserError(f"expected HDF5 files (*.hdf5, *.h5) in {source}, found none")
    return {str(path.relative_to(source)): path for path in paths}


def demonstration_keys(files: dict[str, Path]) -> list[str]:
    """`<file>/<demonstration>` of all files, in order of their numbers.

    A file that cannot be opened is one key, `<file>/`, whose reading then raises the error.
    """
    keys: list[str] = []
    for name, path in files.items():
        try:
            with open_hdf5(path) as file:
                demonstrations = sorted(group(file, "data", path), key=_number)
        except ValueError:
            demonstrations = [""]
        keys += [f"{name}/{demonstration}" for demonstration in demonstrations]
    return keys


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file to read; one that is broken, also further inside, is a `ValueError`."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{path} cannot be read as HDF5 ({error}); it is truncated or of another format: copy "
            "it again, or leave it out"
        ) from error


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One demonstration of an open file."""

    path: Path
    """The file."""
    name: str
    """Its name in the file; empty where the file does not name it."""
    data: h5py.Group
    """What holds all demonstrations, with what they share among its attributes."""
    demo: h5py.Group
    """The demonstration itself."""


@contextmanager
def open_demonstration(files: dict[str, Path], key: str) -> Iterator[Demonstration]:
    """Open what a key of `demonstration_keys` names."""
    file_name, _, name = key.rpartition("/")
    path = files[file_name]
    with open_hdf5(path) as file:
        data = group(file, "data", path)
        demo = group(data, name, path) if name else data
        yield Demonstration(path=path, name=name, data=data, demo=demo)


def group(parent: h5py.Group, name: str, path: Path) -> h5py.Group:
    """A group inside a file."""
    found = parent.get(name)
    if not isinstance(found, h5py.Group):
        raise UserError(_missing(parent, name, path, kind="group"))
    return found


def array(
    parent: h5py.Group, name: str, path: Path, *, length: int | None = None, width: int = 0
) -> np.ndarray:
    """A whole array of a file.

    Args:
        parent: where it lies.
        name: its name there.
        path: the file, for the message.
        length: rows that it must have.
        width: numbers that each row must have; not looked at where 0.
    """
    found = parent.get(name)
    if not isinstance(found, h5py.Dataset):
        raise UserError(_missing(parent, name, path, kind="array"))
    values = np.asarray(found[()])
    fits = length is None or len(values) == length
    if not fits or (width and values.shape[1:] != (width,)):
        wanted = "x".join(str(size or "…") for size in (length, *([width] if width else [])))
        raise UserError(
            f"{path}: expected {found.name} of shape {wanted}, got {values.shape}; its rows do not "
            "belong to the same recording as the others: leave the episode out, or record it again"
        )
    return values


def attribute_json(holder: h5py.Group, name: str, path: Path) -> dict[str, Any]:
    """An attribute that holds JSON."""
    text = holder.attrs.get(name)
    if text is None:
        raise UserError(f"{path}: expected the attribute {name!r} of {holder.name}, found none")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: {holder.name}@{name} is not valid JSON ({error})") from error


def _missing(parent: h5py.Group, name: str, path: Path, *, kind: str) -> str:
    return (
        f"{path}: expected the {kind} {name!r} in {parent.name}, which holds "
        f"{', '.join(parent) or 'nothing'}; is it of this format, and complete?"
    )


def _number(name: str) -> tuple[int, str]:
    """`demo_10` after `demo_9`."""
    digits = name.rpartition("_")[2]
    return (int(digits) if digits.isdecimal() else 0, name)
