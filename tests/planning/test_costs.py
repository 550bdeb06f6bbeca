from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.core.errors import UserError
from roboscape.planning.costs import (
    Goal,
    GoalDepthCost,
    GoalImageCost,
    GoalStateCost,
    GoalTokenCost,
    RuleCost,
    goal_tokens,
    part,
)
from roboscape.planning.imagining import Futures
from roboscape.simulators.protocol import Observation
from roboscape.simulators.success import CubeRaised
from tests.planning.conftest import CAMERA

SEEDS = [7, 8]
WORLD = np.array([0, 0, 1, 1])


def seen(rgb, depth_m, states):
    return Observation(rgb={CAMERA: rgb}, depth_m={CAMERA: depth_m}, state=states)


@pytest.fixture
def futures(lift_scene):
    """Two worlds with two candidates each; the second one of each raises its cube."""
    low = lift_scene.render(height=0.05, top=40)
    high = lift_scene.render(height=0.3, top=25)
    rgb, depth_m = (np.stack(x) for x in zip(low, high, low, high, strict=True))
    given_rgb, given_depth_m = (np.stack(x) for x in zip(low, low, strict=True))
    states = np.zeros((4, 2, 2), np.float32)
    states[:, 1, 0] = [0.0, 0.1, 0.2, 0.3]
    return Futures(
        given=seen(given_rgb, given_depth_m, np.zeros((2, 2), np.float32)),
        seeds=SEEDS,
        world=WORLD,
        last=seen(rgb, depth_m, states[:, -1]),
        states=states,
        confidence=np.ones(4),
        tokens=np.zeros((2, 4, 16), np.int32),
    )


@pytest.fixture
def goals(lift_scene):
    """Seed 7 wants the cube low and the hand at x = .1, seed 8 high and at .2."""
    frames = lift_scene.render(height=0.05, top=40), lift_scene.render(height=0.3, top=25)
    return {
        seed: Goal(
            rgb={CAMERA: rgb},
            depth_m={CAMERA: depth_m},
            state=np.array([place, 0.0], np.float32),
        )
        for seed, place, (rgb, depth_m) in zip(SEEDS, (0.1, 0.2), frames, strict=True)
    }


def test_the_hands_distance_counts_at_the_end_and_on_the_way(futures, goals):
    found = GoalStateCost(goals, columns=[0, 1])(futures)
    # At the end 0.1, 0, 0, 0.1; on the way the mean with the first frame's distance.
    np.testing.assert_allclose(found, [0.2, 0.05, 0.1, 0.25], atol=1e-6)


@pytest.mark.parametrize("kind", [GoalImageCost, GoalDepthCost])
def test_every_world_is_compared_with_its_own_goal(futures, goals, kind):
    found = kind(goals, camera=CAMERA)(futures)
    assert found[0] == found[3] == 0
    assert found[1] == pytest.approx(found[2])
    assert found[1] > 0.001


def test_a_region_leaves_the_rest_of_the_image_out(futures, goals):
    everything = GoalImageCost(goals, camera=CAMERA)(futures)
    below = GoalImageCost(goals, camera=CAMERA, region=(0.85, 1.0, 0.0, 1.0))(futures)
    assert everything[1] > 0
    assert below.tolist() == [0, 0, 0, 0]
    with pytest.raises(UserError, match="top < bottom"):
        part(futures.last.rgb[CAMERA], (0.5, 0.5, 0.0, 1.0))


def test_tokens_are_compared_bit_by_bit(futures, goals, bundle):
    tokenizer = bundle.tokenizer
    cost = GoalTokenCost(goals, cameras=[CAMERA], tokenizer=tokenizer)
    wanted = [goal_tokens(goals[seed], cameras=[CAMERA], tokenizer=tokenizer) for seed in SEEDS]
    tokens = np.stack([wanted[world] for world in WORLD], axis=1)
    tokens[1, 3, 5] ^= 0b101
    found = cost(replace(futures, tokens=tokens))
    total = 2 * tokens.shape[2] * tokenizer.config.code_bits
    np.testing.assert_allclose(found, [0, 0, 0, 2 / total])


def test_the_tokens_of_a_goal_are_rgb_then_depth(goals, bundle):
    goal, tokenizer = goals[7], bundle.tokenizer
    rgb, depth = goal_tokens(goal, cameras=[CAMERA], tokenizer=tokenizer)
    with torch.no_grad():
        expected = tokenizer.encode_depth(torch.from_numpy(goal.depth_m[CAMERA][None]))
    np.testing.assert_array_equal(depth, expected[0].numpy())
    assert (rgb != depth).any()


def test_a_rule_is_applied_to_the_last_frame_of_every_candidate(futures):
    assert RuleCost(CubeRaised(CAMERA))(futures).tolist() == [1, 0, 1, 0]
