import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.core.errors import UserError
from roboscape.dataset.frame_actions import frame_episode, stacked_episode, stacked_spec
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.writer import DatasetWriter
from roboscape.policies.compact.model import CompactPolicyNetwork
from roboscape.policies.compact.policy import CompactPolicy
from roboscape.policies.compact.samples import Batch, Samples
from roboscape.policies.compact.steps import policy_of_step
from roboscape.policies.compact.train import make_step, run
from roboscape.policies.demonstrations import Demonstration, read_demonstrations
from roboscape.policies.opening import open_policy
from roboscape.policies.protocol import PolicyInput
from roboscape.training.learner import Microbatch
from tests.policies.tiny_compact import TINY


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CompactPolicyNetwork(TINY).eval()


def observed(batch=3, *, seed=0):
    random = np.random.default_rng(seed)
    return PolicyInput(
        rgb={
            name: random.integers(0, 255, (batch, 2, 16, 16, 3), dtype=np.uint8)
            for name in TINY.cameras
        },
        depth_m={},
        state=random.normal(size=(batch, 2, 2)).astype(np.float32),
    )


def taken(values, worlds):
    return PolicyInput(
        rgb={name: images[worlds] for name, images in values.rgb.items()},
        depth_m={},
        state=values.state[worlds],
    )


def test_a_world_acts_the_same_alone_and_beside_others(network):
    policy, seen = CompactPolicy(network, device="cpu"), observed()
    policy.reset([5, 6, 7])
    together = policy.act(seen, worlds=np.arange(3))
    policy.reset([5, 6, 7])
    for world in (2, 0, 1):
        alone = policy.act(taken(seen, [world]), worlds=np.array([world]))
        np.testing.assert_allclose(alone[0], together[world], atol=1e-5)


def test_equal_seeds_draw_equal_chunks_and_other_seeds_other_ones(network):
    policy, seen = CompactPolicy(network, device="cpu"), observed()
    same = taken(seen, [0, 0, 0])
    policy.reset([5, 5, 6])
    first, second, third = policy.act(same, worlds=np.arange(3))
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert np.abs(first - third).max() > 0.01
    again = policy.act(same, worlds=np.arange(3))
    assert np.abs(again[0] - first).max() > 0.01
    policy.reset([5], where=np.array([True, False, False]))
    np.testing.assert_allclose(policy.act(same, worlds=np.arange(3))[0], first, atol=1e-5)


@pytest.mark.parametrize("which", ["front", "hand", "older frame", "state"])
def test_all_that_is_shown_changes_the_condition(network, which):
    seen = observed(1)
    changed = taken(seen, [0])
    if which == "state":
        changed.state[0, 0, 0] += 1
    else:
        name, frame = ("front", 0) if which == "older frame" else (which, 1)
        changed.rgb[name][0, frame, :8] ^= 128

    def condition(values):
        images = np.stack([values.rgb[name] for name in TINY.cameras], axis=2)
        return network.encode(torch.from_numpy(images), torch.from_numpy(values.state))

    assert (condition(seen) - condition(changed)).abs().max() > 1e-4


def test_chunks_stay_within_the_demonstrations_range(network):
    network.action_low.copy_(torch.tensor([-0.25, 0.5]))
    network.action_high.copy_(torch.tensor([0.5, 0.5]))
    chunk = network.draw(torch.zeros(64, 16), noise=3 * torch.randn(64, 8, 2))
    assert -0.25 <= chunk[..., 0].min() < chunk[..., 0].max() <= 0.5
    assert (chunk[..., 1] == 0.5).all()


def test_the_flow_leads_from_noise_to_the_actions(network):
    """With the true velocity the loss is zero, and drawing returns the actions."""
    actions, noise = torch.rand(4, 8, 2) * 2 - 1, torch.randn(4, 8, 2)
    network.velocity = lambda chunk, time, condition: actions - noise
    condition = torch.zeros(4, 16)
    loss = network.loss(actions, condition, noise=noise, time=torch.rand(4))
    assert loss.item() == pytest.approx(0, abs=1e-10)
    torch.testing.assert_close(network.draw(condition, noise=noise), actions)


def test_a_saved_policy_acts_as_before(network, tmp_path):
    network.save_pretrained(tmp_path / "policy")
    policies = CompactPolicy(network, device="cpu"), open_policy(str(tmp_path), device="cpu")
    chunks = []
    for policy in policies:
        policy.reset([1, 2, 3])
        chunks.append(policy.act(observed(), worlds=np.arange(3)))
    np.testing.assert_array_equal(*chunks)
    assert policies[1].spec == TINY.spec


def test_a_folder_without_a_policy_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no trained policy"):
        open_policy(str(tmp_path))


def demonstration(rows, *, length=20):
    rows = np.array(rows)
    return Demonstration(
        images={}, states=rows[:, None] * 1.0, rows=rows, actions=np.arange(length)[:, None] * 1.0
    )


