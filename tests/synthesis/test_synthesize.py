"""`roboscape synthesize`, whole: from demonstrations to a dataset that goes on where it stopped."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest

from roboscape.core.files import write_json
from roboscape.dataset.frame_actions import frame_episode
from roboscape.dataset.reader import LeRobotDataset
from roboscape.judge.backends import JudgeChoice
from roboscape.policies.protocol import PolicySpec
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.rollout.identity import checkpoint_sha256
from roboscape.rollout.sampling import Sampling
from roboscape.rollout.synthetic import SYNTHETIC_PATH
from roboscape.rollout.verify_synthetic import VerifySynthetic
from roboscape.rollout.verify_synthetic import run as verify
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import EpisodeStart
from roboscape.synthesis.choice import SourceChoice
from roboscape.synthesis.imagine import imagine_plans
from roboscape.synthesis.plan import Plan
from roboscape.synthesis.plausibility import SCORES, Thresholds
from roboscape.synthesis.policy import PolicyActions
from roboscape.synthesis.reach import ArmRange
from roboscape.synthesis.synthesize import Synthesize, run

STRIDE, FRAMES = 2, 5


@pytest.fixture(scope="module")
def checkpoint(tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "bundle"
    tiny_bundle.save_pretrained(folder)
    return folder


@pytest.fixture
def config(checkpoint, lift_dataset, tmp_path):
    """Replayed demonstrations of all kinds, two worlds at a time, tokens drawn."""
    return Synthesize(
        checkpoint=str(checkpoint),
        dataset=lift_dataset.root,
        output=tmp_path / "synthetic",
        episodes=5,
        actions="replay",
        source=SourceChoice(split="test", successes=False),
        frames=FRAMES,
        worlds=2,
        sampling=Sampling(temperature=1.0),
        judge=JudgeChoice(kind="rule"),
        plausibility="off",
        device="cpu",
    )


@pytest.fixture
def thresholds(checkpoint, tmp_path):
    def write(**largest):
        path = tmp_path / "thresholds" / "plausibility.json"
        content = Thresholds(
            checkpoint=checkpoint_sha256(checkpoint),
            largest={**dict.fromkeys(SCORES, 1e9), **largest},
            range=ArmRange(low=(), high=(), deviation=()),
            kept=0.95,
        )
        write_json(path, asdict(content))
        return str(path.parent)

    return write


def record(root):
    return json.loads((root / SYNTHETIC_PATH).read_text())


def assert_same(one, other):
    assert one.num_episodes == other.num_episodes
    for number in range(one.num_episodes):
        a, b = one.episode(number), other.episode(number)
        for name in ("actions", "state", "reward"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        np.testing.assert_array_equal(a.frames["front"], b.frames["front"])
        np.testing.assert_array_equal(a.depth_m["front"], b.depth_m["front"])
        assert (a.seed, a.success, a.split) == (b.seed, b.success, b.split)


def test_a_synthetic_dataset_holds_what_a_simulator_imagines(config, lift_dataset, checkpoint):
    config = replace(config, episodes=3, sampling=Sampling())
    dataset = run(config)
    assert dataset.spec.fps == 10 and dataset.num_episodes == 3
    assert dataset.spec.action.names[:4] == (
        "action_0_x",
        "action_0_y",
        "action_0_gripper",
        "action_1_x",
    )
    bundle = Bundle.from_pretrained(checkpoint).for_imagining(Compute(device="cpu"))
    simulator = LearnedSimulator(bundle, batch=2, cameras=("front",))
    starts = [EpisodeStart(dataset=lift_dataset, episode=number) for number in (0, 1)]
    both = [frame_episode(dataset, number, stride=STRIDE) for number in (0, 1)]
    seen = [simulator.reset(starts)]
    for t in range(FRAMES - 1):
        seen.append(simulator.step(np.stack([one.actions[t] for one in both])))
    for number, found in enumerate(both):
        np.testing.assert_array_equal(
            found.actions.reshape(-1, 3), lift_dataset.actions(number)[: FRAMES * STRIDE]
        )
        assert found.split == "test", "what comes from test episodes stays there"
        for t, one in enumerate(seen):
            # Untrained decoders draw noise, which video compression smooths: compare blocks' means.
            shown, imagined = blocks(found.rgb["front"][t]), blocks(one.rgb["front"][number])
            np.testing.assert_allclose(shown, imagined, atol=10)
            far = np.abs(found.depth_m["front"][t] / one.depth_m["front"][number] - 1)
            assert np.median(far) < 0.03


def blocks(image):
    """Mean colours of 8 x 8 blocks of pixels."""
    return image.astype(float).reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))


def test_the_record_says_what_everything_is_of(config, checkpoint):
    dataset = run(config)
    content = record(dataset.root)
    assert content["synthetic"] is True
    assert content["checkpoint"] == {
        "name": str(checkpoint),
        "sha256": checkpoint_sha256(checkpoint),
    }
    assert content["made_by"]["command"] == "synthesize"
    assert content["made_by"]["settings"]["frames"] == FRAMES
    details = content["details"]
    assert details["native_actions_a_row"] == STRIDE and details["counts"]["imagined"] == 5
    assert [one["seed"] for one in content["episodes"]] == [0, 1, 2, 3, 4]
    origins = [one["details"]["origin"] for one in content["episodes"]]
    assert [one["demonstration"] for one in origins] == [0, 1, 2, 0, 1]
    assert "imagined" in dataset.spec.source
    assert dataset.episode_info(0).behaviour == "imagined:replay"


@pytest.fixture
def written(config):
    """A folder with the dataset of three episodes."""
    return run(replace(config, episodes=3, sampling=Sampling())).root


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: append(next(root.rglob("*.mp4"))), "was changed"),
        (lambda root: next(root.rglob("*.mp4")).unlink(), "is missing"),
        (lambda root: change(root, episodes=record(root)["episodes"][1:]), r"a record \[0\]"),
        (lambda root: change(root, episodes=[]), "3 episodes, and records of 0"),
        (lambda root: change(root, files={}), "belongs to no imagined episode"),
        (lambda root: age(root), "lacks made_by, files, details"),
    ],
)
def test_what_was_changed_afterwards_does_not_verify(written, spoil, message):
    assert len(verify(VerifySynthetic(dataset=written)).episodes) == 3
    spoil(written)
    with pytest.raises(ValueError, match=message):
        verify(VerifySynthetic(dataset=written))


def test_another_checkpoint_is_not_the_one_that_imagined_it(written, checkpoint):
    verify(VerifySynthetic(dataset=written, checkpoint=str(checkpoint)))
    with pytest.raises(ValueError, match="names a checkpoint"):
        verify(VerifySynthetic(dataset=written, checkpoint="lift"))


def test_a_dataset_of_an_earlier_version_is_not_continued(written, config):
    age(written)
    with pytest.raises(ValueError, match="lacks made_by, files, details"):
        run(replace(config, episodes=5, sampling=Sampling()))


def append(path):
    path.write_bytes(path.read_bytes() + b"\0")


def change(root, **changes):
    write_json(root / SYNTHETIC_PATH, {**record(root), **changes})


def age(root):
    """The record as an earlier version wrote it."""
    content = record(root)
    del content["made_by"], content["files"], content["details"]
    write_json(root / SYNTHETIC_PATH, content)


def test_a_run_in_two_parts_gives_the_same_dataset(config, tmp_path):
    whole = run(replace(config, output=tmp_path / "whole"))
    run(replace(config, episodes=2))
    assert_same(run(config), whole)
    verify(VerifySynthetic(dataset=config.output))
    before = (config.output / "meta" / "info.json").stat().st_mtime_ns
    assert_same(run(config), whole)
    assert (config.output / "meta" / "info.json").stat().st_mtime_ns == before, "nothing was left"


def test_implausible_episodes_are_kept_apart_with_their_reasons_and_none_is_lost(
    config, thresholds, tmp_path
):
    plain = run(replace(config, output=tmp_path / "all", plausibility=thresholds()))
    scores = {
        one["seed"]: one["details"]["scores"]["entropy"] for one in record(plain.root)["episodes"]
    }
    limit = sorted(scores.values())[2]
    split = run(replace(config, plausibility=thresholds(entropy=limit)))
    apart = LeRobotDataset(config.output / "implausible")
    kept = [split.episode_info(i).seed for i in range(split.num_episodes)]
    bad = [apart.episode_info(i).seed for i in range(apart.num_episodes)]
    assert kept == sorted(seed for seed, score in scores.items() if score <= limit)
    assert sorted(kept + bad) == [0, 1, 2, 3, 4] and len(bad) == 2
    found = record(config.output)["episodes"]
    reasons = {one["seed"]: one["details"]["reasons"] for one in found}
    assert {one["seed"] for one in found if one["kept"]} == set(kept)
    for root in (split.root, apart.root):
        assert verify(VerifySynthetic(dataset=root)).made_by.command == "synthesize"
    assert all(reasons[seed][0].startswith("entropy ") for seed in bad)
    assert not any(reasons[seed] for seed in kept)
    assert [one["seed"] for one in record(apart.root)["episodes"]] == sorted(bad)
    # As after a crash between the two datasets: what one lacks is imagined again.
    shutil.rmtree(config.output / "implausible")
    run(replace(config, plausibility=thresholds(entropy=limit)))
    again = LeRobotDataset(config.output / "implausible")
    assert [again.episode_info(i).seed for i in range(again.num_episodes)] == bad
    assert split.num_episodes == LeRobotDataset(config.output).num_episodes


def test_no_plausible_episode_is_an_error_that_says_where_they_are(config, thresholds):
    with pytest.raises(ValueError, match="none of 5 episodes is plausible"):
        run(replace(config, plausibility=thresholds(surprise=0.0)))
    assert LeRobotDataset(config.output / "implausible").num_episodes == 5


def test_other_settings_are_not_mixed_into_one_dataset(config):
    run(replace(config, episodes=2))
    with pytest.raises(ValueError, match=r"other settings \(seed: was 0, now 9\)"):
        run(replace(config, seed=9))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plausibility": ""}, "roboscape calibrate"),
        ({"actions": "perturb"}, "no arm model"),
        ({"judge": JudgeChoice(kind="classifier", weights="nowhere/x")}, "neither a bundled model"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(config, change, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=message):
        run(replace(config, **change))


def test_a_seed_without_a_plan_is_skipped_and_said(config):
    dataset = run(replace(config, episodes=4, sampling=Sampling()))
    assert dataset.num_episodes == 3
    details = record(config.output)["details"]
    assert details["counts"]["skipped"] == 1 and "would repeat" in details["skipped"]["3"]
    # Run again, it is not tried again.
    assert run(replace(config, episodes=4, sampling=Sampling())).num_episodes == 3


def test_thresholds_of_another_checkpoint_are_refused(config, thresholds):
    path = thresholds()
    content = json.loads((config.output.parent / "thresholds" / "plausibility.json").read_text())
    write_json(
        config.output.parent / "thresholds" / "plausibility.json", {**content, "checkpoint": "x"}
    )
    with pytest.raises(ValueError, match="of another checkpoint"):
        run(replace(config, plausibility=path))


def test_a_policy_and_its_flag_belong_together(config):
    with pytest.raises(ValueError, match="belong together"):
        replace(config, actions="policy")


class Counting:
    """A policy that answers each frame with its mean level, and notes what it was shown."""

    def __init__(self, world):
        self.spec = PolicySpec(
            cameras=("front",),
            frames=2,
            frame_hz=world.frame_hz,
            action=world.action,
            chunk=STRIDE,
            executed=STRIDE,
        )
        self.shown, self.seeds = [], []

    def reset(self, seeds, *, where=None):
        self.seeds = list(seeds)

    def act(self, observed, *, worlds):
        self.shown.append(observed.rgb["front"].copy())
        level = observed.rgb["front"][:, -1].mean(axis=(1, 2, 3)) / 255
        return np.repeat(level[:, None, None], STRIDE, axis=1).repeat(3, axis=2).astype(np.float32)

    def close(self):
        pass


def test_a_policy_acts_on_every_imagined_frame(tiny_bundle, lift_dataset):
    simulator = LearnedSimulator(tiny_bundle, batch=2, cameras=("front",))
    policy = Counting(simulator.spec)
    plans = [
        Plan(
            seed=40 + number,
            start=EpisodeStart(dataset=lift_dataset, episode=number),
            actions=None,
            split="test",
            task="lift",
        )
        for number in (0, 1)
    ]
    actor = PolicyActions(policy, simulator.spec, seeds=[40, 41])
    found = imagine_plans(simulator, plans, judge=None, frames=4, policy=actor)
    assert policy.seeds == [40, 41] and len(policy.shown) == 4
    for world, one in enumerate(found):
        for frame in range(4):
            shown = policy.shown[frame][world]
            np.testing.assert_array_equal(shown[-1], one.episode.rgb["front"][frame])
            np.testing.assert_array_equal(shown[0], one.episode.rgb["front"][max(frame - 1, 0)])
            level = one.episode.rgb["front"][frame].mean() / 255
            np.testing.assert_allclose(one.episode.actions[frame], level, rtol=1e-4)
    with pytest.raises(ValueError, match="needs a policy"):
        imagine_plans(simulator, plans, judge=None, frames=4)
