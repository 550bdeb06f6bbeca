import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from roboscape.simulators.environment import (
    SimulatorEnv,
    SimulatorVectorEnv,
    action_space,
    observation_space,
)
from roboscape.simulators.lift_cube import RISE_HEIGHT
from roboscape.simulators.protocol import Observation, SeedStart
from roboscape.simulators.success import CubeRaised, TrueSuccess
from tests.simulators.counting_simulator import CountingSimulator

MUJOCO = "roboscape.simulators.gym:roboscape/LiftMujoco-v0"
SMALL = {"simulator": {"image_size": 40, "supersampling": 1}, "max_episode_steps": 4}


def counting(num_envs=3, **settings):
    """Worlds that show their seed and age, and are solved at the age that their seed names."""
    return SimulatorVectorEnv(
        CountingSimulator(num_envs),
        success=TrueSuccess(),
        **{
            "start_of_seed": lambda seed: SeedStart(seed=seed),
            "max_episode_steps": 4,
            **settings,
        },
    )


def actions(worlds, value=0.0):
    return np.full(worlds.action_space.shape, value, np.float32)


def ages(observation):
    return observation["agent_pos"][:, 1].tolist()


def seeds(observation):
    return observation["agent_pos"][:, 0].tolist()


def test_a_number_begins_consecutive_seeds_and_a_list_its_own():
    worlds = counting()
    assert seeds(worlds.reset(seed=7)[0]) == [7, 8, 9]
    observation, info = worlds.reset(seed=[30, 10, 20])
    assert seeds(observation) == [30, 10, 20] == info["seed"].tolist()
    with pytest.raises(ValueError, match="expected 3 seeds, got 2"):
        worlds.reset(seed=[1, 2])


def test_drawn_seeds_follow_from_the_given_ones_and_are_never_validation_or_test():
    worlds, others = counting(), counting()
    worlds.reset(seed=980000)
    others.reset(seed=[980000, 980001, 5])
    one, two = seeds(worlds.reset()[0]), seeds(others.reset()[0])
    assert one[:2] == two[:2] and one[2] != two[2]
    assert all(seed < 800_000 for seed in one + two)


def test_same_step_shows_the_new_first_frame_and_keeps_the_last_one_apart():
    worlds = counting(autoreset_mode="SameStep")
    assert worlds.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    worlds.reset(seed=[2, 50, 3])
    worlds.step(actions(worlds))
    observation, reward, terminated, truncated, info = worlds.step(actions(worlds))
    assert terminated.tolist() == [True, False, False] == (reward == 1).tolist()
    assert not truncated.any()
    assert ages(observation) == [0, 2, 2] and seeds(observation)[0] != 2
    assert info["_final_obs"].tolist() == [True, False, False] == info["_final_info"].tolist()
    assert info["final_obs"][0]["agent_pos"].tolist() == [2, 2]
    assert info["final_obs"][1] is None
    assert info["final_info"]["is_success"].tolist() == [True, False, False]
    assert info["final_info"]["seed"][0] == 2 and info["seed"][0] == seeds(observation)[0]
    observation, _, terminated, _, info = worlds.step(actions(worlds))
    assert terminated.tolist() == [False, False, True]
    assert ages(observation) == [1, 3, 0]
    _, _, terminated, truncated, info = worlds.step(actions(worlds))
    assert truncated.tolist() == [False, True, False]
    assert info["final_info"]["is_success"].tolist() == [False, False, False]


def test_next_step_shows_the_last_frame_and_begins_anew_without_the_action():
    # A world of a drawn seed is solved when it begins, which earns nothing.
    worlds = counting(
        autoreset_mode=AutoresetMode.NEXT_STEP,
        start_of_seed=lambda seed: SeedStart(seed=seed if seed in (1, 50) else 0),
    )
    worlds.reset(seed=[1, 50, 50])
    observation, reward, terminated, _, info = worlds.step(actions(worlds))
    assert terminated.tolist() == [True, False, False] == info["is_success"].tolist()
    assert ages(observation) == [1, 1, 1] and "final_obs" not in info
    observation, reward, terminated, truncated, _ = worlds.step(actions(worlds))
    assert ages(observation) == [0, 2, 2]
    assert not reward.any() and not terminated.any() and not truncated.any()


