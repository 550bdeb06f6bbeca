"""Episodes and what is kept of them, in a simulator without physics."""

from dataclasses import replace

import numpy as np
import pytest

from roboscape.policies.protocol import PolicyInput
from roboscape.policies.scripted import RecordedPolicy
from roboscape.policy_evaluation.episodes import (
    EpisodeFiles,
    EvaluatedWorld,
    read_actions,
    replay_of,
    run_missing,
)
from roboscape.policy_evaluation.watching import TrueWithRule, Watched, Watcher
from roboscape.simulators.protocol import Observation, SeedStart
from tests.policies.remembering_policy import RememberingPolicy
from tests.simulators.counting_simulator import STRIDE, CountingSimulator

SEEDS = [3, 9, 1, 4]
FPS = 5.0


class SolvedAtTwice:
    """A rule that asks for twice the age that the simulator asks for."""

    def reset(self, observation, *, where):
        pass

    def __call__(self, observation):
        return observation.state[:, 1] == 2 * observation.state[:, 0]


def world(*, simulator=None, max_frames=7):
    return EvaluatedWorld(
        name="true",
        simulator=simulator or CountingSimulator(2),
        success=SolvedAtTwice(),
        starts={seed: SeedStart(seed=seed) for seed in SEEDS},
        max_frames=max_frames,
        fps=FPS,
        check_every=2,
    )


@pytest.fixture
def files(tmp_path):
    return EpisodeFiles(folder=tmp_path / "policy" / "true")


def run(files, *, seeds=SEEDS, simulator=None):
    return run_missing(
        world(simulator=simulator), RememberingPolicy(), seeds=seeds, files=files, label="p"
    )


def test_the_simulators_word_and_the_rules_are_kept_apart(files):
    found = run(files)
    assert [found[seed].success for seed in SEEDS] == [True, False, True, True]
    # Seed 3 is over by rule at age 6, seed 1 at age 2, seed 4 would be at age 8.
    assert [found[seed].by_rule for seed in SEEDS] == [True, False, True, False]
    assert [found[seed].frames for seed in SEEDS] == [6, 7, 2, 7]


def test_a_solved_episode_goes_on_for_a_moment_and_no_longer():
    class Neither(SolvedAtTwice):
        def __call__(self, observation):
            return np.zeros(len(observation.state), bool)

    rule = TrueWithRule(Neither(), grace_frames=2)
    simulator = CountingSimulator(1)
    rule.reset(simulator.reset([SeedStart(seed=1)]), where=np.ones(1, bool))
    over = [bool(rule(simulator.step(None))[0]) for _ in range(4)]
    assert over == [False, False, True, True]
    rule.reset(simulator.reset([SeedStart(seed=3)]), where=np.ones(1, bool))
    assert not rule(simulator.step(None))[0]


def test_each_episode_leaves_its_film_and_actions(files):
    found = run(files)
    for seed in SEEDS:
        assert files.film(seed).stat().st_size > 0
        assert len(read_actions(files.actions(seed))) == found[seed].frames * STRIDE


def test_of_a_repetition_the_outcomes_alone_are_kept(files, tmp_path):
    other = EpisodeFiles(folder=tmp_path / "again")
    repetition = replace(world(), kept=False)
    found = run_missing(repetition, RememberingPolicy(), seeds=SEEDS, files=other, label="p")
    assert found == run(files)
    assert [path.name for path in other.folder.iterdir()] == ["episodes.jsonl"]


def test_episodes_that_were_run_are_not_run_again(files):
    first = run(files, seeds=SEEDS[:2])
    lines = files.lines.read_bytes()
    whole = run(files)
    assert files.lines.read_bytes().startswith(lines)
    assert {seed: whole[seed] for seed in SEEDS[:2]} == first

    class Broken(CountingSimulator):
        def step(self, actions):
            raise AssertionError("nothing is missing")

    assert run(files, simulator=Broken(2)) == whole


def test_a_line_that_was_cut_off_is_run_again_and_swallows_no_other(files):
    whole = run(files)
    content = files.lines.read_text()
    files.lines.write_text(content[:-20])
    assert len(files.records()) == 3
    assert run(files) == whole
    assert files.records() == whole


def test_replays_take_the_actions_of_the_true_episodes(files):
    run(files)
    simulator = CountingSimulator(2)
    policy = replay_of(files, world(simulator=simulator), seeds=SEEDS)
    assert isinstance(policy, RecordedPolicy)
    policy.reset([9, 4])
    nothing = PolicyInput(rgb={}, depth_m={}, state=np.zeros((1, 1, 0), np.float32))
    taken = policy.act(nothing, worlds=np.array([1]))
    np.testing.assert_array_equal(taken[0], read_actions(files.actions(4))[:STRIDE])


def frames(*levels):
    return [np.full((64, 64, 3), level, np.uint8) for level in levels]


def test_motion_is_the_mean_change_of_a_pixel():
    watched = Watched(frames=frames(0, 51, 51), losses=[0.05])
    assert watched.motion == pytest.approx(0.1)
    assert watched.loss_over_motion == pytest.approx(0.5)
    assert Watched(frames=frames(7, 7), losses=[0.002]).loss_over_motion == pytest.approx(1)


def test_some_imagined_frames_go_through_the_tokenizer_again(tiny_bundle):
    watcher = Watcher("front", tokenizer=tiny_bundle.tokenizer, check_every=2)
    random = np.random.default_rng(0)
    for _ in range(6):
        rgb = {"front": random.integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)}
        seen = Observation(rgb=rgb, depth_m={}, state=np.zeros((2, 0), np.float32))
        watcher(seen, np.array([5, -1]))
    assert list(watcher.episodes) == [5]
    watched = watcher.take(5)
    assert len(watched.frames) == 6
    assert len(watched.losses) == 2
    assert min(watched.losses) > 0.1
    assert watcher.episodes == {}
