"""Collecting: processes simulate seeds, the parent saves them in order; nothing is lost."""

import json
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, runtime_checkable

from roboscape.core.files import read_json, remove, write_json
from roboscape.core.progress import progress
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec
from roboscape.dataset.writer import DatasetWriter
from roboscape.sources.simulate import Simulator, new_counter, simulate_seeds
from roboscape.sources.staging import load_staged, staged_path

logger = logging.getLogger(__name__)

EPISODES_PER_SAVE = 50
STAGING_FOLDER = ".collected"
CONFIG_FILE = "collect.json"
FREE_TO_CHANGE = ("output", "episodes", "seed", "workers")
"""Settings that a continued collection may change; all others decide what is in the data."""


@runtime_checkable
class CollectConfig(Protocol):
    """What every collecting command has in its configuration."""

    @property
    def output(self) -> Path:
        """Folder of the dataset."""
        ...

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the first episode."""
        ...

    @property
    def workers(self) -> int:
        """Simulating processes."""
        ...


def collect(
    config: CollectConfig, *, make_simulator: Callable[[], Simulator], spec: DatasetSpec
) -> None:
    """Simulate the seeds that are not yet collected and append them, in order, to the dataset.

    Interrupting at any moment loses at most the episode being simulated in each worker: staged
    episodes are saved by the next run.
    """
    if config.episodes < 1 or config.workers < 1:
        raise ValueError(
            f"episodes and workers must be at least 1, got {config.episodes} and {config.workers}"
        )
    _check_same_settings(config)
    folder = config.output / STAGING_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    saved = collected_seeds(config.output)
    for seed in saved:
        remove(staged_path(folder, seed))
    wanted = range(config.seed, config.seed + config.episodes)
    missing = [seed for seed in wanted if seed not in saved]
    saver = _Saver(config.output, spec=spec, seeds=missing)
    to_simulate = [seed for seed in missing if not staged_path(folder, seed).exists()]
    done = config.episodes - len(to_simulate)
    with progress(config.episodes, "collect", initial=done, unit="episode") as bar, saver:
        if to_simulate:
            for _ in simulate_seeds(
                to_simulate,
                make_simulator=make_simulator,
                folder=folder,
                workers=config.workers,
                first_unsaved=saver.first_unsaved,
            ):
                bar.update()
                saver.save_when_enough()
        saver.save_all()
    _tidy(folder)
    logger.info("%s holds %d episodes", config.output, len(saved) + len(missing))


def collected_seeds(root: Path) -> set[int]:
    """The seeds of the episodes that a dataset holds; none where there is no dataset yet."""
    if not (root / "meta" / "info.json").exists():
        return set()
    dataset = LeRobotDataset(root)
    return {dataset.episode_info(index).seed for index in range(dataset.num_episodes)}


def _tidy(folder: Path) -> None:
    """Remove half-written files of killed workers, and the folder if nothing waits there."""
    for path in folder.glob(".*"):
        remove(path)
    if not any(folder.iterdir()):
        folder.rmdir()


def _check_same_settings(config: CollectConfig) -> None:
    """Refuse to continue a dataset that was collected with other settings."""
    path = config.output / CONFIG_FILE
    if path.exists():
        before, now = read_json(path), _deciding_settings(config)
        differing = [name for name in now if before.get(name) != now[name]]
        if differing:
            raise ValueError(
                f"{config.output} was collected with other settings of {', '.join(differing)}: "
                f"{ ({name: before.get(name) for name in differing}) } instead of "
                f"{ ({name: now[name] for name in differing}) }; choose another output folder"
            )
        return
    write_json(path, _deciding_settings(config))


class _Saver:
    """Appends staged episodes to the dataset in seed order, in a thread beside the simulation.

    A group's staged files are removed only after the writer has closed, so that a crash while
    encoding costs time and no episode.
    """

    def __init__(self, root: Path, *, spec: DatasetSpec, seeds: list[int]) -> None:
        self.first_unsaved = new_counter()
        self._root = root
        self._folder = root / STAGING_FOLDER
        self._spec = spec
        self._unsaved = seeds
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._saving: Future[None] | None = None
        self._advance(0)

    def save_when_enough(self) -> None:
        """Start saving once a full group is staged without a gap and nothing is being saved."""
        if self._saving is not None and not self._saving.done():
            return
        self._finish()
        group = self._unsaved[:EPISODES_PER_SAVE]
        if len(group) == EPISODES_PER_SAVE and self._all_staged(group):
            self._saving = self._thread.submit(self._save, group)

    def save_all(self) -> None:
        """Save everything that is left, group by group."""
        self._finish()
        while self._unsaved:
            self._save(self._unsaved[:EPISODES_PER_SAVE])
            self._advance(EPISODES_PER_SAVE)

    def __enter__(self) -> "_Saver":
        return self

    def __exit__(self, *_: object) -> None:
        """Let a running save end: the dataset is then valid whatever stopped the collection."""
        self._thread.shutdown(wait=True)

    def _finish(self) -> None:
        """Account for the save that has ended, or raise what stopped it."""
        if self._saving is not None:
            self._saving.result()
            self._saving = None
            self._advance(EPISODES_PER_SAVE)

    def _advance(self, count: int) -> None:
        """Forget saved seeds and let the workers go on."""
        self._unsaved = self._unsaved[count:]
        self.first_unsaved.value = self._unsaved[0] if self._unsaved else 2**62

    def _all_staged(self, seeds: Iterable[int]) -> bool:
        return all(staged_path(self._folder, seed).exists() for seed in seeds)

    def _save(self, seeds: list[int]) -> None:
        """Append the episodes of these seeds, then remove what was staged of them."""
        with DatasetWriter(self._root, self._spec, episodes_per_file=EPISODES_PER_SAVE) as writer:
            for seed in seeds:
                writer.add(load_staged(self._folder, seed))
        for seed in seeds:
            remove(staged_path(self._folder, seed))


def _deciding_settings(config: CollectConfig) -> dict[str, object]:
    """The settings that two parts of one dataset must share, as they look in JSON."""
    settings = json.loads(json.dumps(asdict(config), default=str))  # type: ignore[call-overload]
    return {name: settings[name] for name in settings if name not in FREE_TO_CHANGE}
