from dataclasses import replace

import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.planning.costs import Goal, GoalStateCost
from roboscape.planning.sampling import (
    RandomPolicy,
    SamplingConfig,
    SamplingPlanner,
    correlated_noise,
    moved,
)
from tests.planning.conftest import STRIDE

CONFIG = SamplingConfig(samples=16, elites=4, iterations=3, frames=3, executed=1, spread=0.8)


@pytest.fixture
def goals(imaginer, observed):
    """For each seed where a known sequence brings the hand."""
    actions = np.random.default_rng(4).uniform(-0.7, 0.7, (3, 1, 3 * STRIDE, 3))
    reached = imaginer.imagine(observed, actions, seeds=[5, 6, 7]).states[:, -1]
    states = zip((5, 6, 7), reached, strict=True)
    return {seed: Goal(rgb={}, depth_m={}, state=state) for seed, state in states}


def planned(imaginer, goals, observed, *, config=CONFIG, seeds=(5, 6, 7)):
    planner = SamplingPlanner(imaginer, GoalStateCost(goals, columns=[0, 1]), config)
    planner.reset(list(seeds))
    return planner, planner.act(observed, worlds=np.arange(len(seeds)))


@pytest.mark.parametrize("method", ["cem", "mppi"])
def test_plans_come_nearer_to_the_goal_than_staying_and_than_chance(
    imaginer, goals, observed, method
):
    config = replace(CONFIG, method=method, iterations=4)
    planner, plan = planned(imaginer, goals, observed, config=config)
    cost = GoalStateCost(goals, columns=[0, 1])
    by_chance = RandomPolicy(planner.spec, config)
    by_chance.reset([5, 6, 7])
    stay = np.zeros_like(plan)
    stay[..., 2] = -1
    sequences = np.stack([plan, stay, by_chance.act(observed, worlds=np.arange(3))], axis=1)
    costs = cost(imaginer.imagine(observed, sequences, seeds=[5, 6, 7])).reshape(3, 3).mean(axis=0)
    assert costs[0] < 0.8 * costs[1:].min()


def test_a_world_is_planned_for_alike_alone_and_beside_others(imaginer, goals, observed, some):
    _, together = planned(imaginer, goals, observed)
    _, alone = planned(imaginer, goals, some([1]), seeds=(6,))
    np.testing.assert_allclose(alone[0], together[1], atol=1e-5)


def test_the_next_search_begins_where_the_last_one_left(imaginer, goals, observed):
    config = replace(CONFIG, samples=1, elites=1, iterations=1)
    planner, first = planned(imaginer, goals, observed)
    follower = SamplingPlanner(imaginer, GoalStateCost(goals, columns=[0, 1]), config)
    follower.reset([5, 6, 7])
    follower._searches = planner._searches
    # One sample is the mean itself.
    second = follower.act(observed, worlds=np.arange(3))
    np.testing.assert_allclose(second[:, :-STRIDE], first[:, STRIDE:], atol=1e-6)
    np.testing.assert_allclose(second[:, -STRIDE:], np.tile([0, 0, -1], (3, STRIDE, 1)))


def test_what_has_no_spread_stays_as_it_was(imaginer, goals, observed):
    _, plan = planned(imaginer, goals, observed)
    assert (plan[..., 2] == -1).all()
    assert np.abs(plan[..., :2]).max() > 0.1
    _, plan = planned(imaginer, goals, observed, config=replace(CONFIG, gripper_spread=1.0))
    assert (plan[..., 2] > -1).any()


def test_cem_moves_to_mean_and_spread_of_the_elites():
    samples = np.arange(5.0)[None, :, None, None]
    costs = np.array([[3.0, 0.0, 9.0, 1.0, 9.0]])
    mean, spread = moved(samples, costs, np.ones((1, 1, 1)), config=replace(CONFIG, elites=2))
    assert mean.item() == 2
    assert spread.item() == 1
    _, least = moved(samples, costs, np.ones((1, 1, 1)), config=replace(CONFIG, elites=1))
    assert least.item() == 0.05


def test_mppi_weighs_samples_by_how_cheap_they_are():
    samples = np.array([0.0, 1.0])[None, :, None, None]
    costs = np.array([[0.0, 2.0]])
    config = replace(CONFIG, method="mppi", temperature=0.5)
    mean, spread = moved(samples, costs, np.full((1, 1, 1), 0.3), config=config)
    # The standard deviation of the costs is 1: weights exp(0) and exp(-2 / .5).
    assert mean.item() == pytest.approx(np.exp(-4) / (1 + np.exp(-4)))
    assert spread.item() == 0.3


def test_noise_has_variance_one_and_the_asked_for_correlation():
    generator = np.random.default_rng(0)
    noise = correlated_noise((4000, 6, 2), correlation=0.8, generator=generator)
    np.testing.assert_allclose(noise.std(axis=(0, 2)), 1, atol=0.03)
    for row in range(5):
        found = np.corrcoef(noise[:, row].ravel(), noise[:, row + 1].ravel())[0, 1]
        assert found == pytest.approx(0.8, abs=0.03)


def test_what_is_not_given_follows_from_what_is_looked_at():
    config = SamplingConfig(samples=8, frames=1)
    states, frames = config.settled("states"), config.settled("all")
    assert (states.samples, states.elites, states.iterations, states.executed) == (8, 8, 4, 1)
    assert (frames.samples, frames.elites, frames.iterations, frames.executed) == (8, 6, 2, 1)
    usual = [SamplingConfig().settled(reads) for reads in ("states", "tokens")]
    assert [(one.samples, one.elites, one.iterations) for one in usual] == [(16, 16, 4), (32, 6, 2)]
    assert states.settled("all") == states


def test_searches_of_nothing_are_refused():
    with pytest.raises(UserError, match="elites <= samples"):
        SamplingConfig(samples=2, elites=3)
    with pytest.raises(UserError, match="elites and executed >= 0"):
        SamplingConfig(iterations=-1)
    with pytest.raises(UserError, match="executed <= frames"):
        SamplingConfig(frames=1, executed=2)
