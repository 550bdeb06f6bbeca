"""The learned environment: the bundled model `lift` by name, and a tiny bundle for exact laws."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from roboscape.core.threads import FastestThreads
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.simulators.environment import DatasetStarts, make_learned_vector
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.protocol import FrameStart, SeedStart

LEARNED = "roboscape.simulators.gym:roboscape/Lift-v0"
TRUE = "roboscape.simulators.gym:roboscape/LiftMujoco-v0"
EXPERT_SEED = 800003


class Never:
    """No task is ever solved."""

    def reset(self, observation, *, where):
        pass

    def __call__(self, observation):
        return np.zeros(len(observation.state), bool)


@pytest.fixture(scope="module")
def lift():
    return Bundle.from_pretrained("lift").for_imagining(Compute())


@pytest.fixture(scope="module")
def both(lift):
    learned, true = gymnasium.make(LEARNED, bundle=lift), gymnasium.make(TRUE)
    yield learned, true
    learned.close(), true.close()


@pytest.fixture
def make_tiny(tiny_bundle, lift_dataset):
    def worlds(num_envs=3, **settings):
        return make_learned_vector(
            num_envs,
            bundle=tiny_bundle,
            dataset=lift_dataset,
            **{"success": Never(), "max_episode_steps": 3, **settings},
        )

    return worlds


def commands(worlds, *, frames):
    shape = (frames, *worlds.action_space.shape)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def assert_equal(one, other, *, worlds=slice(None)):
    for key in one:
        np.testing.assert_array_equal(one[key][worlds], other[key][worlds])


@pytest.mark.parametrize("depth", [False, True])
def test_the_learned_and_the_true_environment_have_identical_spaces(both, lift, depth):
    learned, true = both
    vectors = [
        gymnasium.make_vec(name, num_envs=2, depth=depth, **settings)
        for name, settings in ((LEARNED, {"bundle": lift}), (TRUE, {}))
    ]
    assert vectors[0].observation_space == vectors[1].observation_space
    assert vectors[0].action_space == vectors[1].action_space
    assert vectors[0].metadata == vectors[1].metadata
    if not depth:
        for one, several in zip((learned, true), vectors, strict=True):
            assert one.observation_space == several.single_observation_space
            assert one.action_space == several.single_action_space
    for vector in vectors:
        vector.close()


def test_both_begin_with_the_same_frame_and_state_and_then_part(both):
    seen = [env.reset(seed=EXPERT_SEED)[0] for env in both]
    assert_equal(*seen)
    action = both[0].action_space.sample()
    after = [env.step(action)[0] for env in both]
    assert not np.array_equal(after[0]["pixels"], after[1]["pixels"])
    assert np.abs(after[0]["agent_pos"][:3] - after[1]["agent_pos"][:3]).max() < 0.1


def test_a_learned_environment_passes_gymnasiums_check(both):
    # One reset of a true simulator is enough to be looked at.
    check_env(both[0].unwrapped, skip_render_check=True, skip_close_check=True)


def test_the_imagined_cube_decides_success(lift):
    """An expert's recorded commands lift the imagined cube; standing still does not."""
    true = MujocoSimulator("Lift", image_size=16, supersampling=1, frame_hz=20.0)
    true.reset([SeedStart(seed=EXPERT_SEED)])
    (world,) = true.worlds
    script = world.scene.script(EXPERT_SEED, behaviour=world.behaviour)
    native = []
    while len(native) < 60:
        native.append(script(world.scene.view()))
        true.step(native[-1][None, None])
    true.close()
    worlds = gymnasium.make_vec(
        LEARNED, num_envs=2, bundle=lift, action_repeat=False, autoreset_mode="Disabled"
    )
    worlds.reset(seed=[EXPERT_SEED] * 2)
    rest = np.tile(np.float32([0, 0, 0, 0, 0, 0, -1]), 4)
    ended = np.zeros(2, bool)
    for frame in np.float32(native).reshape(15, 28):
        _, reward, terminated, _, info = worlds.step(np.stack([frame, rest]))
        assert (reward == terminated).all() and (info["is_success"] == terminated).all()
        ended |= terminated
        if ended.any():
            break
    worlds.close()
    assert ended.tolist() == [True, False]


def test_dataset_starts_show_the_drawn_row_without_a_true_simulator(make_tiny, lift_dataset):
    worlds = make_tiny()
    observation, info = worlds.reset(seed=[4, 9, 4])
    for world, seed in enumerate(info["seed"]):
        start = DatasetStarts(lift_dataset)(int(seed))
        given = lift_dataset.frames(start.episode, "front", slice(start.row, start.row + 1))[0]
        np.testing.assert_array_equal(observation["pixels"][world], given)
    assert not np.array_equal(observation["pixels"][0], observation["pixels"][1])
    drawn = [DatasetStarts(lift_dataset)(seed) for seed in range(300)]
    assert {start.episode for start in drawn} == {0, 1, 2}
    assert {start.row for start in drawn} == set(range(17))


