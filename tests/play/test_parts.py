"""Laws of the parts: commands are integrated, histories stay small, pools keep worlds apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboscape.dataset.records import ActionConvention
from roboscape.play.drivers.hands import HandDriver, neutral
from roboscape.play.frames import Frame, Pictures, compare, pack, unpack
from roboscape.play.history import COPIES, History, WorldCopy
from roboscape.play.layout import CameraView, controls_for
from roboscape.play.limits import Limits, RateLimit
from roboscape.play.pool import Kept, WorldPool
from roboscape.play.recording import actions_of_frames, convention_of_frames
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import EpisodeStart, Snapshot, WorldSpec

ACTION = ActionConvention(
    mode="delta",
    names=("eef_x", "eef_y", "gripper"),
    units=("m", "m", "1"),
    scale=(0.05, 0.05, 1.0),
    frame="robot_base",
    rotation="none",
    gripper="-1 opens, +1 closes",
    action_hz=20.0,
)
SPEC = WorldSpec(cameras=(), frame_hz=5.0, stride=4, action=ACTION, state_names=())
PUSH, STILL = np.array([1.0, 0.0, -1.0]), np.array([0.0, 0.0, -1.0])


def commanded(driver, *changes):
    for time_s, values in changes:
        driver.command(np.asarray(values, np.float32), sequence=0, now_s=time_s)


def test_a_short_press_between_two_frames_counts_with_the_time_that_it_lasted():
    driver = HandDriver(SPEC)
    commanded(driver, (0.06, PUSH), (0.08, STILL))
    actions = driver.take(0.0, 0.2)
    assert np.allclose(actions[:, 0], [0, 0.4, 0, 0], atol=1e-6)
    assert not driver.take(0.2, 0.4)[:, 0].any()


@given(st.lists(st.tuples(st.floats(0, 0.199), st.floats(-1, 1)), max_size=8))
def test_what_is_commanded_between_frames_is_neither_lost_nor_added(changes):
    driver = HandDriver(SPEC)
    changes = sorted(changes, key=lambda one: one[0])
    commanded(driver, *((time_s, [value, 0, -1]) for time_s, value in changes))
    times = [0.0, *(time_s for time_s, _ in changes), 0.2]
    held = [0.0, *(value for _, value in changes)]
    whole = sum(
        value * (end - begin) for value, begin, end in zip(held, times[:-1], times[1:], strict=True)
    )
    assert driver.take(0.0, 0.2)[:, 0].mean() * 0.2 == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("lasted_s", [0.213, 1e-3, 1e-6, 1e-9])
def test_a_command_that_is_held_is_taken_to_the_last_bit_whatever_the_clock_shows(lasted_s):
    driver, held = HandDriver(SPEC), np.array([-1.0, 0.3, -1.0])
    begins_s = 86_400 + np.random.default_rng(0).uniform(size=200)
    commanded(driver, (float(begins_s[0]), held))
    driver.take(0.0, float(begins_s[0]))
    for begin_s in begins_s.tolist():
        taken = driver.take(begin_s, begin_s + lasted_s)
        assert np.array_equal(taken, np.repeat(held[None].astype(np.float32), 4, axis=0))


def test_a_gripper_is_never_half_commanded():
    driver = HandDriver(SPEC)
    commanded(driver, (0.11, [0, 0, 1]))
    assert driver.take(0.0, 0.2)[:, 2].tolist() == [-1, -1, 1, 1]
    commanded(driver, (0.25, [0, 0, -1]), (0.251, [0, 0, 1]))
    assert set(driver.take(0.2, 0.4)[:, 2].tolist()) <= {-1.0, 1.0}


def test_a_world_that_waited_takes_the_command_that_woke_it_as_a_whole():
    driver = HandDriver(SPEC)
    commanded(driver, (7.3, PUSH))
    assert np.array_equal(driver.take(7.3, 7.301), np.repeat(PUSH[None], 4, 0))
    assert not driver.is_neutral


@pytest.mark.parametrize("values", [[0, 0], [0, 0, 1.01], [np.nan, 0, 0], [0, 0, 0, 0]])
def test_commands_beyond_the_action_are_refused(values):
    driver = HandDriver(SPEC)
    with pytest.raises(ValueError, match="expected 3 values from -1 to 1"):
        commanded(driver, (0.0, values))
    assert driver.is_neutral


def test_nobodys_command_moves_nothing_and_leaves_the_gripper_open():
    assert neutral(ACTION).tolist() == [0, 0, -1]


def test_one_action_a_frame_commands_the_same_motion_as_its_native_actions():
    native = np.random.default_rng(0).uniform(-1, 1, (12, 3)).astype(np.float32)
    frames = convention_of_frames(ACTION, stride=4)
    actions = actions_of_frames(native, ACTION, stride=4)
    assert frames.action_hz == 5 and np.abs(actions).max() <= 1
    moved = (actions * frames.scale)[:, :2].sum(0)
    assert np.allclose(moved, (native * ACTION.scale)[:, :2].sum(0), atol=1e-6)
    assert np.array_equal(actions[:, 2], native[3::4, 2])


# Lift's camera faces the robot: the image's right is the robot's left, +y.
FACING = CameraView(
    name="agentview", height=128, width=128, focal_px=154.5, measured=True,
    camera_to_world=[[0.0, -0.7, 0.7], [1.0, 0.0, 0.0], [0.0, 0.7, 0.7]],
)  # fmt: skip


def test_left_is_left_in_the_picture():
    keys = {one.name: one for one in controls_for(ACTION, FACING)}
    assert (keys["left"].dimension, keys["left"].value) == (1, -1.0)
    assert (keys["right"].dimension, keys["right"].value) == (1, 1.0)
    assert (keys["away"].dimension, keys["away"].value) == (0, -1.0)
    behind = {one.name: one for one in controls_for(ACTION, None)}
    assert (behind["left"].value, behind["away"].value) == (1.0, 1.0)


def test_grippers_stay_as_they_were_told_and_moves_do_not():
    found = controls_for(ACTION, None)
    assert {one.name: one.value for one in found if one.toggles} == {
        "open gripper": -1.0,
        "close gripper": 1.0,
    }
    assert len({one.key for one in found}) == len(found)


def frame(level, **more):
    rgb = np.full((2, 2, 3), level, np.uint8)
    seen = Pictures(rgb={"a": rgb}, depth_codes={}, state=np.zeros(0), confidence={})
    return Frame(imagined=seen, **more)


def copy_of(number):
    return WorldCopy(imagined=Kept(snapshot=Snapshot(number, 1)))


def grown(frames, *, most=1000, needs_copy=()):
    history = History(most_frames=most)
    history.begin(frame(0), copy_of(0))
    for number in range(1, frames):
        history.add(frame(number % 256, restarted=number in needs_copy))
        future = history.now
        if future.last % future.spacing == 0 or number in needs_copy:
            future.add_copy(copy_of(future.last))
    return history


@pytest.mark.parametrize("frames", [1, 5, 60, 500])
def test_every_kept_frame_is_reached_from_a_copy_before_it(frames):
    future = grown(frames).now
    assert len(future.copies) <= COPIES
    for number in range(future.first, future.last + 1):
        copy, way = future.way_to(number)
        assert copy.imagined.snapshot.content + len(way) == number


def test_a_way_never_leads_past_a_restart():
    future = grown(300, needs_copy=(37, 150)).now
    for number in range(300):
        copy, way = future.way_to(number)
        assert not any(one.restarted for one in way)
        assert copy.imagined.snapshot.content + len(way) == number


def test_futures_share_their_past_and_part_where_asked():
    history = grown(20)
    past = list(history.now.frames)
    future = history.part(0, at=7)
    history.add(frame(200))
    assert future.frames[:8] == past[:8] and len(future.frames) == 9
    assert history.futures[0].frames == past
    assert history.num_frames() == 21
    assert max(future.copies) <= 7


def test_the_future_that_goes_on_is_never_forgotten():
    history = grown(10)
    for _ in range(6):
        history.part(history.present, at=5)
        history.add(frame(1))
    assert len(history.futures) <= 3 and history.present in history.futures


def test_a_long_history_forgets_its_oldest_frames():
    history = grown(400, most=100)
    assert history.num_frames() <= 100
    assert history.now.last == 399 and min(history.now.copies) == history.now.first
    with pytest.raises(ValueError, match="keeps frames"):
        history.now.frame(0)


def test_a_packed_frame_comes_back_equal():
    arrays = {
        "rgb/a": np.arange(27, dtype=np.uint8).reshape(3, 3, 3),
        "depth/a": np.arange(9, dtype=np.uint16).reshape(3, 3),
    }
    header, found = unpack(pack({"type": "frame", "word": "é"}, arrays))
    assert header == {"type": "frame", "word": "é"}
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_equal_pictures_score_the_most_and_none_without_a_truth():
    assert compare(frame(7).imagined, frame(7).imagined) == pytest.approx(100)
    assert compare(frame(0).imagined, frame(255).imagined) == pytest.approx(0)
    assert compare(frame(7).imagined, None) is None


def test_a_rate_is_kept_in_the_long_run_and_a_burst_allowed():
    rate = RateLimit(rate_hz=10.0, burst=5, now_s=0.0)
    assert sum(rate.allows(0.0) for _ in range(20)) == 5
    assert sum(rate.allows(1.0 + number / 1000) for number in range(20)) == 5
    assert sum(rate.allows(10.0 + number / 10) for number in range(100)) == 100


def test_limits_under_which_nothing_can_be_played_are_refused():
    with pytest.raises(ValueError, match="worlds"):
        Limits(worlds=0)
    with pytest.raises(ValueError, match="idle_s"):
        Limits(idle_s=0.0)


def test_a_start_that_does_not_fit_leaves_a_players_world_alone(tiny_bundle, lift_dataset):
    pool = WorldPool(LearnedSimulator(tiny_bundle, cameras=("front",)))
    start = EpisodeStart(dataset=lift_dataset, episode=0)
    actions = np.zeros((2, 3), np.float32)
    pool.begin("one", start)
    pool.begin("two", start)
    expected = pool.step({"two": actions})["two"]
    with pytest.raises(ValueError, match="row"):
        pool.begin("one", EpisodeStart(dataset=lift_dataset, episode=0, row=999))
    found = pool.step({"one": actions})["one"]
    assert np.array_equal(found.rgb["front"], expected.rgb["front"])
    assert pool.players == {"one", "two"}
    pool.drop("one")
    pool.drop("two")
    assert not pool.players


def test_a_world_that_stays_when_others_leave_its_batch_stays_itself(tiny_bundle, lift_dataset):
    start = EpisodeStart(dataset=lift_dataset, episode=0)
    push, still = np.array([[[1, 0, -1]] * 2, [[0, 0, -1]] * 2], np.float32)
    pool = WorldPool(LearnedSimulator(tiny_bundle, cameras=("front",)))
    alone = WorldPool(LearnedSimulator(tiny_bundle, cameras=("front",)))
    for name in ("one", "two"):
        pool.begin(name, start)
    alone.begin("two", start)
    pool.step({"one": still, "two": push})
    alone.step({"two": push})
    found, expected = pool.step({"two": still})["two"], alone.step({"two": still})["two"]
    assert np.array_equal(found.depth_m["front"], expected.depth_m["front"])
