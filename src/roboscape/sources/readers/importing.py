"""Anyone's recordings as a dataset: `roboscape import FORMAT SOURCE --output DATASET`.

Processes read and decode, the parent writes in the order of the keys; killed at any moment it goes
on where it stopped, and a broken recording costs only itself.
"""

import functools
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, flush_to_disk, remove
from roboscape.core.progress import progress
from roboscape.dataset import layout
from roboscape.dataset.checks import check_episode
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec, Episode, Split
from roboscape.dataset.splits import SPLITS, SplitShares
from roboscape.sources.readers.notices import NOTICES_FILE, listening, note, read_notices
from roboscape.sources.readers.prepare import (
    Preparation,
    Splitter,
    prepared_episode,
    prepared_spec,
)
from roboscape.sources.readers.protocol import (
    FORMAT_HELP,
    FilledCommands,
    RecordingReader,
    open_source,
)
from roboscape.sources.saving import OrderedSaver, check_same_settings, tidy
from roboscape.sources.staging import staged_path
from roboscape.sources.workers import staged_by_workers

log = logging.getLogger(__name__)

SETTINGS_FILE = "import.json"
KEYS_FILE = "imported_keys.jsonl"
"""One line an episode of the dataset, in order: the key that it came from."""
FAILURES_FILE = "import_failures.jsonl"
STAGING_FOLDER = ".imported"


@dataclass(frozen=True, kw_only=True)
class ImportRecordings:
    """Write recordings of another format as a LeRobot v3.0 dataset; goes on where it stopped."""

    format: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=FORMAT_HELP)]
    """A name of `READERS`, or the path of a Python file with a reader of yours."""
    source: tyro.conf.Positional[Path]
    """File or folder that holds the recordings."""
    output: Path
    """Folder of the dataset."""
    episodes: int | None = None
    """Number of recordings, the first ones; all where not given."""
    camera: tuple[str, ...] = ()
    """Cameras to keep; all where not given."""
    image_size: int | None = None
    """Cut the square in the middle of every image and resize it to this side; colours by area,
    depth by the nearest pixel. As recorded where not given."""
    validation: float = 0.05
    """Share of the episodes for validation, at least one of two; where recordings name their split,
    that counts."""
    test: float = 0.05
    """Share of the episodes for tests."""
    commands: FilledCommands | None = None
    """What stands in for commands that were not recorded (`agibot`, `droid`): `next_state` (where
    not given), the state of the next row, so that the input holds the pose to predict;
    `current_state`, the state of the row itself, which is known there."""
    workers: int = 2
    """Processes that read and decode; each holds an episode in memory."""
    episodes_per_file: int = 50
    """Episodes a video file; up to three times as many wait on disk uncompressed."""

    def __post_init__(self) -> None:
        """Refuse an import of no episodes, no workers, and shares that leave none for training."""
        _ = self.shares
        counts = (
            self.workers,
            self.episodes_per_file,
            1 if self.episodes is None else self.episodes,
        )
        if min(counts) < 1:
            raise UserError(
                "expected workers, episodes_per_file and episodes to be at least 1, got "
                f"{self.workers}, {self.episodes_per_file} and {self.episodes}"
            )

    @property
    def preparation(self) -> Preparation:
        """The changes made in every episode."""
        return Preparation(camera=self.camera, image_size=self.image_size)

    @property
    def shares(self) -> SplitShares:
        """The shares of episodes that are held out."""
        return SplitShares(validation=self.validation, test=self.test)


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """The summary of an import."""

    num_episodes: int
    """Episodes that the dataset holds now."""
    failures: dict[str, str]
    """Why each recording that is missing could not be read, by key."""


def run(config: ImportRecordings) -> ImportSummary:
    """Import the recordings that the dataset does not hold yet."""
    reader = open_source(config.format, config.source, commands=config.commands)
    spec = prepared_spec(reader.spec(), config.preparation)
    keys = _checked_keys(reader, config.source)
    check_same_settings(config.output / SETTINGS_FILE, _deciding_settings(config), verb="imported")
    done = set(imported_keys(config.output))
    wanted = range(len(keys))[: config.episodes]
    missing = [number for number in wanted if keys[number] not in done]
    folder = _staging_folder(config.output, keys)
    failures: dict[str, str] = {}
    remove(config.output / FAILURES_FILE)
    saver = OrderedSaver(
        config.output,
        spec=spec,
        numbers=missing,
        folder=folder,
        group=config.episodes_per_file,
        before_save=functools.partial(_note_keys, config.output, keys),
        complete=Splitter(config.shares, _splits(config.output)),
    )
    unread = [number for number in missing if not staged_path(folder, number).exists()]
    read = len(wanted) - len(unread)
    with (
        progress(len(wanted), f"import {config.format}", initial=read, unit="episode") as bar,
        saver,
    ):
        for outcome in staged_by_workers(
            unread,
            open_work=functools.partial(_reading, config, spec, keys),
            folder=folder,
            workers=config.workers,
            first_unsaved=saver.first_unsaved,
            most_staged=3 * config.episodes_per_file,
        ):
            if outcome.error:
                failures[keys[outcome.number]] = outcome.error
                _note_failure(config.output, key=keys[outcome.number], reason=outcome.error)
                saver.give_up(outcome.number)
            bar.update()
            saver.save_when_enough()
        saver.save_all()
    tidy(folder)
    for unfinished in config.output.glob(".*.tmp.*"):
        remove(unfinished)
    return _summary(config, failures)


