"""The stages of a complete run, in order, as the demo and the quickstart use them."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from roboscape.clips.index import IndexClips
from roboscape.clips.index import run as index_clips
from roboscape.collect.lift import CollectLift
from roboscape.collect.lift import run as collect_lift
from roboscape.tokens.build import Tokenize
from roboscape.tokens.build import run as tokenize
from roboscape.tokens.store import TokenStore

log = logging.getLogger(__name__)


@dataclass
class Stages:
    """Log of a complete run: the number, title and starting time of each stage."""

    total: int
    done: int = 0
    started: float = field(default_factory=time.monotonic)

    def begin(self, title: str) -> None:
        """Announce the next stage."""
        self.done += 1
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        log.info("\n[%d/%d] %s   (%d:%02d)", self.done, self.total, title, minutes, seconds)


@dataclass(frozen=True, kw_only=True)
class Amount:
    """The number of episodes of each split, and the first seed of each."""

    train: int
    validation: int
    test: int
    train_seed: int
    validation_seed: int
    test_seed: int

    def splits(self) -> dict[str, tuple[int, int]]:
        """First seed and number of episodes by split."""
        return {
            "train": (self.train_seed, self.train),
            "validation": (self.validation_seed, self.validation),
            "test": (self.test_seed, self.test),
        }


def collect(output: Path, *, amount: Amount, workers: int) -> dict[str, Path]:
    """Record every split as a dataset of its own; returns their folders by split."""
    folders: dict[str, Path] = {}
    for split, (seed, episodes) in amount.splits().items():
        folders[split] = output / f"lift_{split}"
        collect_lift(
            CollectLift(output=folders[split], episodes=episodes, seed=seed, workers=workers)
        )
    return folders


def cut_clips(folders: dict[str, Path]) -> None:
    """Index the clips of recordings that bring the simulator's own tracks."""
    for folder in folders.values():
        index_clips(IndexClips(dataset=folder))


def write_tokens(
    folders: dict[str, Path],
    *,
    tokenizer: Path,
    output: Path,
    proprioception: Path | None = None,
    controls: Path | None = None,
) -> TokenStore:
    """Encode all splits into one store.

    Args:
        folders: Datasets by split.
        tokenizer: Folder of the tokenizer.
        output: Folder of the store.
        proprioception: Folder of the model that makes new control signals.
        controls: Folder of a checkpoint whose control signals to keep, for fine-tuning.
    """
    return tokenize(
        Tokenize(
            datasets=tuple(folders.values()),
            tokenizer=str(tokenizer),
            output=output,
            proprioception=None if proprioception is None else str(proprioception),
            controls=None if controls is None else str(controls),
        )
    )
