"""The tests of a study are the textbook's: golden numbers, corrections and intervals."""

import numpy as np
import pytest
from scipy import stats

from roboscape.reproduce.statistics import (
    bootstrap_interval,
    compare,
    corrected,
    holm,
    paired_t,
    signed_rank,
)

BEFORE = np.array([20.1, 19.8, 20.4, 20.0, 19.9])
AFTER = np.array([20.6, 20.1, 20.7, 20.6, 20.1])


def test_the_paired_t_test_is_scipys():
    found = paired_t(AFTER - BEFORE)
    assert found == pytest.approx(stats.ttest_rel(AFTER, BEFORE).pvalue, rel=1e-12)
    # mean .38, sd .16432: t = 5.1713 with 4 degrees of freedom.
    assert found == pytest.approx(0.006647, abs=1e-6)


def test_five_seeds_that_all_agree_have_a_wilcoxon_p_of_one_sixteenth():
    assert signed_rank(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(0.0625)
    values = np.random.default_rng(0).normal(0.3, 1, 20)
    assert signed_rank(values) == pytest.approx(stats.wilcoxon(values).pvalue)


def test_tests_that_are_not_defined_give_none():
    assert paired_t(np.array([0.3])) is None
    assert paired_t(np.array([0.5, 0.5, 0.5])) is None
    assert signed_rank(np.zeros(5)) is None


def test_holm_multiplies_the_smallest_most_and_never_orders_anew():
    # Holm (1979) by hand: 4 x .005, 3 x .01, 2 x .03, then no less than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([0.2]) == [0.2]


def scores(seed_effect, clip_effect, *, seeds=5, clips=24):
    random = np.random.default_rng(3)
    return (
        seed_effect * random.normal(size=(seeds, 1)) + clip_effect * random.normal(size=(1, clips))
    ) + np.zeros((seeds, clips))


@pytest.mark.parametrize(("seed_effect", "clip_effect"), [(1.0, 0.0), (0.0, 1.0)])
def test_the_interval_is_wide_where_either_seeds_or_clips_differ(seed_effect, clip_effect):
    values = scores(seed_effect, clip_effect)
    low, high = bootstrap_interval(values)
    count = 5 if seed_effect else 24
    spread = values.std(axis=0 if seed_effect else 1).max() / np.sqrt(count)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.25)


def test_a_comparison_is_paired_by_seed_and_leaves_unknown_clips_out():
    reference = scores(5.0, 3.0)
    variant = reference + 0.2 + 0.01 * np.arange(5)[:, None]
    variant[2, 4] = np.nan
    found = compare("psnr", variant, reference)
    assert (found.seeds, found.clips) == (5, 23)
    assert found.difference == pytest.approx(0.22)
    assert found.sd == pytest.approx(0.01 * np.std(np.arange(5), ddof=1))
    assert found.dz == pytest.approx(0.22 / found.sd)
    assert 0.2 <= found.low < 0.22 < found.high <= 0.24
    assert compare("cube", np.full((2, 3), np.nan), np.zeros((2, 3))) is None


def test_correction_covers_all_metrics_of_a_comparison():
    reference = scores(0.0, 1.0)
    step = np.linspace(0.1, 0.3, 5)[:, None]
    found = corrected([compare(str(n), reference + (n + 1) * step, reference) for n in range(4)])
    # Equal effects in units of their spread: one p-value four times, so each is four times itself.
    for one in found:
        assert one.t_holm == pytest.approx(min(1.0, 4 * one.t_p))
        assert one.wilcoxon_holm == pytest.approx(min(1.0, 4 * one.wilcoxon_p))
