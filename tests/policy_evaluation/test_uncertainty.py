import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.policy_evaluation.agreement import pearson
from roboscape.policy_evaluation.prediction_powered import best_weight, powered_rate
from roboscape.policy_evaluation.uncertainty import (
    bootstrap,
    paired_ceiling,
    rasch,
    shuffled_agreement,
    shuffled_policies,
    unpaired_ceiling,
)


def outcomes(rates, *, starts, seed=0):
    random = np.random.default_rng(seed)
    return random.random((len(rates), starts)) < np.asarray(rates)[:, None]


def bias(true, imagined):
    return float((imagined - true).mean())


def test_a_perfect_model_does_not_reach_one_with_unpaired_rollouts():
    """Ten policies of evenly spread skill and 100 rollouts each: r is about .985."""
    rates = np.linspace(0.05, 0.95, 10)
    found = unpaired_ceiling(rates, starts=100)
    assert found.median == pytest.approx(0.988, abs=0.004)
    assert found.low == pytest.approx(0.967, abs=0.01)
    assert unpaired_ceiling(rates, starts=20).median < 0.96


def test_equal_starts_raise_the_ceiling_where_starts_differ_in_difficulty():
    random = np.random.default_rng(0)
    chance = 1 / (1 + np.exp(-np.array([-1, 0, 1])[:, None] + 4 * random.normal(size=200)))
    true = random.random(chance.shape) < chance
    paired = paired_ceiling(true, draws=500)
    unpaired = unpaired_ceiling(true.mean(axis=1), starts=200, draws=500)
    assert paired.low > unpaired.low


def test_the_rasch_model_fits_the_rates_of_policies_and_starts():
    true = outcomes([0.2, 0.5, 0.9], starts=40)
    chance = rasch(true)
    np.testing.assert_allclose(chance.mean(axis=1), true.mean(axis=1), atol=0.01)
    assert np.corrcoef(chance.mean(axis=0), true.mean(axis=0))[0, 1] > 0.95
    assert ((chance > 0) & (chance < 1)).all()


def test_the_bootstrap_covers_the_bias_of_new_policies_and_starts():
    covered = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        rates = random.uniform(0.1, 0.7, 8)
        true = outcomes(rates, starts=30, seed=1000 + seed)
        imagined = outcomes(rates + 0.2, starts=30, seed=2000 + seed)
        found = bootstrap(true, imagined, bias, draws=100)
        covered += found.low < 0.2 < found.high
    assert covered >= 17


def test_the_bootstrap_keeps_pairs_together():
    true = outcomes(np.linspace(0.1, 0.9, 6), starts=20)
    found = bootstrap(true, true, bias, draws=200)
    assert (found.low, found.high) == (0, 0)
    assert bootstrap(true, true, pearson, draws=200).low == pytest.approx(1)


def test_the_bootstrap_draws_policies_too():
    """Two kinds of policies, biased +.5 and -.5 without noise: only other policies change it."""
    true = np.zeros((4, 10), bool)
    imagined = true.copy()
    imagined[:2] = True
    found = bootstrap(true, imagined, bias, draws=300)
    assert found.low < 0.2
    assert found.high > 0.8


def test_chance_has_no_correlation_and_less_agreement():
    rates = np.linspace(0.1, 0.9, 10)
    assert abs(shuffled_policies(rates, rates).median) < 0.1
    true = outcomes([0.5], starts=400)
    assert shuffled_agreement(true, true, draws=100).median == pytest.approx(0.5, abs=0.03)


def powered(seed, *, k=20, n=400, agree=0.9, rate=0.6, inflation=0.15):
    """A world that agrees mostly, and calls some failures successes."""
    random = np.random.default_rng(seed)
    true = random.random(k + n) < rate
    noise = random.random(k + n)
    imagined = np.where(noise < agree, true, ~true) | (random.random(k + n) < inflation)
    return powered_rate(true[:k], imagined[:k], imagined[k:])


def test_a_prediction_powered_interval_covers_the_true_rate_of_a_biased_model():
    found = [powered(seed) for seed in range(150)]
    covered = np.mean([one.low <= 0.6 <= one.high for one in found])
    assert covered >= 0.93
    assert np.mean([one.rate for one in found]) == pytest.approx(0.6, abs=0.03)


def test_a_model_that_does_as_well_elsewhere_as_in_the_pairs_changes_no_rate():
    # It solves 8 of 10 where the truth solves 5: what it adds elsewhere, its bias takes off again.
    true, paired = np.arange(20) % 2 == 0, np.arange(20) % 10 != 1
    paired &= np.arange(20) % 10 != 3
    found = powered_rate(true, paired, np.tile(paired, 10))
    assert found.weight > 0.3
    assert found.rate == pytest.approx(true.mean())


def test_it_is_narrower_than_true_episodes_alone_and_no_wider_for_a_useless_model():
    alone = 2 * 1.96 * np.sqrt(0.6 * 0.4 / 20)
    width = np.mean([one.high - one.low for one in map(powered, range(50))])
    assert width < 0.92 * alone
    useless = [powered(seed, agree=0.5, inflation=0.0) for seed in range(50)]
    assert np.mean([one.high - one.low for one in useless]) < 1.1 * alone


def test_the_weight_of_a_perfect_model_is_nearly_one_and_of_a_constant_one_zero():
    y = np.array([0.0, 1.0] * 10)
    assert best_weight(y, y, n=2000) == pytest.approx(0.99, abs=0.001)
    assert best_weight(y, np.ones(20), n=2000) == 0
    assert best_weight(y, 1 - y, n=2000) == 0


def test_too_few_true_episodes_are_refused():
    few = np.ones(3, bool)
    with pytest.raises(UserError, match="at least 5 true episodes"):
        powered_rate(few, few, np.ones(10, bool))