def test_disabled_waits_for_a_reset_of_the_ended_ones_and_leaves_the_others():
    worlds = counting(autoreset_mode=AutoresetMode.DISABLED)
    worlds.reset(seed=[1, 50, 50])
    _, _, terminated, _, _ = worlds.step(actions(worlds))
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset_mask"):
        worlds.step(actions(worlds))
    options = {"reset_mask": terminated}
    observation, info = worlds.reset(seed=[9, None, None], options=options)
    assert ages(observation) == [0, 1, 1] and seeds(observation) == [9, 50, 50]
    assert info["_seed"].tolist() == [True, False, False]
    assert "reset_mask" in options
    assert ages(worlds.step(actions(worlds))[0]) == [1, 2, 2]
    for mask in (np.array([True]), np.array([1, 0, 0]), np.zeros(3, bool)):
        with pytest.raises(ValueError, match="3 truth values, one of them true"):
            worlds.reset(options={"reset_mask": mask})


def test_stepping_before_the_first_reset_is_refused():
    with pytest.raises(gymnasium.error.ResetNeeded):
        counting().step(np.zeros((3, 2), np.float32))


def test_one_action_is_held_for_a_frame_or_all_are_given():
    held, whole = counting(1), counting(1, action_repeat=False)
    assert held.single_action_space.shape == (2,) and whole.single_action_space.shape == (6,)
    held.reset(seed=0), whole.reset(seed=0)
    held.step(np.array([[0.5, -1]], np.float32))
    np.testing.assert_array_equal(held.simulator.taken, [[[0.5, -1]] * 3])
    whole.step(np.arange(6, dtype=np.float32)[None] / 6)
    np.testing.assert_allclose(whole.simulator.taken, np.arange(6).reshape(1, 3, 2) / 6)


def test_observations_are_copies_in_their_space():
    worlds = counting(depth=True)
    first, _ = worlds.reset(seed=4)
    kept = first["agent_pos"].copy()
    assert worlds.observation_space.contains(first)
    first["pixels"][:] = 77
    assert not (worlds.render()[0] == 77).any()
    worlds.step(actions(worlds))
    np.testing.assert_array_equal(first["agent_pos"], kept)


def test_what_lerobot_asks_for_is_there():
    worlds = counting()
    worlds.reset(seed=[1, 2, 3], options={"lerobot_new_rollout": True})
    assert worlds.call("_max_episode_steps") == (4, 4, 4)
    assert worlds.call("task_description") == ("count",) * 3
    assert [image.shape for image in worlds.call("render")] == [(36, 40, 3)] * 3
    assert worlds.metadata["render_fps"] == 5.0


def test_two_cameras_are_a_dictionary_and_one_is_an_image():
    one, two = (CountingSimulator(1, cameras=names).spec for names in (("a",), ("a", "b")))
    assert isinstance(observation_space(one, depth=False)["pixels"], gymnasium.spaces.Box)
    assert set(observation_space(two, depth=False)["pixels"].spaces) == {"a", "b"}
    worlds = SimulatorVectorEnv(
        CountingSimulator(2, cameras=("a", "b")),
        start_of_seed=lambda seed: SeedStart(seed=seed),
        success=TrueSuccess(),
        depth=True,
    )
    assert worlds.observation_space.contains(worlds.reset(seed=0)[0])


def test_a_single_world_passes_gymnasiums_check_and_ends_when_its_task_is_solved():
    env = SimulatorEnv(counting(1, autoreset_mode="Disabled"))
    check_env(env, skip_close_check=True)
    _, info = env.reset(seed=2)
    assert info == {"is_success": False, "seed": 2}
    env.step(env.action_space.sample())
    _, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert (reward, terminated, truncated, info["is_success"]) == (1.0, True, False, True)


