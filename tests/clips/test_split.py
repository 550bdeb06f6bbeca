import pytest

from roboscape.clips.split import SPLITS, split_of


@pytest.mark.parametrize(
    ("seed", "split"),
    [
        (0, "train"),
        (799_999, "train"),
        (800_000, "validation"),
        (899_999, "validation"),
        (900_000, "test"),
        (2**33, "test"),
    ],
)
def test_simulated_episodes_are_split_by_their_seeds(seed, split):
    assert split_of(seed) == split in SPLITS


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="negative"):
        split_of(-1)
