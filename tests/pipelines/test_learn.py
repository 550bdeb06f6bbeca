"""Learning: what follows from the recordings."""

import pytest

from roboscape.core.pretrained import resolve
from roboscape.pipelines import learn
from roboscape.pipelines.learn import copies_for
from tests.conftest import LENGTH, write_dataset


@pytest.fixture
def three(tmp_path):
    """Two training episodes and one for validation."""
    return write_dataset(tmp_path / "data", [0, 1, 800_000])


def test_few_recordings_get_copies_and_many_none(three, monkeypatch):
    assert copies_for(three, controls=None) == learn.MOST_COPIES
    rows = 2 * LENGTH
    for enough, copies in ((2 * rows + 1, 2), (2 * rows, 1), (rows, 0), (rows - 1, 0)):
        monkeypatch.setattr(learn, "ENOUGH_ROWS", enough)
        assert copies_for(three, controls=None) == copies


def test_an_arm_model_that_reads_objects_off_frames_gets_no_copies(three):
    assert copies_for(three, controls=str(resolve("lift"))) == 0
    assert copies_for(three, controls=str(resolve("general"))) == learn.MOST_COPIES
