"""`roboscape verify-synthetic`: checks that an imagined dataset is what its record says."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro

from roboscape.core.errors import UserError
from roboscape.core.files import sha256_of
from roboscape.dataset.reader import LeRobotDataset
from roboscape.rollout.identity import checkpoint_sha256
from roboscape.rollout.synthetic import (
    Synthetic,
    comment_of,
    files_of,
    read_comment,
    read_synthetic,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VerifySynthetic:
    """Check that a dataset says that it was imagined, by which checkpoint, and holds just that."""

    dataset: tyro.conf.Positional[Path]
    """A dataset that `roboscape play` recorded or `roboscape synthesize` wrote."""
    checkpoint: str | None = None
    """Name, folder or hub name of the bundle that is said to have imagined it."""


def run(config: VerifySynthetic) -> Synthetic:
    """Verify a dataset; says what was found, or fails with all that is wrong."""
    found = read_synthetic(config.dataset)
    wrong = [*faults_of_episodes(config.dataset, found), *faults_of_files(config.dataset, found)]
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
        "%s: %d episodes, imagined by %s (sha256 %s) in `roboscape %s`; all files are as they were "
        "written",
        config.dataset,
        sum(one.kept for one in found.episodes),
        found.checkpoint.name,
        found.checkpoint.sha256,
        found.made_by.command,
    )
    return found


def faults_of_episodes(root: Path, found: Synthetic) -> Iterator[str]:
    """Episodes without a record, and records without an episode."""
    dataset = LeRobotDataset(root)
    there = Counter(dataset.episode_info(number).seed for number in range(dataset.num_episodes))
    recorded = Counter(one.seed for one in found.episodes if one.kept)
    if there != recorded:
        extra, missing = (
            sorted((there - recorded).elements()),
            sorted((recorded - there).elements()),
        )
        yield (
            f"it holds {there.total()} episodes, and records of {recorded.total()}: seeds without "
            f"a record {extra}, without an episode {missing} (an interrupted run? start it again)"
        )


def faults_of_files(root: Path, found: Synthetic) -> Iterator[str]:
    """Files that were changed, removed or added, and videos without the mark."""
    for name, digest in found.files.items():
        yield from faults_of_file(root / name, digest, found)
    for path in files_of(root):
        name = path.relative_to(root).as_posix()
        if name not in found.files:
            yield f"{name} belongs to no imagined episode"


def faults_of_file(path: Path, digest: str, found: Synthetic) -> Iterator[str]:
    """All that disagrees with what the record says of one file."""
    if not path.is_file():
        yield f"{path} is missing"
    elif sha256_of(path) != digest:
        yield f"{path} was changed after it was recorded"
    elif (
        found.made_by.command == "play"
        and path.suffix == ".mp4"
        and read_comment(path) != comment_of(found.checkpoint)
    ):
        yield f"{path} does not carry the checkpoint's mark"