def imported_keys(root: Path) -> list[str]:
    """The keys of the episodes that a dataset holds, in order; none where there is no dataset."""
    if not (root / layout.INFO_PATH).exists():
        return []
    path = root / KEYS_FILE
    lines = path.read_text().splitlines() if path.exists() else []
    count = LeRobotDataset(root).num_episodes
    if len(lines) < count:
        raise UserError(
            f"{root} holds {count} episodes, {path.name} names {len(lines)}; it was not made by "
            "this command alone: import into a new folder"
        )
    # Lines past the dataset's end are of a group whose saving was interrupted.
    return [json.loads(line) for line in lines[:count]]


@contextmanager
def _reading(
    config: ImportRecordings, spec: DatasetSpec, keys: list[str]
) -> Iterator[Callable[[int], Episode]]:
    """A function that reads the episode of a number; opened in every process."""
    cameras = tuple(camera.name for camera in spec.cameras)
    with listening() as heard:
        reader = open_source(config.format, config.source, commands=config.commands)
        # What concerns all recordings is logged once, by the parent.
        reader.spec()

        def read(number: int) -> Episode:
            heard.texts.clear()
            episode = reader.read(keys[number], cameras=cameras)
            prepared = prepared_episode(episode, keys[number], config.preparation)
            check_episode(prepared, spec, where=f"{keys[number]} of {config.source}")
            note(config.output, keys[number], heard.texts)
            return prepared

        yield read


def _checked_keys(reader: RecordingReader, source: Path) -> list[str]:
    """The reader's keys; an empty or ambiguous list is refused."""
    keys = reader.keys()
    if not keys:
        raise UserError(f"{source} holds no episodes of this format; is it the right folder?")
    if len(set(keys)) < len(keys):
        raise UserError(f"{source} has episodes of the same name; rename them")
    return keys


def _staging_folder(root: Path, keys: list[str]) -> Path:
    """The folder of episodes by their numbers; those under numbers of other keys are removed."""
    digest = hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:12]
    folder = root / f"{STAGING_FOLDER}-{digest}"
    for other in root.glob(f"{STAGING_FOLDER}-*"):
        if other != folder:
            remove(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _note_keys(root: Path, keys: list[str], numbers: list[int]) -> None:
    """Name the episodes that are about to be saved; they count once the dataset holds them."""
    names = [*imported_keys(root), *(keys[number] for number in numbers)]
    with atomic_path(root / KEYS_FILE) as temporary:
        temporary.write_text("".join(json.dumps(name) + "\n" for name in names))


def _note_failure(root: Path, *, key: str, reason: str) -> None:
    path = root / FAILURES_FILE
    with path.open("a") as file:
        file.write(json.dumps({"key": key, "reason": reason}) + "\n")
    flush_to_disk(path)


def _deciding_settings(config: ImportRecordings) -> dict[str, object]:
    """The settings that all episodes of one dataset must share."""
    return {
        "format": config.format,
        "source": str(config.source.resolve()),
        "camera": list(config.camera),
        "image_size": config.image_size,
        "validation": config.validation,
        "test": config.test,
        **({"commands": config.commands} if config.commands else {}),
    }


def _splits(root: Path) -> list[Split]:
    """The split of every episode that the dataset holds; none where there is no dataset."""
    if not (root / layout.INFO_PATH).exists():
        return []
    dataset = LeRobotDataset(root)
    return [dataset.episode_info(number).split for number in range(dataset.num_episodes)]


def _summary(config: ImportRecordings, failures: dict[str, str]) -> ImportSummary:
    """Say what is there and what is not."""
    count = len(imported_keys(config.output))
    if not count:
        key, reason = next(iter(failures.items()))
        raise UserError(
            f"none of the {len(failures)} recordings in {config.source} could be read; {key}: "
            f"{reason}"
        )
    splits = Counter(_splits(config.output))
    log.info(
        "%s holds %d episodes: %s",
        config.output,
        count,
        ", ".join(f"{splits[split]} for {split}" for split in SPLITS),
    )
    if count > 1 and not (splits["train"] and splits["validation"]):
        log.warning(
            "no episode is for %s, which training needs; import into a new folder with another "
            "--validation (a share), or import more recordings",
            "validation" if splits["train"] else "train",
        )
    if notices := read_notices(config.output):
        log.warning(
            "something is to be known about %d of the recordings; it stands in %s. The first: %s",
            len({notice.key for notice in notices}),
            config.output / NOTICES_FILE,
            notices[0].text,
        )
    if failures:
        log.error(
            "%d recordings could NOT be imported and are missing; %s says why. Repair them and run "
            "the same command again: only they are read. The first: %s: %s",
            len(failures),
            config.output / FAILURES_FILE,
            *next(iter(failures.items())),
        )
    return ImportSummary(num_episodes=count, failures=failures)
