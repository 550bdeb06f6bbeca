"""The record of an imagined dataset, `meta/synthetic.json`: what imagined it, and how.

`roboscape play` and `roboscape synthesize` write it, `roboscape verify-synthetic` checks it. It is
not signed: it shows a mistake or a mix-up, not a forgery.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import av

from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, read_json, sha256_of, write_json
from roboscape.rollout.identity import Checkpoint

SYNTHETIC_PATH = "meta/synthetic.json"
MARK = "synthetic: imagined by a world model"
ABOUT = f"{MARK}; no camera saw it. `roboscape verify-synthetic` checks it."


@dataclass(frozen=True, kw_only=True)
class MadeBy:
    """The command that imagined a dataset."""

    command: Literal["play", "synthesize"]
    """Its name. Every video of `play` carries the mark itself, too (`comment_of`)."""
    settings: dict[str, Any]
    """What all episodes have in common."""


@dataclass(frozen=True, kw_only=True)
class SyntheticEpisode:
    """One imagined episode."""

    seed: int
    """Its seed, as in the dataset's table of episodes."""
    kept: bool = True
    """False where it is not in this dataset but was set apart."""
    details: dict[str, Any]
    """How it began, what was done in it, what it scored: differs by command."""


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """The content of `meta/synthetic.json`."""

    synthetic: Literal[True] = True
    """For programs that find the file."""
    about: str = ABOUT
    """For people who find it."""
    roboscape: str = field(default_factory=lambda: version("roboscape"))
    """Version of the program."""
    checkpoint: Checkpoint
    """The bundle that imagined all episodes."""
    made_by: MadeBy
    episodes: tuple[SyntheticEpisode, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of all tables and videos, by path in the dataset."""
    details: dict[str, Any] = field(default_factory=dict)
    """What is to be said of the dataset beside this: differs by command."""


def read_synthetic(root: Path) -> Synthetic:
    """The record of a dataset.

    Raises:
        ValueError: it has none, or one that lacks something: it was recorded with a camera, copied
            without its record, or written by an earlier version.
    """
    path = root / SYNTHETIC_PATH
    if not path.is_file():
        raise UserError(
            f"{root} holds no {SYNTHETIC_PATH}: it was not made by `roboscape play` or `roboscape "
            "synthesize`, or copied without its record"
        )
    content = read_json(path)
    missing = [one.name for one in fields(Synthetic) if one.name not in content]
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}: it was written by an earlier version of "
            "roboscape, or damaged. Imagine the dataset anew in another folder to have it verified "
            "or continued; trainings read it as it is"
        )
    return config_from_dict(Synthetic, content, where=str(path))


def write_synthetic(root: Path, content: Synthetic) -> None:
    """Write the record of a dataset."""
    write_json(root / SYNTHETIC_PATH, asdict(content))


def is_synthetic(root: Path) -> bool:
    """Whether a folder has a record, of any version."""
    return (root / SYNTHETIC_PATH).is_file()


def files_of(root: Path) -> list[Path]:
    """Tables and videos of a dataset, sorted."""
    found = [path for part in ("data", "videos") for path in (root / part).rglob("*.*")]
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def digests(root: Path, files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files, by their paths in a dataset."""
    return {path.relative_to(root).as_posix(): sha256_of(path) for path in files}


def comment_of(checkpoint: Checkpoint) -> str:
    """The comment inside a video file."""
    return json.dumps({"about": MARK, **asdict(checkpoint)})


def comment_video(path: Path, comment: str) -> None:
    """Put a comment into an mp4 file; the encoded frames stay as they are."""
    with (
        atomic_path(path) as temporary,
        av.open(str(path)) as source,
        av.open(str(temporary), "w", format="mp4") as target,
    ):
        target.metadata["comment"] = comment
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


def read_comment(path: Path) -> str:
    """The comment inside a video file; empty where there is none."""
    with av.open(str(path)) as container:
        return container.metadata.get("comment", "")
