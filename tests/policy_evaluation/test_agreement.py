import numpy as np
import pytest
from scipy import stats

from roboscape.policy_evaluation.agreement import (
    episode_agreement,
    exact_mcnemar,
    mean_maximum_rank_violation,
    pearson,
    r2_of_identity,
    spearman,
)

TRUE = np.array([0.1, 0.3, 0.3, 0.8])
IMAGINED = np.array([0.2, 0.5, 0.4, 0.6])


def test_correlations_are_scipys():
    assert pearson(TRUE, IMAGINED) == pytest.approx(stats.pearsonr(TRUE, IMAGINED).statistic)
    assert spearman(TRUE, IMAGINED) == pytest.approx(stats.spearmanr(TRUE, IMAGINED).statistic)


def test_rates_that_do_not_vary_have_no_correlation():
    assert np.isnan(pearson(TRUE, np.full(4, 0.3)))
    assert np.isnan(spearman(np.full(4, 0.1 + 0.2), TRUE))
    assert np.isnan(r2_of_identity(np.full(4, 0.3), TRUE))


def test_a_bias_counts_against_r2_and_not_against_r():
    assert pearson(TRUE, TRUE + 0.1) == pytest.approx(1)
    # 4 * .1^2 of .2675 that the true rates vary by.
    assert r2_of_identity(TRUE, TRUE + 0.1) == pytest.approx(1 - 0.04 / 0.2675)


def test_mmrv_is_the_mean_of_each_policys_worst_violation():
    # The best policy is ranked below the second best: both lose their gap of .5, others nothing.
    true, imagined = np.array([0.1, 0.3, 0.8]), np.array([0.0, 0.9, 0.5])
    assert mean_maximum_rank_violation(true, imagined) == pytest.approx(2 * 0.5 / 3)
    assert mean_maximum_rank_violation(true, 2 * true) == 0


def test_mmrv_of_a_reversed_ranking_is_the_mean_of_the_largest_gaps():
    true = np.array([0.1, 0.3, 0.8])
    assert mean_maximum_rank_violation(true, -true) == pytest.approx((0.7 + 0.5 + 0.7) / 3)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 5), (5, 0), (3, 9), (7, 7)])
def test_mcnemar_is_the_exact_binomial_test(first, second):
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert exact_mcnemar(first, second) == pytest.approx(expected)


def test_disagreements_are_told_apart():
    true = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    imagined = np.array([1, 1, 0, 1, 1, 1, 0, 0], bool)
    found = episode_agreement(true, imagined)
    assert (found.both, found.only_true, found.only_imagined, found.neither) == (2, 1, 3, 2)
    assert found.share == pytest.approx(4 / 8)
    assert found.false_success_rate == pytest.approx(3 / 5)
    assert found.false_failure_rate == pytest.approx(1 / 3)
    assert found.mcnemar_p == pytest.approx(stats.binomtest(1, 4).pvalue)
