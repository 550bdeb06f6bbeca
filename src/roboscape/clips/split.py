"""Which episodes are trained on: decided by an episode's own seed, so it never changes."""

from typing import Literal

from roboscape.dataset.records import FIRST_TEST_SEED, FIRST_VALIDATION_SEED

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def split_of(seed: int) -> Split:
    """The split of an episode with this seed."""
    if seed < 0:
        raise ValueError(f"an episode's seed must not be negative, got {seed}")
    if seed >= FIRST_TEST_SEED:
        return "test"
    return "validation" if seed >= FIRST_VALIDATION_SEED else "train"
