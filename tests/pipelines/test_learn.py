"""Learning: what follows from the recordings."""

import pytest

from roboscape.pipelines import learn
from roboscape.pipelines.learn import copies_for
from tests.conftest import LENGTH, write_dataset


@pytest.fixture
def three(tmp_path):
    """Two training episodes and one for validation."""
    return write_dataset(tmp_path / "data", [0, 1, 800_000])


def test_few_recordings_get_copies_and_many_none(three, monkeypatch):
    assert copies_for(three, new_robot=True) == learn.MOST_COPIES
    rows = 2 * LENGTH
    for enough, copies in ((2 * rows + 1, 2), (2 * rows, 1), (rows, 0), (rows - 1, 0)):
        monkeypatch.setattr(learn, "ENOUGH_ROWS", enough)
        assert copies_for(three, new_robot=True) == copies


def test_a_robot_that_is_not_new_to_the_bundle_gets_no_copies(three):
    assert copies_for(three, new_robot=False) == 0
