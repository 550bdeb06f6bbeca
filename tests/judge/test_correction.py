"""A judge's errors, and rates with the errors taken out."""

import numpy as np
import pytest

from roboscape.judge.correction import (
    Confusion,
    calibration_error,
    corrected_rate,
    fitted_temperature,
)


def confusion(sensitivity=0.9, specificity=0.8, count=1000):
    return Confusion(
        true_success=round(sensitivity * count),
        false_failure=round((1 - sensitivity) * count),
        false_success=round((1 - specificity) * count),
        true_failure=round(specificity * count),
    )


def test_verdicts_are_counted_in_their_places():
    truth = np.array([1, 1, 1, 0, 0, 0, 1, 0], bool)
    found = np.array([1, 1, 0, 1, 0, 0, 0, 0], bool)
    unknown = np.array([0, 0, 0, 0, 0, 0, 1, 1], bool)
    counts = Confusion.of(truth, found, unknown=unknown)
    assert counts == Confusion(
        true_success=2,
        false_failure=1,
        false_success=1,
        true_failure=2,
        unknown_success=1,
        unknown_failure=1,
    )
    assert counts.sensitivity == pytest.approx(2 / 3) == counts.specificity


def test_a_known_rate_is_found_again():
    # Of 1000 with a true rate of .6, this judge finds .6 * .9 + .4 * .2 = .62.
    found = corrected_rate(620, 1000, confusion(), unknown=7)
    assert found.rate == pytest.approx(0.6)
    assert found.measured == 0.62 and found.unknown == 7
    assert found.low < 0.6 < found.high


def test_a_perfect_judge_changes_nothing():
    found = corrected_rate(30, 100, confusion(1.0, 1.0))
    assert found.rate == pytest.approx(0.3) and 0.2 < found.low < 0.3 < found.high < 0.42


def test_a_rate_below_the_false_alarms_is_zero_not_negative():
    found = corrected_rate(10, 100, confusion())
    assert found.rate == 0 and found.low == 0


def test_fewer_calibration_episodes_widen_the_interval():
    many, few = (corrected_rate(62, 100, confusion(count=n)) for n in (1000, 20))
    assert few.high - few.low > 1.3 * (many.high - many.low)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_intervals_hold_the_truth_about_as_often_as_they_say(rate):
    generator = np.random.default_rng(1)
    sensitivity, specificity, inside, times = 0.85, 0.9, 0, 120
    for _ in range(times):
        yes, no = generator.binomial(60, sensitivity), generator.binomial(60, specificity)
        measured = Confusion(
            true_success=yes, false_failure=60 - yes, false_success=60 - no, true_failure=no
        )
        chance = rate * sensitivity + (1 - rate) * (1 - specificity)
        found = corrected_rate(generator.binomial(100, chance), 100, measured)
        inside += found.low <= rate <= found.high
    assert inside / times >= 0.89


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (confusion(0.5, 0.5), "no better than chance"),
        (
            Confusion(true_success=5, false_failure=0, false_success=0, true_failure=0),
            "no better than chance",
        ),
    ],
)
def test_a_judge_that_says_nothing_is_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        corrected_rate(5, 10, counts)


def test_more_successes_than_verdicts_are_refused():
    with pytest.raises(ValueError, match="successes <= known"):
        corrected_rate(11, 10, confusion())


def test_overconfident_logits_are_divided_by_what_they_exaggerate():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, 20_000)
    truth = generator.random(20_000) < 1 / (1 + np.exp(-logits))
    assert fitted_temperature(3 * logits, truth) == pytest.approx(3, rel=0.1)
    with pytest.raises(ValueError, match="solved and unsolved"):
        fitted_temperature(logits, np.ones(20_000, bool))


def test_calibration_error_is_the_gap_of_probability_and_frequency():
    generator = np.random.default_rng(0)
    probability = generator.random(50_000)
    truth = generator.random(50_000) < probability
    assert calibration_error(probability, truth) < 0.02
    assert calibration_error(np.full(4, 0.9), np.array([1, 0, 0, 0], bool)) == pytest.approx(0.65)
