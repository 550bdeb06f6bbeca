import math

import pytest

from roboscape.annotate.accuracy.segments import boundary_accuracy, match


def test_borders_are_matched_one_to_one_nearest_first():
    assert match([10, 12, 40], [11, 13, 30], tolerance_rows=2.0) == [(10, 11), (12, 13)]


def test_an_estimate_serves_one_truth_only():
    found = boundary_accuracy([([10], [9, 11])], fps=10.0, tolerance_s=0.5)
    assert found.recall == 0.5 and found.precision == 1


def test_errors_and_bias_are_seconds():
    found = boundary_accuracy([([10, 23], [12, 20]), ([], [5])], fps=10.0, tolerance_s=0.3)
    assert (found.truths, found.estimates) == (3, 2)
    assert found.recall == pytest.approx(2 / 3)
    assert found.error_s == pytest.approx(0.25) and found.bias_s == pytest.approx(0.05)


def test_nothing_to_find_is_not_a_perfect_score():
    found = boundary_accuracy([([], [])], fps=10.0, tolerance_s=0.3)
    assert math.isnan(found.recall) and math.isnan(found.error_s)
