"""The split of episodes into training, validation and test: the column `split` of a dataset.

The first of these that names a split decides, and the reader gives the result as
`EpisodeInfo.split`:

1. `annotations/splits.json`: the user's choice, a word an episode (`save_splits`);
2. the column `split` of the episodes' metadata, which `DatasetWriter` writes: what the recordings
   say, else the rule below;
3. the column `seed`, which simulators and older versions of this program wrote (`split_of`);
4. the rule: a share of counts (`SplitShares`), in the order of the episodes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from roboscape.core.config import load_config
from roboscape.core.errors import UserError
from roboscape.core.files import write_json
from roboscape.dataset.records import FIRST_TEST_SEED, FIRST_VALIDATION_SEED, Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SPLITS_FILE = "annotations/splits.json"


@dataclass(frozen=True, kw_only=True)
class SplitShares:
    """The shares of the episodes that are held out.

    For tests round(test * n), for validation round(validation * n), and at least one as soon as
    there are two. At least one episode stays for training. A share of 0 holds out none.

    Episodes take their splits one after the other, whichever count is short, tests first (where
    both are short, the next episode is for validation). So the counts hold for the first n episodes
    of any n, an episode keeps its split when others are appended, and what is held out is spread
    evenly over the recordings.
    """

    validation: float = 0.05
    """Share of the episodes for validation."""
    test: float = 0.05
    """Share of the episodes for tests."""

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing to train on."""
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise UserError(
                "expected validation and test to be shares that leave something for training, got "
                f"{self.validation} and {self.test}"
            )

    def next_split(self, counts: Counter[Split]) -> Split:
        """The split of the episode that follows these."""
        count = counts.total() + 1
        test = round(self.test * count)
        validation = round(self.validation * count)
        if count >= 2:
            test = min(test, count - 2)
            validation = min(max(validation, 1), count - 1 - test) if self.validation else 0
        if counts["test"] < test:
            return "test"
        return "validation" if counts["validation"] < validation else "train"


DEFAULT_SHARES = SplitShares()


@dataclass(frozen=True, kw_only=True)
class SplitChoice:
    """The content of `annotations/splits.json`."""

    shares: SplitShares
    """The rule of episodes that are appended later."""
    splits: tuple[str, ...]
    """One word an episode, in the dataset's order: `train`, `validation` or `test`."""

    def __post_init__(self) -> None:
        """Refuse other words."""
        if unknown := set(self.splits) - set(SPLITS):
            raise UserError(f"expected a split to be one of {SPLITS}, got {sorted(unknown)}")


def split_of(seed: int) -> Split:
    """The split of a simulated episode with this seed."""
    if seed < 0:
        raise UserError(f"an episode's seed must not be negative, got {seed}")
    if seed >= FIRST_TEST_SEED:
        return "test"
    return "validation" if seed >= FIRST_VALIDATION_SEED else "train"


def complete_splits(known: Sequence[Split | None], shares: SplitShares) -> list[Split]:
    """The split of every episode, by the rule for those of which none is known."""
    counts: Counter[Split] = Counter()
    splits: list[Split] = []
    for split in known:
        splits.append(split or shares.next_split(counts))
        counts[splits[-1]] += 1
    return splits


def resolve_splits(root: Path, recorded: Sequence[Split | None]) -> list[Split]:
    """The split of every episode of the dataset in a folder.

    Args:
        root: The dataset's folder.
        recorded: The split of each episode in the dataset's own metadata, in order.
    """
    chosen = read_splits(root)
    if chosen is None:
        return complete_splits(recorded, DEFAULT_SHARES)
    named = cast("tuple[Split, ...]", chosen.splits[: len(recorded)])
    return complete_splits([*named, *recorded[len(named) :]], chosen.shares)


def read_splits(root: Path) -> SplitChoice | None:
    """The user's choice; None where there is none."""
    path = root / SPLITS_FILE
    return load_config(SplitChoice, path) if path.is_file() else None


def save_splits(root: Path, choice: SplitChoice) -> None:
    """Write `annotations/splits.json`, which decides over the dataset's own metadata."""
    write_json(root / SPLITS_FILE, asdict(choice))
