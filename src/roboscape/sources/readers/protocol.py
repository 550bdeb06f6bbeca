"""What a reader of recordings offers, and which readers there are."""

import importlib
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypeVar, cast, runtime_checkable

from roboscape.dataset.records import DatasetSpec, Episode

log = logging.getLogger(__name__)

Description = TypeVar("Description")

SPLIT_UNSAID = -1
"""`Episode.seed` where a recording does not say its split: the importer decides by the key.

A format that names splits gives 0 (train), `FIRST_VALIDATION_SEED` or `FIRST_TEST_SEED`.
"""

READERS = {
    "robomimic": "roboscape.sources.readers.robomimic",
    "libero": "roboscape.sources.readers.libero",
    "agibot": "roboscape.sources.readers.agibot",
    "folder": "roboscape.sources.readers.folder",
    "rlds": "roboscape.sources.readers.rlds",
    "droid": "roboscape.sources.readers.droid",
    "bair": "roboscape.sources.readers.npz:bair",
    "ivideogpt": "roboscape.sources.readers.npz:ivideogpt",
    "metaworld-npz": "roboscape.sources.readers.npz:metaworld",
}
"""The module of every format; `module:name` where one module offers several formats by name."""


@runtime_checkable
class RecordingReader(Protocol):
    """Recordings of one format in one place, episode by episode."""

    def spec(self) -> DatasetSpec:
        """What all episodes share; may look into the first of them, decodes nothing long."""
        ...

    def keys(self) -> list[str]:
        """A name of each episode, in order, the same on every opening; reads no images."""
        ...

    def read(self, key: str, *, cameras: tuple[str, ...] | None = None) -> Episode:
        """One episode, in memory.

        Args:
            key: one of `keys()`.
            cameras: decode and return these alone; all of the spec's where not given.

        Raises:
            ValueError: the recording is broken; says which file, what was expected, what to do.
        """
        ...


@runtime_checkable
class ReaderModule(Protocol):
    """What the file of a format offers.

    Those in `READERS` also have `example(folder: Path) -> Path`, which writes a tiny valid
    recording of the format, always the same, and returns the source; the tests try them on it.
    """

    def open_recordings(self, source: Path) -> RecordingReader:
        """Open what lies at `source`; `ValueError` where it is not of this format."""
        ...


def first_described(keys: list[str], describe: Callable[[str], Description]) -> Description:
    """What the first whole recording says of all; broken ones before it are passed over.

    Raises:
        ValueError: none is whole; says why the first is not.
    """
    reasons: list[ValueError] = []
    for key in keys:
        try:
            return describe(key)
        except ValueError as error:
            log.warning("%s does not say what the recordings are like: %s", key, error)
            reasons.append(error)
    raise reasons[0] if reasons else ValueError("there are no recordings to describe")


def reader_of(name: str) -> ReaderModule:
    """The module of a format, by its name in `READERS` or as the path of a Python file."""
    if name.endswith(".py"):
        return cast(ReaderModule, _load_file(Path(name)))
    if name not in READERS:
        raise ValueError(
            f"there is no reader {name!r}; expected one of {', '.join(READERS)}, or the path of a "
            "Python file with `open_recordings` (docs/add-a-source.md)"
        )
    module, _, part = READERS[name].partition(":")
    found = importlib.import_module(module)
    return cast(ReaderModule, getattr(found, part) if part else found)


def _load_file(path: Path) -> ModuleType:
    """Run a Python file as a module."""
    description = importlib.util.spec_from_file_location(path.stem, path)
    if not path.exists() or description is None or description.loader is None:
        raise ValueError(f"expected a Python file with a reader at {path}, found none")
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    if not hasattr(module, "open_recordings"):
        raise ValueError(f"{path} offers no `open_recordings`; see docs/add-a-source.md")
    return module
