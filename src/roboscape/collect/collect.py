"""Collecting: processes simulate seeds, the parent saves them in order; nothing is lost."""

import json
import logging
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Protocol, runtime_checkable

from roboscape.collect.simulate import Simulator, simulate_seeds
from roboscape.core.errors import UserError
from roboscape.core.files import remove
from roboscape.core.progress import progress
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec
from roboscape.sources.saving import OrderedSaver, check_same_settings, tidy
from roboscape.sources.staging import staged_path

logger = logging.getLogger(__name__)

EPISODES_PER_SAVE = 50
STAGING_FOLDER = ".collected"
CONFIG_FILE = "collect.json"
FREE_TO_CHANGE = ("output", "episodes", "seed", "workers")
"""Settings that a continued collection may change; all others decide what is in the data."""


@runtime_checkable
class CollectConfig(Protocol):
    """The settings that every collecting command shares."""

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
        raise UserError(
            f"episodes and workers must be at least 1, got {config.episodes} and {config.workers}"
        )
    check_same_settings(
        config.output / CONFIG_FILE,
        _deciding_settings(config),
        verb="collected",
        defaults=_defaults(config),
    )
    folder = config.output / STAGING_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    saved = collected_seeds(config.output)
    for seed in saved:
        remove(staged_path(folder, seed))
    wanted = range(config.seed, config.seed + config.episodes)
    missing = [seed for seed in wanted if seed not in saved]
    saver = OrderedSaver(
        config.output, spec=spec, numbers=missing, folder=folder, group=EPISODES_PER_SAVE
    )
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
    tidy(folder)
    logger.info("%s holds %d episodes", config.output, len(saved) + len(missing))


def collected_seeds(root: Path) -> set[int]:
    """The seeds of the episodes that a dataset holds; none where there is no dataset yet."""
    if not (root / "meta" / "info.json").exists():
        return set()
    dataset = LeRobotDataset(root)
    return {dataset.episode_info(index).seed for index in range(dataset.num_episodes)}


def _defaults(config: CollectConfig) -> dict[str, object]:
    """The defaults of all settings that have plain ones, as they look in JSON."""
    plain = {
        field.name: field.default
        for field in fields(config)  # type: ignore[arg-type]
        if field.default is not MISSING
    }
    return json.loads(json.dumps(plain, default=str))


def _deciding_settings(config: CollectConfig) -> dict[str, object]:
    """The settings that two parts of one dataset must share, as they look in JSON."""
    settings = json.loads(json.dumps(asdict(config), default=str))  # type: ignore[call-overload]
    return {name: settings[name] for name in settings if name not in FREE_TO_CHANGE}
