"""Provenance of imagined recordings: what says that they are, and the command that verifies it.

Three places say it: `meta/synthetic.json` (checkpoint digest, start, draws, native actions, a
SHA-256 of every table and video), the comment inside every video file, and the dataset's `source`.
None of them is signed: they show a mistake or a mix-up, not a forgery.
"""

import json
import logging
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import tyro

from roboscape.core.config import load_config
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, sha256_of, write_json
from roboscape.dataset.reader import LeRobotDataset
from roboscape.play.stage import Checkpoint
from roboscape.rollout.identity import checkpoint_sha256

log = logging.getLogger(__name__)

SYNTHETIC_PATH = "meta/synthetic.json"
MARK = "synthetic: imagined by a world model"


@dataclass(frozen=True, kw_only=True)
class EpisodeProvenance:
    """The provenance of one imagined episode."""

    episode: int
    """Its number in the dataset."""
    began: dict[str, Any]
    """Its first frame: a seed's, an episode's, an image's."""
    task: str
    """In words."""
    temperature: float
    """At which its last frames were imagined."""
    seed: int
    """Of its last draws."""
    frames: int
    """Rows."""
    restarts: tuple[int, ...]
    """Rows at which the imagined world was put to a true one's frame."""
    native_actions: tuple[tuple[float, ...], ...]
    """All that was commanded, at the native rate, in stored units."""
    files: dict[str, str]
    """SHA-256 of its tables and videos, by path in the dataset."""


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """The content of `meta/synthetic.json`."""

    about: str
    """For people who find the file."""
    checkpoint: Checkpoint
    """The bundle that imagined all episodes."""
    roboscape: str
    """Version of the program."""
    episodes: tuple[EpisodeProvenance, ...]


@dataclass(frozen=True, kw_only=True)
class VerifySynthetic:
    """Check that a dataset says that it was imagined, by which checkpoint, and holds just that."""

    dataset: tyro.conf.Positional[Path]
    """A dataset that `roboscape play` recorded."""
    checkpoint: str | None = None
    """Name, folder or hub name of the bundle that is said to have imagined it."""


def run(config: VerifySynthetic) -> Synthetic:
    """Verify a dataset; says what was found, or fails with all that is wrong."""
    found = read_synthetic(config.dataset)
    wrong = list(_faults(config.dataset, found))
    if config.checkpoint is not None:
        digest = checkpoint_sha256(config.checkpoint)
        if digest != found.checkpoint.sha256:
            wrong.append(
                f"it names a checkpoint {found.checkpoint.sha256[:16]}…, and {config.checkpoint} "
                f"is {digest[:16]}…"
            )
    if wrong:
        raise UserError(f"{config.dataset} is not what it says it is:\n  " + "\n  ".join(wrong))
    log.info(
        "%s: %d episodes, imagined by %s (sha256 %s); all files are as they were written",
        config.dataset,
        len(found.episodes),
        found.checkpoint.name,
        found.checkpoint.sha256,
    )
    return found


def read_synthetic(root: Path) -> Synthetic:
    """The provenance of a dataset.

    Raises:
        ValueError: it has none: it was recorded, or copied without it.
    """
    path = root / SYNTHETIC_PATH
    if not path.is_file():
        raise UserError(
            f"{root} holds no {SYNTHETIC_PATH}: it was not recorded by `roboscape play`, or copied "
            "without its provenance"
        )
    return load_config(Synthetic, path)


def mark_synthetic(
    root: Path, about: EpisodeProvenance, *, checkpoint: Checkpoint, files: list[Path]
) -> None:
    """Write an episode's provenance into its videos and into the dataset.

    Args:
        root: Folder of the dataset.
        about: The episode; its `files` are filled in here.
        checkpoint: What imagined it.
        files: Its tables and videos, no other episode's.
    """
    for path in files:
        if path.suffix == ".mp4":
            comment_video(path, comment_of(checkpoint))
    digests = {path.relative_to(root).as_posix(): sha256_of(path) for path in files}
    before = read_synthetic(root).episodes if (root / SYNTHETIC_PATH).is_file() else ()
    content = Synthetic(
        about=f"{MARK}; no camera saw it. `roboscape verify-synthetic` checks it.",
        checkpoint=checkpoint,
        roboscape=version("roboscape"),
        episodes=(*before, replace(about, files=digests)),
    )
    write_json(root / SYNTHETIC_PATH, asdict(content))


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


def _faults(root: Path, found: Synthetic) -> list[str]:
    """All that disagrees with what a dataset says of itself."""
    faults = []
    episodes = LeRobotDataset(root).num_episodes
    named = [one.episode for one in found.episodes]
    if named != list(range(episodes)):
        faults.append(f"it holds {episodes} episodes, and provenance of {named}")
    for one in found.episodes:
        for name, digest in one.files.items():
            faults += _faults_of_file(root / name, digest, found.checkpoint)
    known = {name for one in found.episodes for name in one.files}
    for part in ("data", "videos"):
        for path in sorted((root / part).rglob("*.*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and name not in known:
                faults.append(f"{name} belongs to no imagined episode")
    return faults


def _faults_of_file(path: Path, digest: str, checkpoint: Checkpoint) -> list[str]:
    if not path.is_file():
        return [f"{path} is missing"]
    if sha256_of(path) != digest:
        return [f"{path} was changed after it was recorded"]
    if path.suffix == ".mp4" and read_comment(path) != comment_of(checkpoint):
        return [f"{path} does not carry the checkpoint's mark"]
    return []
