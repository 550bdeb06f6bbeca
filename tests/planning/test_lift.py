"""The cost of Lift against the true simulator, which says where the cube is."""

import numpy as np
import pytest

from roboscape.dataset.cameras import hand_columns
from roboscape.planning.goals import GoalDistance, expert_goals
from roboscape.planning.imagining import Futures
from roboscape.planning.lift import LiftCost
from roboscape.policies.worlds import WorldChoice
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.protocol import SeedStart

CAMERA, SEED = "agentview", 800_001


@pytest.fixture(scope="module")
def lift():
    simulator = MujocoSimulator("Lift", 1, supersampling=1)
    yield simulator
    simulator.close()


@pytest.fixture(scope="module")
def seen(lift):
    return lift.reset([SeedStart(seed=SEED)])


def futures(seen, hands_m):
    """Candidates that leave the scene as it is, and bring the hand somewhere."""
    count = len(hands_m)
    states = np.repeat(seen.state, count, axis=0)
    states[:, :3] = hands_m
    return Futures(
        given=seen,
        seeds=[SEED],
        world=np.zeros(count, int),
        last=type(seen)(
            rgb={CAMERA: np.repeat(seen.rgb[CAMERA], count, axis=0)},
            depth_m={CAMERA: np.repeat(seen.depth_m[CAMERA], count, axis=0)},
            state=states,
        ),
        states=states[:, None],
        confidence=np.ones(count),
        tokens=np.zeros((2, count, 1), np.int32),
    )


def test_the_nearest_hand_is_the_cheapest_and_the_cube_is_where_physics_has_it(lift, seen):
    cost = LiftCost(camera=CAMERA, state_names=lift.spec.state_names, image_size=128)
    body = lift.worlds[0].scene.model.body("cube_main").id
    cube_m = lift.worlds[0].scene.data.xpos[body]
    away_m = np.array([0, 0.03, 0.08, 0.2])
    for axis in np.eye(3):
        found = cost(futures(seen, cube_m + away_m[:, None] * axis))
        assert (np.diff(found) > 0).all(), axis
        # At the cube nearly all of the reward for being near: within 1.5 cm.
        assert found[0] < -(1 - np.tanh(10 * 0.015))


def test_an_experts_goal_is_a_frame_on_the_way_to_the_cube(lift, seen):
    (goal,) = expert_goals(WorldChoice(), [SEED], seconds=1.0, action_hz=20.0).values()
    columns = hand_columns(lift.spec.state_names)
    body = lift.worlds[0].scene.model.body("cube_main").id
    cube_m = lift.worlds[0].scene.data.xpos[body]
    before, after = (np.linalg.norm(x[columns] - cube_m) for x in (seen.state[0], goal.state))
    assert after < before - 0.03
    assert goal.rgb[CAMERA].shape == (128, 128, 3)
    distance = GoalDistance({SEED: goal}, seeds=[SEED], world=lift.spec)
    distance(seen, np.array([0]))
    expected = np.linalg.norm(seen.state[0, columns] - goal.state[columns])
    assert distance.metres == {0: [pytest.approx(float(expected))]}