def test_resetting_one_imagined_world_leaves_the_others_futures_equal(make_tiny):
    left, disturbed = (make_tiny(max_episode_steps=9) for _ in range(2))
    taken = commands(left, frames=5)
    for worlds in (left, disturbed):
        worlds.reset(seed=1)
        worlds.step(taken[0])
    mask = np.array([False, True, False])
    observation, _ = disturbed.reset(seed=[None, 7, None], options={"reset_mask": mask})
    np.testing.assert_array_equal(
        observation["pixels"][1], make_tiny().reset(seed=[0, 7, 0])[0]["pixels"][1]
    )
    parted = False
    for action in taken[1:]:
        one, other = left.step(action)[0], disturbed.step(action)[0]
        assert_equal(one, other, worlds=[0, 2])
        parted |= not np.array_equal(one["pixels"][1], other["pixels"][1])
    assert parted


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_ended_imagined_worlds_begin_anew_in_every_mode(make_tiny, mode):
    worlds, endless = make_tiny(autoreset_mode=mode), make_tiny(max_episode_steps=99)
    taken = commands(worlds, frames=4)
    for each in (worlds, endless):
        each.reset(seed=1)
    for action in taken[:3]:
        observation, _, _, truncated, info = worlds.step(action)
        last = endless.step(action)[0]
    assert truncated.all()
    if mode == "SameStep":
        for world in range(3):
            final = info["final_obs"][world]
            np.testing.assert_array_equal(final["pixels"], last["pixels"][world])
    else:
        assert_equal(observation, last)
        if mode == "NextStep":
            observation, reward, _, truncated, info = worlds.step(taken[3])
            assert not reward.any() and not truncated.any()
        else:
            observation, info = worlds.reset(options={"reset_mask": np.ones(3, bool)})
    assert (info["seed"] != [1, 2, 3]).all()
    assert_equal(observation, make_tiny().reset(seed=info["seed"].tolist())[0])


def test_what_does_not_fit_a_bundle_is_refused(lift, lift_dataset, tiny_bundle):
    with pytest.raises(ValueError, match="no rule says when 'open the door' is solved"):
        make_learned_vector(task="metaworld/door-open", bundle=lift)
    for others in ({"task": "metaworld/door-open"}, {"dataset": lift_dataset}):
        with pytest.raises(ValueError, match="take a bundle of the same task"):
            make_learned_vector(bundle=lift, success=Never(), **others)
    with pytest.raises(ValueError, match="the render mode rgb_array, got 'human'"):
        make_learned_vector(bundle=tiny_bundle, dataset=lift_dataset, render_mode="human")


@pytest.mark.slow
@pytest.mark.parametrize("name", [LEARNED, TRUE])
def test_a_stock_agent_of_stable_baselines3_trains_on_both(name):
    reason = "stable-baselines3 is not installed: pip install 'roboscape[rl]'"
    stable_baselines3 = pytest.importorskip("stable_baselines3", reason=reason)
    env = gymnasium.make(name, max_episode_steps=10)
    agent = stable_baselines3.PPO(
        "MultiInputPolicy", env, n_steps=128, batch_size=32, n_epochs=1, device="cpu"
    )
    agent.learn(total_timesteps=256)
    assert agent.num_timesteps == 256
    env.close()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_number_of_threads_changes_no_bit(precision, batch):
    bundle = Bundle.from_pretrained("lift").for_imagining(
        Compute(device="cpu", precision=precision)
    )
    side, state = bundle.tokenizer.config.image_size, bundle.controls.statistics.state_size
    drawn = np.random.default_rng(0)
    start = FrameStart(
        rgb={"agentview": drawn.integers(0, 255, (side, side, 3), np.uint8)},
        depth_m={"agentview": drawn.uniform(0.5, 1.5, (side, side)).astype(np.float32)},
        state=np.zeros(state, np.float32),
    )
    found = []
    for count in (1, 2):
        simulator = LearnedSimulator(
            replace(bundle, threads=FastestThreads((count,))), batch=batch, cameras=("agentview",)
        )
        simulator.reset([start] * batch)
        spec = simulator.spec
        shape = 3, batch, spec.stride, len(spec.action.names)
        commands = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
        found.append([simulator.step(one) for one in commands])
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one.rgb["agentview"], other.rgb["agentview"])
        assert np.array_equal(one.depth_m["agentview"], other.depth_m["agentview"])
        assert np.array_equal(one.state, other.state)
