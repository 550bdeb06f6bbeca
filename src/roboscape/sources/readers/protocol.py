"""The protocol of readers of recordings, and the list of readers."""

import importlib
import importlib.util
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, UInt8

from roboscape.core.errors import UserError
from roboscape.dataset.conventions import unknown_convention
from roboscape.dataset.records import ActionConvention, CameraSpec, DatasetSpec, Episode

log = logging.getLogger(__name__)

Description = TypeVar("Description")
FilledCommands = Literal["next_state", "current_state"]

NO_SEED = -1
"""`Episode.seed` of what a reader gives: the importer makes one from the recording's key.

A format that names splits sets `Episode.split`; else the importer decides (`dataset/splits.py`).
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
"""The module of every format; `module:name` where one module offers several formats by name.

The one list of formats: help texts are made of it, and docs/add-a-source.md is tested against it.
"""
FORMAT_HELP = (
    f"{', '.join(READERS)}, or the path of a Python file with a reader of yours "
    "(docs/add-a-source.md)"
)


@runtime_checkable
class RecordingReader(Protocol):
    """Recordings of one format in one place, episode by episode."""

    def spec(self) -> DatasetSpec:
        """The specification of all episodes; may open the first, decodes no whole video."""
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
            ValueError: the recording is broken; with the file, what was expected, what to do.
        """
        ...


@runtime_checkable
class ReaderModule(Protocol):
    """The contents of a format's module.

    Those in `READERS` also have `example(folder: Path) -> Path`, which writes a tiny valid
    recording of the format, always the same, and returns the source; the tests try them on it.
    """

    def open_recordings(self, source: Path) -> RecordingReader:
        """Open what lies at `source`; `ValueError` where it is not of this format.

        Formats whose recordings lack commands also take `commands`, a `FilledCommands`.
        """
        ...


def plain_episode(
    frames: dict[str, UInt8[np.ndarray, "t h w 3"]],
    *,
    actions: Float32[np.ndarray, "t a"],
    state: Float32[np.ndarray, "t s"] | None = None,
    reward: Float32[np.ndarray, " t"] | None = None,
    depth_m: dict[str, Float32[np.ndarray, "t h w"]] | None = None,
    task: str = "",
    success: bool = True,
    behaviour: str = "person",
) -> Episode:
    """An episode of what was recorded: no state, no depth and no reward where none is given."""
    return Episode(
        frames=frames,
        depth_m=depth_m or {},
        actions=actions,
        state=np.zeros((len(actions), 0), np.float32) if state is None else state,
        reward=np.zeros(len(actions), np.float32) if reward is None else reward,
        task=task,
        success=success,
        seed=NO_SEED,
        behaviour=behaviour,
        tracks={},
    )


def spec_like(
    episode: Episode,
    *,
    fps: float,
    robot_type: str,
    source: str,
    action: ActionConvention | None = None,
) -> DatasetSpec:
    """A spec made from an episode with all cameras: numbered names, an unknown convention.

    Args:
        episode: one of them.
        fps: frames a second, and actions.
        robot_type: the robot's name.
        source: where the recordings come from.
        action: what the actions mean, where that is known.
    """
    width = episode.actions.shape[1]
    names = tuple(f"action_{number}" for number in range(width))
    return DatasetSpec(
        fps=fps,
        robot_type=robot_type,
        cameras=tuple(
            CameraSpec(
                name=name,
                height=images.shape[1],
                width=images.shape[2],
                has_depth=name in episode.depth_m,
            )
            for name, images in episode.frames.items()
        ),
        state_names=tuple(f"state_{number}" for number in range(episode.state.shape[1])),
        action=action or unknown_convention(names, action_hz=fps),
        source=source,
    )


def first_described(keys: list[str], describe: Callable[[str], Description]) -> Description:
    """The description that the first whole recording gives; broken ones before it are skipped.

    Raises:
        ValueError: none is whole; with the cause for the first.
    """
    reasons: list[ValueError] = []
    for key in keys:
        try:
            return describe(key)
        except ValueError as error:
            log.warning("%s cannot be used to describe the recordings: %s", key, error)
            reasons.append(error)
    raise reasons[0] if reasons else UserError("there are no recordings to describe")


def reader_of(name: str) -> ReaderModule:
    """The module of a format, by its name in `READERS` or as the path of a Python file."""
    if name.endswith(".py"):
        return cast(ReaderModule, _load_file(Path(name)))
    if name not in READERS:
        raise UserError(
            f"there is no reader {name!r}; expected one of {', '.join(READERS)}, or the path of a "
            "Python file with `open_recordings` (docs/add-a-source.md)"
        )
    module, _, part = READERS[name].partition(":")
    found = importlib.import_module(module)
    return cast(ReaderModule, getattr(found, part) if part else found)


def open_source(
    name: str, source: Path, *, commands: FilledCommands | None = None
) -> RecordingReader:
    """Open recordings of a format.

    Args:
        name: As for `reader_of`.
        source: Where they are.
        commands: What stands in for a missing command; None: what the format's reader takes,
            `next_state`.

    Raises:
        ValueError: not of this format; or `commands` for a format that records commands.
    """
    module = reader_of(name)
    if commands is None:
        return module.open_recordings(source)
    if "commands" not in inspect.signature(module.open_recordings).parameters:
        raise UserError(
            f"recordings of format {name} hold their commands, so there is nothing to fill with "
            f"{commands}; leave --commands out"
        )
    return module.open_recordings(source, commands=commands)  # type: ignore[call-arg]


def filled_commands(
    states: Float[np.ndarray, "t a"], commands: FilledCommands
) -> Float[np.ndarray, "t a"]:
    """Absolute actions for rows without a command, made of the recorded states.

    `next_state`: the state that is reached next, of the last row its own; `current_state`: the
    state reached at the row.
    """
    return np.concatenate([states[1:], states[-1:]]) if commands == "next_state" else states


def _load_file(path: Path) -> ModuleType:
    """Run a Python file as a module."""
    description = importlib.util.spec_from_file_location(path.stem, path)
    if not path.exists() or description is None or description.loader is None:
        raise UserError(f"expected a Python file with a reader at {path}, found none")
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    if not hasattr(module, "open_recordings"):
        raise UserError(f"{path} offers no `open_recordings`; see docs/add-a-source.md")
    return module
