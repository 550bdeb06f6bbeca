from dataclasses import replace

import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.policies.driver import PolicyDriver
from roboscape.policies.protocol import check_policy_fits
from roboscape.simulators.protocol import SeedStart
from tests.policies.remembering_policy import RememberingPolicy
from tests.simulators.counting_simulator import SPEC, STRIDE, CountingSimulator


def driven(policy, seeds, *, frames):
    """The second numbers of all actions, by frame and world."""
    simulator = CountingSimulator(len(seeds))
    driver = PolicyDriver(policy, simulator.spec)
    driver.reset(simulator.reset([SeedStart(seed=seed) for seed in seeds]), seeds=seeds)
    taken = []
    for _ in range(frames):
        taken.append(driver.actions())
        driver.observe(simulator.step(taken[-1]))
    return np.stack(taken), driver, simulator


def test_a_chunk_is_used_up_before_the_policy_is_asked_again():
    policy = RememberingPolicy(chunk=9, executed=6)
    taken, _, _ = driven(policy, [7], frames=4)
    # Six of nine actions are two frames; then a new chunk from age 2.
    expected = [[0, 1, 2], [3, 4, 5], [2000, 2001, 2002], [2003, 2004, 2005]]
    np.testing.assert_array_equal(taken[:, 0, :, 1], expected)


def test_a_policy_is_shown_the_newest_frames_in_order_and_the_first_repeated_before_it():
    policy = RememberingPolicy(chunk=3, executed=3, frames=3)
    driven(policy, [7], frames=4)
    ages = [observed.state[0, :, 0].tolist() for _, observed in policy.shown]
    assert ages == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]
    pixels = [observed.rgb["front"][0, :, 0, 0, 0].tolist() for _, observed in policy.shown]
    assert pixels == ages


def test_a_policy_is_shown_what_it_was_trained_with_and_nothing_else():
    policy = RememberingPolicy()
    driven(policy, [7], frames=1)
    _, observed = policy.shown[0]
    assert observed.state.shape == (1, 2, 1)
    assert list(observed.rgb) == ["front"]
    assert observed.depth_m == {}
    assert observed.task == ""


def test_a_world_that_begins_anew_gets_a_new_chunk_while_the_others_finish_theirs():
    policy = RememberingPolicy(chunk=9, executed=9)
    _, driver, simulator = driven(policy, [7, 8], frames=1)
    where = np.array([False, True])
    driver.reset(simulator.reset([SeedStart(seed=9)], where=where), seeds=[9], where=where)
    actions = driver.actions()
    np.testing.assert_array_equal(actions[:, :, 1], [[3, 4, 5], [0, 1, 2]])
    assert policy.shown[-1][0] == [1]
    assert policy.shown[-1][1].state[0, :, 0].tolist() == [0, 0]
    assert actions[1, 0, 0] == pytest.approx(np.random.default_rng(9).random())


def test_a_world_that_begins_anew_leaves_the_past_of_the_others():
    policy = RememberingPolicy(chunk=3, executed=3, frames=3)
    _, driver, simulator = driven(policy, [7, 8], frames=2)
    where = np.array([False, True])
    driver.reset(simulator.reset([SeedStart(seed=9)], where=where), seeds=[9], where=where)
    driver.actions()
    assert policy.shown[-1][1].state[:, :, 0].tolist() == [[0, 1, 2], [0, 0, 0]]


def test_slower_actions_are_shared_out_and_grippers_held():
    policy = RememberingPolicy(chunk=2, executed=1, action_hz=5.0)
    taken, _, _ = driven(policy, [7], frames=1)
    assert taken.shape == (1, 1, STRIDE, 2)
    np.testing.assert_allclose(taken[0, 0, :, 0].sum(), np.random.default_rng(7).random())
    np.testing.assert_array_equal(taken[0, 0, :, 1], [0, 0, 0])


def test_faster_actions_are_summed():
    policy = RememberingPolicy(chunk=6, executed=6, action_hz=30.0)
    taken, _, _ = driven(policy, [7], frames=1)
    draw = np.random.default_rng(7).random()
    np.testing.assert_allclose(taken[0, 0, :, 0], 2 * draw)
    np.testing.assert_array_equal(taken[0, 0, :, 1], [1, 3, 5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cameras": ("wrist",)}, "camera 'wrist'"),
        ({"image_size": 64}, "64 pixels"),
        ({"state_names": ("joint",)}, "state joint"),
        ({"frame_hz": 10.0}, "frames 10 a second"),
        ({"action": replace(SPEC.action, frame="world")}, "frame: 'world' against 'robot_base'"),
        ({"action": replace(SPEC.action, action_hz=20.0)}, "one rate must be a multiple"),
        ({"depth_cameras": ("back",)}, "camera 'back'"),
    ],
)
def test_a_policy_of_another_camera_rate_or_convention_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        check_policy_fits(replace(RememberingPolicy().spec, **change), SPEC)


def test_a_policy_of_a_single_frame_acts_at_any_frame_rate():
    check_policy_fits(replace(RememberingPolicy(frames=1).spec, frame_hz=10.0), SPEC)


def test_chunks_that_end_in_the_middle_of_a_frame_are_refused():
    with pytest.raises(UserError, match="multiple of the 3 of a frame"):
        PolicyDriver(RememberingPolicy(chunk=6, executed=4), SPEC)


def test_acting_before_an_episode_began_is_refused():
    with pytest.raises(UserError, match="call reset first"):
        PolicyDriver(RememberingPolicy(), SPEC).actions()
