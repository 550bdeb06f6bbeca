import numpy as np
import pytest

from roboscape.annotate.accuracy.cuts import CutAccuracy, concatenate, cut_accuracy
from roboscape.annotate.accuracy.depth import depth_accuracy
from roboscape.annotate.backends import Cuts


class Says:
    name, version = "says", "1"
    settings: dict = {}  # noqa: RUF012 - a constant

    def __init__(self, *rows: int) -> None:
        self._rows = rows

    def annotate(self, frames):
        return Cuts(rows=self._rows, probability=np.zeros(len(frames)))


def test_cuts_count_once_within_the_tolerance():
    frames, planted = concatenate([np.zeros((n, 4, 4, 3), np.uint8) for n in (10, 20, 30)])
    assert planted == (10, 30) and len(frames) == 60
    exact = cut_accuracy(Says(10, 30), frames, planted=planted)
    assert (exact.recall, exact.false_alarms) == (1, 0)
    near = cut_accuracy(Says(9, 10, 31, 50), frames, planted=planted)
    assert (near.recall, near.false_alarms, near.precision) == (1, 2, 0.5)
    far = cut_accuracy(Says(12), frames, planted=planted)
    assert (far.recall, far.false_alarms) == (0, 1)
    both = exact + far
    assert both == CutAccuracy(planted=4, found=2, false_alarms=1, rows=120)
    nothing = cut_accuracy(Says(), frames, planted=())
    assert np.isnan(nothing.recall) and np.isnan(nothing.precision)


def test_depth_errors_are_what_they_are():
    truth = np.random.default_rng(0).uniform(1, 2, (4, 8, 8))
    exact = depth_accuracy(truth, truth)
    assert (exact.abs_rel, exact.abs_rel_scaled, exact.delta_1, exact.flicker) == (0, 0, 1, 0)
    scaled = depth_accuracy(1.5 * truth, truth)
    assert scaled.abs_rel == pytest.approx(0.5)
    assert scaled.abs_rel_scaled == pytest.approx(0, abs=1e-6) and scaled.flicker < 1e-6
    flickering = truth * np.array([1.0, 1.1, 1.0, 1.1])[:, None, None]
    assert depth_accuracy(flickering, truth).flicker == pytest.approx(np.log(1.1))
    holes = np.where(np.arange(8) < 2, 0, truth)
    assert depth_accuracy(1.2 * truth, holes).abs_rel == pytest.approx(0.2)
    with pytest.raises(ValueError, match="no pixel has a true depth"):
        depth_accuracy(truth, 0 * truth)
