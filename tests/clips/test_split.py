import numpy as np
import pytest

from roboscape.clips.split import SPLITS, is_of_split, split_of


@pytest.mark.parametrize(
    ("seed", "split"),
    [
        (0, "train"),
        (799_999, "train"),
        (800_000, "validation"),
        (899_999, "validation"),
        (900_000, "test"),
    ],
)
def test_the_seed_alone_decides(seed, split):
    assert split_of(seed) == split
    assert [name for name in SPLITS if is_of_split(np.array([seed]), name)[0]] == [split]


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="-1"):
        split_of(-1)
    with pytest.raises(ValueError, match="-1"):
        is_of_split(np.array([3, -1]), "train")
