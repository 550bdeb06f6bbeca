import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.policies.lerobot.remote_world import RemoteWorlds
from roboscape.policies.lerobot.world_server import ServedWorlds, world_server
from roboscape.policies.remote.serve import policy_server
from roboscape.policies.remote.server import served
from roboscape.simulators.protocol import SeedStart
from roboscape.simulators.success import TrueSuccess
from tests.policies.remembering_policy import RememberingPolicy
from tests.simulators.counting_simulator import HEIGHT, STRIDE, WIDTH, CountingSimulator


@pytest.fixture
def simulator():
    return CountingSimulator(2)


@pytest.fixture
def address(simulator):
    def starts(seeds):
        return [SeedStart(seed=seed) for seed in seeds]

    served_worlds = ServedWorlds(simulator, TrueSuccess(), starts)
    with served(world_server(served_worlds, frames=4)) as found:
        yield found


@pytest.fixture
def worlds(address):
    remote = RemoteWorlds(address)
    yield remote
    remote.close()


@pytest.fixture
def worlds_of_frames(address):
    remote = RemoteWorlds(address, frame_actions=True)
    yield remote
    remote.close()


def action(number):
    return np.full((2, 2), number, np.float32)


def test_a_frame_follows_when_its_actions_are_complete(worlds, simulator):
    observation, info = worlds.reset(seed=[2, 9])
    assert observation["pixels"]["front"].shape == (2, HEIGHT, WIDTH, 3)
    assert observation["agent_pos"].tolist() == [[2, 0], [9, 0]]
    ages = []
    for number in range(2 * STRIDE):
        observation, *_, info = worlds.step(action(number / 10))
        ages.append(observation["agent_pos"][:, 1].tolist())
    assert ages == [[0, 0]] * 2 + [[1, 1]] * 3 + [[2, 2]]
    np.testing.assert_allclose(simulator.taken[1, :, 0], [0.3, 0.4, 0.5])
    assert info["is_success"].tolist() == [True, False]


def test_a_step_can_be_a_frame_with_its_actions_one_after_the_other(worlds_of_frames, simulator):
    worlds = worlds_of_frames
    assert worlds.single_action_space.shape == (STRIDE * 2,)
    assert worlds.metadata["render_fps"] == 15 / STRIDE
    assert worlds.call("_max_episode_steps") == (4, 4)
    worlds.reset(seed=[2, 9])
    row = np.arange(STRIDE * 2, dtype=np.float32) / 10
    observation, *_, info = worlds.step(np.stack([row, row]))
    assert observation["agent_pos"][:, 1].tolist() == [1, 1]
    np.testing.assert_allclose(simulator.taken[1].ravel(), row)
    assert not info["is_success"].any()
    with pytest.raises(UserError, match=r"--env\.frame_actions=true"):
        worlds.step(action(0))


def test_success_ends_an_episode_and_time_the_others(worlds):
    worlds.reset(seed=[2, 9])
    steps = [worlds.step(action(0)) for _ in range(4 * STRIDE)]
    terminated = np.array([step[2] for step in steps])
    truncated = np.array([step[3] for step in steps])
    assert np.flatnonzero(terminated[:, 0]).tolist() == [2 * STRIDE - 1]
    assert not terminated[:, 1].any()
    assert not truncated[:-1].any()
    assert truncated[-1].tolist() == [True, True]
    assert [step[1][0] for step in steps].count(1.0) == 1


def test_lerobot_finds_what_it_calls(worlds):
    assert worlds.call("_max_episode_steps") == (4 * STRIDE,) * 2
    assert worlds.call("task_description") == ("count", "count")
    assert worlds.metadata["render_fps"] == 15
    worlds.reset(seed=5)
    assert [image.shape for image in worlds.call("render")] == [(HEIGHT, WIDTH, 3)] * 2
    assert worlds.observation_space.contains(worlds.reset(seed=[0, 1])[0])


def test_a_reset_forgets_actions_that_fill_no_frame(worlds):
    worlds.reset(seed=[2, 9])
    worlds.step(action(0))
    worlds.reset(seed=[2, 9])
    for _ in range(STRIDE - 1):
        observation, *_ = worlds.step(action(0))
    assert observation["agent_pos"][:, 1].tolist() == [0, 0]


def test_wrong_seeds_and_actions_are_refused(worlds):
    with pytest.raises(UserError, match="expected a list of 2 seeds"):
        worlds.reset(seed=[1])
    with pytest.raises(UserError, match="call reset first"):
        worlds.step(action(0))


def test_actions_of_another_shape_are_refused(worlds):
    worlds.reset(seed=0)
    with pytest.raises(UserError, match="expected actions of shape"):
        worlds.step(np.zeros((2, 3)))


def test_actions_that_are_not_finite_are_refused(worlds):
    worlds.reset(seed=0)
    with pytest.raises(UserError, match="finite"):
        for _ in range(STRIDE):
            worlds.step(action(np.nan))


def test_a_policy_server_is_no_world():
    running = served(policy_server(RememberingPolicy()))
    with running as address, pytest.raises(UserError, match="serves no world"):
        RemoteWorlds(address)
    with pytest.raises(UserError, match="no world is served"):
        RemoteWorlds(address)