def observed(heights, lift_scene):
    frames = [lift_scene.render(height=height, top=40) for height in heights]
    rgb, depth_m = (np.stack(part) for part in zip(*frames, strict=True))
    # The second camera is twice as far away.
    depth_m[1:] *= 2
    return Observation(
        rgb={"agentview": rgb},
        depth_m={"agentview": depth_m.astype(np.float32)},
        state=np.zeros((len(heights), 1), np.float32),
    )


def test_a_raised_cube_is_success_in_its_world_alone(lift_scene):
    success = CubeRaised("agentview")
    low, high = RISE_HEIGHT - 0.05, RISE_HEIGHT + 0.05
    success.reset(observed([low, low], lift_scene), where=np.array([True, True]))
    assert success(observed([low, high], lift_scene)).tolist() == [False, True]
    # A world that begins anew gets a table of its own, and the other keeps its.
    nothing = observed([low, low], lift_scene)
    nothing.depth_m["agentview"][1] = 0.01
    success.reset(nothing, where=np.array([True, False]))
    assert success(observed([high, high], lift_scene)).tolist() == [True, True]


def test_success_that_nobody_can_say_is_refused(lift_scene):
    with pytest.raises(ValueError, match="give the environment a success function"):
        TrueSuccess()(observed([0.05], lift_scene))
    with pytest.raises(ValueError, match="depth of camera 'wrist'"):
        CubeRaised("wrist").reset(observed([0.05], lift_scene), where=np.array([True]))


def test_spaces_depend_on_the_spec_alone(true_lift):
    env = gymnasium.make(MUJOCO, simulator={"image_size": 48})
    assert env.observation_space == observation_space(true_lift.spec, depth=False)
    assert env.action_space == action_space(true_lift.spec, action_repeat=True)
    assert env.unwrapped.metadata["render_fps"] == 5.0
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LiftMujoco-v0", "MetaworldMujoco-v0"])
def test_true_environments_pass_gymnasiums_check(name):
    env = gymnasium.make(f"roboscape.simulators.gym:roboscape/{name}", **SMALL)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.slow
def test_a_vector_of_true_worlds_equals_single_ones():
    worlds = gymnasium.make_vec(MUJOCO, num_envs=2, **SMALL)
    alone = gymnasium.make(MUJOCO, **SMALL)
    commands = np.random.default_rng(0).uniform(-1, 1, (3, 2, 7)).astype(np.float32)
    together = [worlds.reset(seed=[5, 6])[0]] + [worlds.step(each)[0] for each in commands]
    for world, seed in enumerate((5, 6)):
        one = [alone.reset(seed=seed)[0]] + [alone.step(each[world])[0] for each in commands]
        for batch, single in zip(together, one, strict=True):
            np.testing.assert_array_equal(batch["pixels"][world], single["pixels"])
            np.testing.assert_array_equal(batch["agent_pos"][world], single["agent_pos"])
    worlds.close(), alone.close()


def test_names_are_known_without_torch_or_simulators():
    program = (
        "import gymnasium, sys, roboscape.simulators.gym; "
        "gymnasium.spec('roboscape/Lift-v0'); "
        "sys.exit(bool({'torch', 'mujoco', 'robosuite'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_a_stock_agent_of_stable_baselines3_trains():
    reason = "stable-baselines3 is not installed: pip install 'roboscape[rl]'"
    stable_baselines3 = pytest.importorskip("stable_baselines3", reason=reason)
    env = SimulatorEnv(counting(1, autoreset_mode="Disabled"))
    agent = stable_baselines3.PPO(
        "MultiInputPolicy", env, n_steps=128, batch_size=16, n_epochs=1, device="cpu"
    )
    agent.learn(total_timesteps=256)
    assert agent.num_timesteps == 256