def test_frames_of_recordings_and_of_imagined_episodes_lie_equally_far_apart():
    recorded, imagined = demonstration(range(20)), demonstration(range(0, 20, 4))
    seen = [
        one.states[one.history(at, frames=3, spacing=4)]
        for one, at in ((recorded, 12), (imagined, 3))
    ]
    np.testing.assert_array_equal(*seen)
    assert seen[0].ravel().tolist() == [4, 8, 12]
    assert recorded.history(2, frames=3, spacing=4).tolist() == [0, 0, 2]


def test_a_chunk_follows_its_frame_and_repeats_the_last_action():
    imagined = demonstration(range(0, 20, 4))
    assert imagined.chunk(4, length=6).ravel().tolist() == [16, 17, 18, 19, 19, 19]


def test_only_successful_episodes_are_demonstrations_and_they_end_after_success(lift_dataset):
    (one,) = read_demonstrations(lift_dataset, "test", cameras=("front",), rows_after_success=2)
    solved = int(np.flatnonzero(lift_dataset.reward(1) > 0)[0])
    assert len(one) == solved + 3
    np.testing.assert_array_equal(one.actions, lift_dataset.actions(1)[: solved + 3])


def test_an_imagined_dataset_gives_the_demonstrations_of_its_recording(lift_dataset, tmp_path):
    """A row of it holds all native actions up to the next frame."""
    found = frame_episode(lift_dataset, 1, stride=4)
    with DatasetWriter(tmp_path, stacked_spec(lift_dataset.spec, stride=4)) as writer:
        writer.add(stacked_episode(found, behaviour="imagined"))
    imagined, recorded = (
        read_demonstrations(dataset, "test", cameras=("front",), stride=4, rows_after_success=0)[0]
        for dataset in (LeRobotDataset(tmp_path), lift_dataset)
    )
    # Success is seen in the first frame that shows it, up to three rows later.
    count = min(len(imagined), len(recorded))
    assert len(recorded) <= len(imagined) <= len(recorded) + 1
    np.testing.assert_array_equal(imagined.rows[:count], recorded.rows[:count])
    np.testing.assert_array_equal(imagined.states[:count], recorded.states[:count])
    np.testing.assert_array_equal(
        imagined.actions[: len(recorded.actions)], recorded.actions[: len(imagined.actions)]
    )


def test_no_demonstration_at_all_is_refused(lift_dataset):
    with pytest.raises(UserError, match="no successful episode for train"):
        read_demonstrations(lift_dataset, "train", cameras=("front",))


def test_an_interrupted_training_ends_as_an_uninterrupted_one(training, tmp_path, monkeypatch):
    whole = run(training).state_dict()
    halves = replace(training, output=tmp_path / "halves")
    read, reads = Samples.read, itertools.count(1)

    def interrupted(samples, numbers, **settings):
        # The first read is validation's; two batches are prepared ahead of their turn.
        if next(reads) > 4:
            raise KeyboardInterrupt
        return read(samples, numbers, **settings)

    monkeypatch.setattr(Samples, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(halves)
    monkeypatch.undo()
    assert list((halves.output / "checkpoints").iterdir())
    resumed = run(halves).state_dict()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_noise_differs_from_step_to_step(training, network, lift_train_dataset, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        CompactPolicyNetwork,
        "loss",
        lambda self, actions, condition, *, noise, time: drawn.append(noise) or condition.sum(),
    )
    config = replace(training, batch_size=2)
    step = make_step(network, config=config, autocast=False)
    content = Batch(
        seed=1,
        images=torch.zeros(2, 2, 2, 16, 16, 3, dtype=torch.uint8),
        state=torch.zeros(2, 2, 2),
        actions=torch.zeros(2, 8, 2),
    )
    for seed in (1, 1, 2):
        step(Microbatch(content=replace(content, seed=seed), counts={"samples": 2.0}))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_without_validation_episodes_nothing_is_measured_and_that_is_said(training, caplog):
    run(replace(training, validation=None))
    assert "has no validation episodes" in caplog.text
    assert "validation_loss" not in (training.output / "metrics.jsonl").read_text()


def test_a_rate_that_does_not_divide_the_actions_is_refused(training):
    with pytest.raises(UserError, match="frame_hz must divide the 20 actions a second"):
        run(replace(training, frame_hz=6.0))


def test_a_number_of_demonstrations_for_each_dataset_is_expected(training):
    with pytest.raises(UserError, match="for each of 1 datasets, got 2"):
        replace(training, demonstrations=(1, 2))


def test_an_unknown_camera_is_refused(training):
    with pytest.raises(UserError, match="has no camera"):
        run(replace(training, cameras=("left",)))


def test_the_bundled_policy_is_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_policy("lift-policy", device="cpu").spec.cameras == ("agentview",)


def test_a_checkpoint_of_a_training_is_a_policy(training):
    trained = run(training).state_dict()
    last = policy_of_step(training.output, 4)._network.state_dict()
    assert all(torch.equal(value, last[name]) for name, value in trained.items())
    assert open_policy(f"{training.output}@2").spec == open_policy(str(training.output)).spec
    with pytest.raises(UserError, match="no checkpoint of step 3; it has 2, 4"):
        open_policy(f"{training.output}@3")
