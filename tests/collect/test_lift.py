import functools
from dataclasses import replace

import numpy as np
import pytest

from roboscape.collect.lift import LiftRecorder, NumbersRecorder, lift_spec
from roboscape.collect.simulate import simulate_seeds
from roboscape.dataset.checks import check_episode
from roboscape.sources.lift import STATE_NAMES
from roboscape.sources.proportions import Proportions, behaviour_of
from roboscape.sources.staging import load_staged
from roboscape.sources.workers import new_counter


def assert_bitwise_equal(found, expected):
    for field in ("actions", "state", "reward"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    for field in ("frames", "depth_m"):
        np.testing.assert_array_equal(
            getattr(found, field)["agentview"], getattr(expected, field)["agentview"]
        )
    np.testing.assert_array_equal(
        found.tracks["agentview"].xy_px, expected.tracks["agentview"].xy_px
    )
    assert (found.behaviour, found.success) == (expected.behaviour, expected.success)


def test_an_episode_depends_on_its_seed_alone(lift, lift_episode):
    other = lift.simulate(2)
    assert not np.array_equal(other.actions, lift_episode.actions)
    assert_bitwise_equal(lift.simulate(1), lift_episode)


def test_numbers_without_pictures_are_those_with_them(lift_config, lift_episode):
    plain = replace(lift_config, pictures=False)
    found = NumbersRecorder(plain).simulate(1)
    for field in ("actions", "state", "reward"):
        np.testing.assert_array_equal(getattr(found, field), getattr(lift_episode, field))
    assert (found.behaviour, found.success) == (lift_episode.behaviour, lift_episode.success)
    check_episode(found, lift_spec(plain), where="the episode")
    assert (lift_spec(plain).cameras, lift_spec(lift_config).object_names) == ((), ())
    assert lift_episode.objects is None


def test_the_cubes_place_is_recorded_where_asked_for(lift, lift_config, monkeypatch):
    monkeypatch.setattr(lift, "_objects", True)
    episode = lift.simulate(1)
    asked = replace(lift_config, objects=True)
    check_episode(episode, lift_spec(asked), where="the episode")
    assert lift_spec(asked).object_names == ("cube_x", "cube_y", "cube_z")
    np.testing.assert_array_equal(
        episode.objects, NumbersRecorder(replace(asked, pictures=False)).simulate(1).objects
    )
    # On the table, whose top is at .8 m, within its reach of the arm.
    assert 0.8 < episode.objects[0, 2] < 0.85 and np.abs(episode.objects[0, :2]).max() < 0.1


@pytest.mark.slow
def test_another_process_makes_the_same_episode(lift_config, lift_episode, tmp_path):
    (staged,) = simulate_seeds(
        [1],
        make_simulator=functools.partial(LiftRecorder, lift_config),
        folder=tmp_path,
        workers=1,
        first_unsaved=new_counter(),
    )
    assert_bitwise_equal(load_staged(tmp_path, staged), lift_episode)


# Seed, behaviour, and of row 11: the action and the hand's place, as first recorded. The first
# episode begins after an approach, which ends at rest.
GOLDEN = (
    (800000, "expert", (-0.03196, 0.80446, -0.12042, -0.01281, -0.00625, 0.07993, -1.0),
     (-0.030005, -0.078128, 0.919626)),
    (800001, "miss", (0.83782, 0.00516, -0.95545, -0.02422, 0.12077, 0.08468, -1.0),
     (0.027791, 0.059720, 0.932666)),
    (800006, "noisy_expert", (1.0, -0.23308, 0.14061, 0.02849, 0.02316, 0.11901, -1.0),
     (-0.058139, -0.067138, 0.908343)),
)  # fmt: skip


@pytest.mark.parametrize(("seed", "behaviour", "action", "hand_m"), GOLDEN)
def test_golden_episodes_are_still_recorded_from_their_seeds(lift, seed, behaviour, action, hand_m):
    episode = lift.simulate(seed)
    assert episode.behaviour == behaviour
    np.testing.assert_allclose(episode.actions[11], action, atol=1e-5)
    np.testing.assert_allclose(episode.state[11, :3], hand_m, atol=1e-5)


def test_an_episode_fits_its_spec(lift_config, lift_episode):
    check_episode(lift_episode, lift_spec(lift_config), where="the episode")
    assert len(lift_episode) == lift_config.horizon
    assert np.abs(lift_episode.actions).max() <= 1
    assert set(np.unique(lift_episode.actions[:, 6])) <= {-1.0, 1.0}
    quaternion = lift_episode.state[:, 3:7]
    np.testing.assert_allclose(np.linalg.norm(quaternion, axis=1), 1, atol=1e-5)
    assert STATE_NAMES[3] == "eef_quaternion_x"


def test_the_stored_depth_range_holds_what_the_camera_sees(lift_config, lift_episode):
    depth_m = lift_episode.depth_m["agentview"]
    spec = lift_spec(lift_config)
    assert spec.depth_min_m < depth_m.min() and depth_m.max() < spec.depth_max_m


@pytest.mark.slow
def test_experts_lift_and_misses_do_not(lift_config):
    simulator = LiftRecorder(replace(lift_config, horizon=100))
    seeds = {name: [] for name in ("expert", "miss")}
    for seed in range(200):
        behaviour = behaviour_of(seed, lift_config.proportions)
        if behaviour in seeds and len(seeds[behaviour]) < 6:
            seeds[behaviour].append(simulator.simulate(seed))
    simulator.close()
    assert all(episode.success and episode.reward.max() == 1 for episode in seeds["expert"])
    assert not any(episode.success or episode.reward.max() for episode in seeds["miss"])


@pytest.mark.slow
def test_a_long_episode_holds_several_attempts(lift_config):
    simulator = LiftRecorder(
        replace(
            lift_config,
            horizon=420,
            proportions=Proportions(expert=1.0, noisy_expert=0.0, miss=0.0, random=0.0),
        )
    )
    episode = simulator.simulate(0)
    simulator.close()
    closings = (np.diff(episode.actions[:, 6]) > 0).sum()
    assert len(episode) == 420 and closings >= 2
