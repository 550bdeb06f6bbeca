"""The stages of a complete run, in order, as the demo and the quickstart use them."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from roboscape.clips.index import IndexClips
from roboscape.clips.index import run as index_clips
from roboscape.evaluate.results import Results, Subject
from roboscape.sources.lift import CollectLift
from roboscape.sources.lift import run as collect_lift
from roboscape.tokens.build import Tokenize
from roboscape.tokens.build import run as tokenize
from roboscape.tokens.store import TokenStore

log = logging.getLogger(__name__)

TRACKER = "lucas_kanade"


@dataclass
class Stages:
    """Says what is happening, and how long it took in the end."""

    total: int
    done: int = 0
    started: float = field(default_factory=time.monotonic)

    def begin(self, title: str) -> None:
        """Announce the next stage."""
        self.done += 1
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        log.info("\n[%d/%d] %s   (%d:%02d)", self.done, self.total, title, minutes, seconds)


def model_stride(fps: float, *, frame_hz: float) -> int:
    """Rows of a recording from one frame of the model to the next."""
    return max(1, round(fps / frame_hz))


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How many episodes of each split, and the first seed of each."""

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


TABLE = (
    ("psnr", "PSNR, dB", 1),
    ("ssim", "SSIM", 3),
    ("abs_rel@metric", "depth AbsRel", 3),
    ("delta1@metric", "depth δ1", 3),
    ("delta_psnr@shuffled", "ΔPSNR, dB", 1),
)


def table(columns: dict[str, Results]) -> str:
    """The figures that one looks at first, one column for every evaluation, floors beside them."""
    first = next(iter(columns.values()))
    names = ["still frame", *columns, "tokenizer ceiling"]
    rows = [["", *names]]
    for key, title, digits in TABLE:
        models = [score(results, key, "model", digits) for results in columns.values()]
        floor, ceiling = (score(first, key, end, digits) for end in ("static", "ceiling"))
        rows.append([title, floor, *models, ceiling])
    cubes = [results.cube for results in columns.values()]
    agreements = [f"{cube.agreement:.0%}" if cube else "–" for cube in cubes]
    rows.append(["cube rises as in truth", "–", *agreements, "–"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(lines)


def score(results: Results, key: str, subject: Subject, digits: int) -> str:
    """One cell."""
    found = results.row(key).of(subject)
    return f"{found.estimate.mean:.{digits}f}" if found else "–"
