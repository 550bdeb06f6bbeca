from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from roboscape.core.errors import UserError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.policies.collecting import CollectPolicy, PolicyActor, PolicyRecorder, run
from roboscape.policies.compact.model import CompactPolicyNetwork
from roboscape.policies.compact.policy import CompactPolicy
from roboscape.policies.episodes import EpisodePlan, run_episodes
from roboscape.policies.opening import open_policy
from roboscape.policies.worlds import WorldChoice, open_world, starts_of
from roboscape.sources.lift_behaviours import sample_manner, sample_miss
from tests.policies.tiny_compact import TINY
from tests.simulators.counting_simulator import CountingSimulator

SIZE = 32


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    """Two folders of random compact policies of Lift."""
    spec = open_policy("lift-policy", device="cpu").spec
    config = replace(
        TINY,
        convention=spec.action,
        cameras=spec.cameras,
        image_size=SIZE,
        state_names=spec.state_names,
        chunk=16,
        executed=8,
    )
    folders = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        folders.append(tmp_path_factory.mktemp("run") / "policy")
        CompactPolicyNetwork(config).eval().save_pretrained(folders[-1])
    return tuple(str(folder) for folder in folders)


@pytest.fixture
def config(policies, tmp_path):
    return CollectPolicy(
        policies=policies,
        output=tmp_path / "recorded",
        episodes=2,
        seed=4,
        workers=1,
        horizon=21,
        image_size=SIZE,
        supersampling=1,
    )


def test_a_policy_acts_in_its_recording_as_it_does_in_a_world_at_its_own_rate(config):
    recorder = PolicyRecorder(replace(config, supersampling=2))
    choice = WorldChoice(image_size=SIZE, batch=1)
    simulator, success = open_world(choice)
    for seed in (4, 5):
        plan = EpisodePlan(starts=starts_of(choice, [seed]), seeds=[seed], max_frames=5)
        policy = open_policy(config.policies[seed % 2], device="cpu")
        (outcome,) = run_episodes(simulator, policy, plan, success=success)
        episode = recorder.simulate(seed)
        np.testing.assert_allclose(episode.actions[:20], outcome.actions, atol=1e-6)
        assert np.abs(np.diff(episode.actions, axis=0)).max() > 0.01
    recorder.close()
    simulator.close()


def test_policies_take_turns_and_the_dataset_names_them(config):
    run(config)
    dataset = LeRobotDataset(config.output)
    found = [dataset.episode_info(n) for n in range(dataset.num_episodes)]
    names = ["/".join(Path(policy).parts[-2:]) for policy in config.policies]
    assert [info.behaviour for info in found] == [f"policy:{name}" for name in names]
    assert [info.seed for info in found] == [4, 5]
    assert len(dataset.actions(0)) == 21


def test_numbers_without_pictures_are_those_with_them(config, tmp_path):
    run(replace(config, objects=True))
    run(replace(config, output=tmp_path / "numbers", pictures=False))
    whole, numbers = LeRobotDataset(config.output), LeRobotDataset(tmp_path / "numbers")
    assert whole.spec.cameras and not numbers.spec.cameras
    for episode in range(2):
        for read in (LeRobotDataset.state, LeRobotDataset.actions, LeRobotDataset.objects):
            np.testing.assert_array_equal(read(numbers, episode), read(whole, episode))
        assert numbers.episode_info(episode) == whole.episode_info(episode)


def test_a_policy_that_does_not_fit_is_refused_before_anything_is_made(config):
    with pytest.raises(UserError, match="images of 32 pixels"):
        run(replace(config, image_size=48))
    assert not config.output.exists()


def test_a_rate_that_is_no_whole_number_of_rows_is_refused():
    world = replace(CountingSimulator(1).spec, frame_hz=12.0)
    policy = open_policy("lift-policy", device="cpu")
    assert isinstance(policy, CompactPolicy)
    with pytest.raises(UserError, match="whole number of rows"):
        PolicyActor(policy, world, seed=0)


def test_collecting_with_no_policy_is_refused(config):
    with pytest.raises(UserError, match="expected policies"):
        replace(config, policies=())


def test_near_misses_aim_where_misses_do_not():
    def distances_m(behaviour):
        generator = np.random.default_rng(0)
        manner = sample_manner(behaviour, generator=generator)
        offsets = [sample_miss(manner.misses_by_m, generator=generator) for _ in range(400)]
        beside = np.array([offset for offset in offsets if offset[2] == 0])
        return np.linalg.norm(beside, axis=1)

    near, far = distances_m("near_miss"), distances_m("miss")
    assert near.min() >= 0.01 and near.max() <= 0.055 <= far.min()
    assert near.min() < 0.015 and near.max() > 0.05
