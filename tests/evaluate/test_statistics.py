import numpy as np
import pytest

from roboscape.evaluate.statistics import bootstrap_interval, estimate


def test_mean_and_spread_by_hand():
    scores = np.array([[1.0, 3.0], [2.0, 6.0]])
    found = estimate(scores)
    assert found is not None
    assert found.mean == 3.0
    assert found.spread == pytest.approx(np.sqrt(2))
    assert (found.num_clips, found.num_seeds) == (2, 2)


def test_one_seed_has_no_spread():
    found = estimate(np.ones((1, 5)))
    assert found is not None
    assert found.spread is None
    assert (found.low, found.mean, found.high) == (1.0, 1.0, 1.0)


def test_unknown_clips_are_left_out_and_nothing_known_is_none():
    found = estimate(np.array([[1.0, np.nan, 3.0]]))
    assert found is not None
    assert (found.mean, found.num_clips) == (2.0, 2)
    assert estimate(np.full((1, 3), np.nan)) is None


def test_weights_count():
    found = estimate(np.array([[1.0, 4.0]]), weights=np.array([2.0, 1.0]))
    assert found is not None
    assert found.mean == 2.0


def test_the_interval_covers_a_normal_mean_as_theory_says():
    values = np.random.default_rng(0).normal(0.0, 1.0, 400)
    low, high = bootstrap_interval(values, weights=np.ones(400))
    half_width = 1.96 * values.std() / 20
    assert high - low == pytest.approx(2 * half_width, rel=0.1)
    assert low < values.mean() < high


def test_a_clip_unknown_in_any_seed_is_left_out():
    found = estimate(np.array([[1.0, 5.0], [3.0, np.nan]]))
    assert found is not None
    assert (found.mean, found.num_clips) == (2.0, 1)


def test_clips_of_one_episode_are_resampled_together():
    # Four episodes of fifty equal clips each: only four numbers are known.
    means = np.array([1.0, 2.0, 4.0, 9.0])
    episodes = np.repeat([7, 3, 5, 11], 50)
    found = estimate(np.repeat(means, 50)[None], episodes=episodes)
    alone = estimate(means[None][:, [1, 2, 0, 3]])
    assert found is not None and alone is not None
    assert found.mean == pytest.approx(4.0)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), rel=0.2)
    assert (found.num_clips, found.num_episodes) == (200, 4)
    apart = estimate(np.repeat(means, 50)[None])
    assert apart is not None
    assert apart.high - apart.low < 0.3 * (found.high - found.low)


def test_clips_of_an_episode_count_in_its_mean_by_their_number():
    found = estimate(np.array([[0.0, 0.0, 0.0, 8.0]]), episodes=np.array([0, 0, 0, 1]))
    assert found is not None
    assert (found.mean, found.low, found.high) == (2.0, 0.0, 8.0)


def test_one_episode_has_no_interval():
    found = estimate(np.array([[1.0, 3.0]]), episodes=np.array([4, 4]))
    assert found is not None
    assert (found.low, found.mean, found.high, found.num_episodes) == (2.0, 2.0, 2.0, 1)
