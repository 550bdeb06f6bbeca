from dataclasses import replace

import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.planning.ranking import RankedPolicy
from roboscape.policies.protocol import PolicySpec
from tests.planning.conftest import CAMERA, STRIDE


class Draws:
    """A policy whose chunk is one random number, of its seed and of how often it was asked."""

    def __init__(self, simulator, *, chunk=2 * STRIDE, executed=STRIDE):
        self.spec = PolicySpec(
            cameras=(CAMERA,),
            state_names=("eef_y",),
            frame_hz=simulator.spec.frame_hz,
            action=simulator.spec.action,
            chunk=chunk,
            executed=executed,
        )
        self.noise, self.shown = [], []

    def reset(self, seeds, *, where=None):
        new = [np.random.default_rng(seed) for seed in seeds]
        if where is None:
            self.noise = new
            return
        for world, generator in zip(np.flatnonzero(where), new, strict=True):
            self.noise[world] = generator

    def act(self, observed, *, worlds):
        self.shown.append(observed)
        drawn = [self.noise[world].uniform(-1, 1) for world in worlds]
        return np.tile(np.array(drawn)[:, None, None], (1, self.spec.chunk, 3))

    def close(self):
        pass


class Numbered:
    """Costs by the number of the proposal."""

    reads = "states"

    def __init__(self, *costs):
        self.costs = costs

    def __call__(self, futures):
        return np.tile(self.costs, len(futures.given.state)).astype(float)


def alone(simulator, seeds, *, asked=1):
    policy = Draws(simulator)
    policy.reset(seeds)
    for _ in range(asked):
        chunks = policy.act(None, worlds=np.arange(len(seeds)))
    return chunks


def ranked(imaginer, *costs, **settings):
    policy = Draws(imaginer.simulator)
    return RankedPolicy(policy, imaginer, Numbered(*costs), proposals=len(costs), **settings)


@pytest.mark.parametrize("costs", [(5.0,), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0)])
def test_the_first_proposal_is_what_the_policy_alone_would_do(imaginer, observed, costs):
    planner = ranked(imaginer, *costs)
    planner.reset([5, 6, 7])
    for asked in (1, 2):
        found = planner.act(observed, worlds=np.arange(3))
        np.testing.assert_allclose(
            found, alone(imaginer.simulator, [5, 6, 7], asked=asked), atol=1e-6
        )


def test_the_cheapest_proposal_is_taken(imaginer, observed):
    planner = ranked(imaginer, 2.0, 3.0, 1.0)
    planner.reset([5, 6, 7])
    found = planner.act(observed, worlds=np.arange(3))
    assert planner.chosen == [2, 2, 2]
    assert np.abs(found - alone(imaginer.simulator, [5, 6, 7])).min(axis=(1, 2)).min() > 0.001


def test_costs_are_those_of_the_chunks_futures(imaginer, observed):
    """The cost is where the hand would be: the chosen chunk is the one that leads there."""

    class HandLeft:
        reads = "states"

        def __call__(self, futures):
            return futures.states[:, -1, 0].astype(float)

    policy = Draws(imaginer.simulator)
    planner = RankedPolicy(policy, imaginer, HandLeft(), proposals=4)
    planner.reset([5, 6, 7])
    chosen = planner.act(observed, worlds=np.arange(3))
    policy.reset(np.arange(12).tolist())
    planner.reset([5, 6, 7])
    drawn = policy.act(None, worlds=np.arange(12)).reshape(3, 4, -1, 3)
    futures = imaginer.imagine(observed, drawn, seeds=[5, 6, 7])
    best = futures.states[:, -1, 0].reshape(3, 4).argmin(axis=1)
    np.testing.assert_allclose(chosen, drawn[np.arange(3), best], atol=1e-6)
    assert len(set(best.tolist())) > 1


def test_doubt_decides_between_proposals_of_equal_cost(imaginer, observed):
    planner = ranked(imaginer, 0.0, 0.0, 0.0, 0.0, doubt=1.0)
    planner.reset([5, 6, 7])
    planner.act(observed, worlds=np.arange(3))
    assert set(planner.chosen) != {0}


def test_no_frame_is_imagined_where_states_are_enough_and_doubted_is_nothing(
    imaginer, observed, monkeypatch
):
    def refused(actions):
        raise AssertionError("a frame was imagined")

    monkeypatch.setattr(imaginer.simulator, "step", refused)
    planner = ranked(imaginer, 0.0, 1.0)
    planner.reset([5, 6, 7])
    planner.act(observed, worlds=np.arange(3))
    assert planner.chosen == [0, 0, 0]
    planner = ranked(imaginer, 0.0, 1.0, doubt=1.0)
    planner.reset([5, 6, 7])
    with pytest.raises(AssertionError, match="was imagined"):
        planner.act(observed, worlds=np.arange(3))


def test_a_world_is_planned_for_alike_alone_and_beside_others(imaginer, observed, some):
    planner = ranked(imaginer, 2.0, 1.0)
    planner.reset([5, 6, 7])
    together = planner.act(observed, worlds=np.arange(3))
    planner.reset([5, 6, 7])
    np.testing.assert_allclose(planner.act(some([2]), worlds=np.array([2]))[0], together[2])
    planner.reset([9], where=np.array([False, True, False]))
    new = planner.act(some([1]), worlds=np.array([1]))
    planner.reset([9])
    np.testing.assert_allclose(planner.act(some([1]), worlds=np.array([0])), new)


def test_the_policy_is_shown_what_it_asks_for(imaginer, observed):
    policy = Draws(imaginer.simulator)
    planner = RankedPolicy(policy, imaginer, Numbered(0.0, 0.0), proposals=2)
    planner.reset([5, 6, 7])
    planner.act(observed, worlds=np.arange(3))
    (shown,) = policy.shown
    assert shown.state.shape == (6, 1, 1)
    np.testing.assert_array_equal(shown.state[2:4, 0, 0], np.repeat(observed.state[1, 1, 1], 2))
    assert planner.spec.state_names == ("eef_x", "eef_y")
    assert planner.spec.frames == 2


def test_no_proposals_and_chunks_shorter_than_a_frame_are_refused(imaginer):
    with pytest.raises(UserError, match="at least one proposal"):
        RankedPolicy(Draws(imaginer.simulator), imaginer, Numbered(0.0), proposals=0)
    short = Draws(imaginer.simulator, chunk=1, executed=1)
    with pytest.raises(UserError, match="of at least 2 native actions"):
        RankedPolicy(short, imaginer, Numbered(0.0))
    other = Draws(imaginer.simulator)
    other.spec = replace(other.spec, cameras=("left",))
    with pytest.raises(UserError, match="shown camera 'left'"):
        RankedPolicy(other, imaginer, Numbered(0.0))
