"""Wilson's interval and Krippendorff's alpha, against published values."""

from math import isnan, sqrt

import pytest

from roboscape.core.errors import UserError
from roboscape.evaluate.shares import wilson_interval
from roboscape.human_evaluation.statistics import interval, krippendorff_alpha

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section D: four observers,
# twelve units, values 1 to 5, some missing. Published: nominal .743, interval .849.
KNOWN = {
    "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
}


def ratings(table):
    units = len(next(iter(table.values())))
    return {
        unit: {name: values[unit] for name, values in table.items() if values[unit] is not None}
        for unit in range(units)
    }


def test_alpha_is_the_published_one_with_missing_ratings():
    assert krippendorff_alpha(ratings(KNOWN)) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(ratings(KNOWN), distance=interval) == pytest.approx(0.849, abs=5e-4)


def test_alpha_is_one_in_agreement_negative_in_opposition_and_absent_without_pairs():
    assert krippendorff_alpha({1: {"a": 0, "b": 0}, 2: {"a": 1, "b": 1}}) == 1
    assert krippendorff_alpha({1: {"a": 0, "b": 1}, 2: {"a": 1, "b": 0}}) < 0
    assert isnan(krippendorff_alpha({1: {"a": 0}, 2: {"b": 1}}))
    assert isnan(krippendorff_alpha({1: {"a": 1, "b": 1}}))


def test_wilson_is_where_the_score_test_just_rejects():
    found = wilson_interval(8, 10)
    assert found.value == 0.8
    for end in (found.low, found.high):
        assert abs(0.8 - end) / sqrt(end * (1 - end) / 10) == pytest.approx(1.95996, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_wilson_stays_within_zero_and_one():
    assert wilson_interval(0, 5).low == 0 and 0 < wilson_interval(0, 5).high < 1
    assert wilson_interval(5, 5).high == 1 and 0 < wilson_interval(5, 5).low < 1
    assert isnan(wilson_interval(0, 0).low) and isnan(wilson_interval(0, 0).value)
    with pytest.raises(UserError, match="successes <= trials"):
        wilson_interval(6, 5)
