import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.policies.episodes import EpisodePlan, run_episodes
from roboscape.policies.rates import success_rate
from roboscape.policies.scripted import RecordedPolicy
from roboscape.simulators.protocol import SeedStart
from roboscape.simulators.success import TrueSuccess
from tests.policies.remembering_policy import RememberingPolicy
from tests.simulators.counting_simulator import SPEC, STRIDE, CountingSimulator


def outcomes(batch, seeds, *, max_frames=6, policy=None, watch=None, on_end=None):
    plan = EpisodePlan(
        starts=[SeedStart(seed=seed) for seed in seeds], seeds=seeds, max_frames=max_frames
    )
    return run_episodes(
        CountingSimulator(batch),
        policy or RememberingPolicy(),
        plan,
        success=TrueSuccess(),
        watch=watch,
        on_end=on_end,
    )


def test_an_episode_ends_with_success_or_after_its_frames():
    found = outcomes(1, [3, 9, 1])
    assert [(one.success, one.frames) for one in found] == [(True, 3), (False, 6), (True, 1)]
    assert [len(one.actions) for one in found] == [3 * STRIDE, 6 * STRIDE, STRIDE]


@pytest.mark.parametrize("batch", [2, 3, 7])
def test_episodes_do_not_depend_on_the_batch(batch):
    seeds = [3, 9, 1, 2, 5]
    for one, other in zip(outcomes(1, seeds), outcomes(batch, seeds), strict=True):
        assert (one.success, one.frames) == (other.success, other.frames)
        np.testing.assert_array_equal(one.actions, other.actions)


def test_each_episode_has_the_noise_of_its_own_seed():
    for seed, one in zip([3, 9, 1], outcomes(2, [3, 9, 1]), strict=True):
        assert one.actions[0, 0] == pytest.approx(np.random.default_rng(seed).random())


def test_every_frame_is_shown_once_with_its_episode():
    seen = []
    outcomes(
        2,
        [3, 9, 1],
        watch=lambda observation, numbers: seen.extend(
            (int(number), int(age))
            for number, age in zip(numbers, observation.state[:, 1], strict=True)
            if number >= 0
        ),
    )
    expected = [(0, age) for age in range(4)] + [(1, age) for age in range(7)]
    assert sorted(seen) == sorted([*expected, (2, 0), (2, 1)])


def test_the_end_of_each_episode_is_reported_once():
    ended = []
    outcomes(2, [3, 9, 1], on_end=lambda number, outcome: ended.append((number, outcome.frames)))
    assert sorted(ended) == [(0, 3), (1, 6), (2, 1)]


def test_recorded_actions_are_replayed_and_then_the_arm_rests():
    recorded = np.array([[0.5, 1.0]] * 4, np.float32)
    policy = RecordedPolicy({9: recorded}, SPEC)
    (one,) = outcomes(1, [9], max_frames=3, policy=policy)
    np.testing.assert_array_equal(one.actions[:4], recorded)
    np.testing.assert_array_equal(one.actions[4:], [[0.0, 1.0]] * 5)


def test_actions_of_another_size_or_seed_are_refused():
    with pytest.raises(UserError, match="rows of 2 numbers"):
        RecordedPolicy({9: np.zeros((4, 3), np.float32)}, SPEC)
    with pytest.raises(UserError, match=r"of seeds \[8\]"):
        RecordedPolicy({9: np.zeros((4, 2), np.float32)}, SPEC).reset([8])


def test_no_starts_or_too_few_seeds_are_refused():
    with pytest.raises(UserError, match="a seed for each"):
        EpisodePlan(starts=[SeedStart(seed=0)], seeds=[], max_frames=1)


def test_intervals_are_wilsons():
    rate = success_rate([True] * 74 + [False] * 26)
    # The reference is what statsmodels gives for 74 of 100 with its method "wilson".
    assert (rate.low, rate.high) == pytest.approx((0.6463, 0.8160), abs=1e-4)
    assert success_rate([True] * 10).high == pytest.approx(1.0)
    assert str(rate) == "74 of 100 episodes (74 %, 95 % interval 65 to 82)"
