import numpy as np
import pytest

from roboscape.annotate.accuracy.accuracy import AccuracyReport, as_table, path_px
from roboscape.dataset.records import Tracks

ROWS = 21


class Clairvoyant:
    """Knows the truth; errs by a fixed offset and loses every point at one row."""

    name, version = "clairvoyant", "1"

    def __init__(self, truth: Tracks, *, offset_px: float, lost_from: int) -> None:
        self.settings = {}
        self._truth, self._offset_px, self._lost_from = truth, offset_px, lost_from

    def annotate(self, frames):
        return self.follow(frames, points_px=self._truth.xy_px[0])

    def follow(self, frames, *, points_px):
        np.testing.assert_array_equal(points_px, self._truth.xy_px[0])
        seen = np.broadcast_to(
            np.arange(ROWS)[:, None] < self._lost_from, self._truth.visible.shape
        )
        shifted = self._truth.xy_px + np.array([self._offset_px, 0.0], np.float32)
        return Tracks(xy_px=shifted, visible=seen.copy())


@pytest.fixture
def truth() -> Tracks:
    """Three points: one rests, one moves a pixel a row, one moves and is hidden from row 11 on."""
    xy_px = np.zeros((ROWS, 3, 2), np.float32)
    xy_px[:, 1:, 0] = np.arange(ROWS)[:, None]
    visible = np.ones((ROWS, 3), bool)
    visible[11:, 2] = False
    return Tracks(xy_px=xy_px, visible=visible)


def measure(truth, *, offset_px, lost_from):
    tracker = Clairvoyant(truth, offset_px=offset_px, lost_from=lost_from)
    report = AccuracyReport(tracker, survival_rows=(10, 20, 400))
    report.add(np.zeros((ROWS, 8, 8, 3), np.uint8), truth)
    return report.result()


def test_path_is_the_length_travelled(truth):
    np.testing.assert_allclose(path_px(truth), [0, 20, 20])


def test_perfect_tracking_is_perfect(truth):
    result = measure(truth, offset_px=0.0, lost_from=ROWS)
    for one, points in ((result["moving"], 2), (result["static"], 1)):
        assert (one.points, one.mean_px, one.median_px) == (points, 0, 0)
        assert (one.within_2_px, one.followed) == (1, 1)
        assert one.survival[10] == one.survival[20] == 1
    assert result["moving"].false_alarms == 1
    assert np.isnan(result["static"].false_alarms)
    assert np.isnan(result["moving"].survival[400])


def test_errors_and_losses_are_counted_where_the_truth_is_visible(truth):
    result = measure(truth, offset_px=2.5, lost_from=16)
    moving = result["moving"]
    assert moving.mean_px == pytest.approx(2.5) and moving.within_2_px == 0
    # Rows 1 to 20 of one point and 1 to 10 of the other are visible: 25 of those 30 are followed.
    assert moving.followed == pytest.approx(25 / 30)
    assert moving.false_alarms == pytest.approx(5 / 10)
    assert moving.survival[10] == 1 and moving.survival[20] == 0
    assert measure(truth, offset_px=4.0, lost_from=ROWS)["moving"].survival[10] == 0


def test_the_table_has_a_line_for_each_kind(truth):
    lines = as_table(measure(truth, offset_px=1.0, lost_from=ROWS)).splitlines()
    assert len(lines) == 3 and lines[1].startswith("moving") and "10: 100%" in lines[1]


def test_nothing_to_compare_is_an_error(truth):
    tracker = Clairvoyant(truth, offset_px=0.0, lost_from=ROWS)
    with pytest.raises(ValueError, match="no episode to compare"):
        AccuracyReport(tracker, survival_rows=()).result()
