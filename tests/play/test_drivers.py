"""Drivers that think: policies and planners, beside worlds that go on, and handed over to hands."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.core.errors import UserError
from roboscape.dataset.cameras import camera_pose
from roboscape.play.drivers import registry
from roboscape.play.drivers.planned import MOST_FRAMES, GoalDriver, point_at
from roboscape.play.drivers.protocol import Mark
from roboscape.play.frames import Frame, Pictures
from roboscape.play.history import Future
from roboscape.play.stage import open_stage
from roboscape.policies.compact.model import CompactPolicyNetwork
from roboscape.policies.compact.tokens import tokens_read
from roboscape.policies.driver import PolicyDriver
from roboscape.policies.opening import open_policy
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import EpisodeStart, SeedStart
from tests.play.conftest import TINY
from tests.play.pages import LEFT, LIMITS, RIGHT, Page, play, with_limits


@pytest.fixture
def stage_with_policy(stage, policy_folder):
    return replace(stage, policies=(policy_folder,))


class Slow:
    """A driver that chooses the same actions again and again, each after it was allowed to."""

    thinks, words, ending, mark = True, "A slow driver drives", "It has had enough.", None

    def __init__(self, actions):
        self._actions = None if actions is None else np.asarray(actions, np.float32)
        self.asked, self.closed = 0, False
        self.may_go_on = asyncio.Semaphore(0)

    async def actions(self, future):
        self.asked += 1
        await self.may_go_on.acquire()
        return self._actions

    def close(self):
        self.closed = True


@pytest.fixture
def slow(monkeypatch):
    """Makes `slow` a driver's name; returns the drivers that were made under it."""
    made = []

    async def make(around, settings):
        made.append(Slow(None if settings.get("ends") else [RIGHT, RIGHT]))
        return made[-1]

    monkeypatch.setitem(registry.DRIVERS, "slow", make)
    return made


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_policy_acts_on_what_is_imagined_as_it_does_without_a_page(
    stage_with_policy, tiny_bundle, lift_dataset, policy_folder
):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send("speed", value=0)
            page.send("drive", by="policy", settings={"policy": 0, "seed": 3})
            status = await page.wait_for("status", lambda one: one["driven_by"] == "policy")
            await page.wait_for("frame", lambda header: header["frame"] >= 6)
            page.send("pause")
            await page.wait_for("status", lambda one: not one["running"])
            (session,) = app.state.host.sessions.values()
            return status, [frame.actions for frame in session.history.now.frames[1:7]]

    status, driven = play(stage_with_policy, story)
    simulator = LearnedSimulator(tiny_bundle, cameras=("front",))
    driver = PolicyDriver(open_policy(policy_folder, device="cpu"), simulator.spec)
    start = EpisodeStart(dataset=lift_dataset, episode=0, row=0)
    driver.reset(simulator.reset([start]), seeds=[3])
    expected = []
    for _ in range(6):
        expected.append(driver.actions()[0])
        driver.observe(simulator.step(expected[-1][None]))
    assert policy_folder in status["driver"]["words"]
    np.testing.assert_allclose(driven, expected, atol=1e-4)


def test_a_policy_that_reads_tokens_drives_by_pictures(stage, tiny_bundle, tmp_path):
    """What a player has seen is kept as pictures; the policy encodes them itself."""
    torch.manual_seed(0)
    reading = replace(TINY, tokens=tokens_read(tiny_bundle.tokenizer, image_size=64))
    CompactPolicyNetwork(reading).eval().save_pretrained(tmp_path / "reading")
    tiny_bundle.tokenizer.save_pretrained(tmp_path / "reading" / "tokenizer")

    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send("drive", by="policy", settings={"policy": 0, "seed": 3})
            await page.wait_for("frame", lambda header: header["frame"] >= 4)
            page.send("pause")
            status = await page.wait_for("status", lambda one: not one["running"])
            return status["driver"]["words"]

    assert "reading" in play(replace(stage, policies=(str(tmp_path / "reading"),)), story)


def test_a_policy_behind_an_address_drives_as_the_same_one_does_here(stage, policy_folder):
    pytest.importorskip("websockets", reason="the extra `serve` is not installed")
    from roboscape.policies.remote.serve import policy_server
    from roboscape.policies.remote.server import served

    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send("speed", value=0)
            driven = []
            for number in range(2):
                page.send("start_episode", episode=0)
                await page.wait_for("frame", lambda header: header["frame"] == 0)
                page.send("drive", by="policy", settings={"policy": number, "seed": 7})
                await page.wait_for("frame", lambda header: header["frame"] >= 4)
                page.send("pause")
                await page.wait_for("status", lambda one: not one["running"])
                (session,) = app.state.host.sessions.values()
                driven.append([frame.actions for frame in session.history.now.frames[1:5]])
            return driven

    with served(policy_server(open_policy(policy_folder, device="cpu"))) as address:
        here, there = play(replace(stage, policies=(policy_folder, address)), story)
    np.testing.assert_allclose(here, there, atol=1e-5)


def test_a_policy_begins_anew_where_the_player_has_rewound(stage_with_policy):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send("drive", by="policy", settings={})
            await page.wait_for("frame", lambda header: header["frame"] >= 1)
            page.send("pause")
            await page.wait_for("status", lambda one: not one["running"])
            (session,) = app.state.host.sessions.values()
            first = session.history.now.frame(1).actions
            page.send("seek", frame=0)
            await page.wait_for("frame", lambda header: header["frame"] == 0)
            page.send("step")
            await page.wait_for("frame", lambda header: header["frame"] == 1)
            return first, session.history.now.frame(1).actions, session.history.now.number

    first, again, future = play(stage_with_policy, story)
    assert future == 1
    np.testing.assert_array_equal(first, again)


def test_a_frame_that_was_due_before_a_pause_is_not_taken_after_it(stage):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            host = app.state.host
            (session,) = host.sessions.values()
            async with session.lock:
                session.running = True
                host._think(session)
                await asyncio.sleep(0)
                session.running = False
            await until(lambda: session.name not in host._thinking)
            return session.history.now.last

    assert play(stage, story) == 0


def test_other_worlds_go_on_while_a_driver_thinks(stage, slow):
    async def story(app):
        async with Page(app) as first, Page(app) as second:
            await first.begun()
            await second.begun()
            for page in (first, second):
                page.send("speed", value=0)
            first.send("drive", by="slow")
            await until(lambda: slow and slow[0].asked)
            second.send("drive", by="episode", settings={"episode": 1})
            await second.wait_for("notice")
            thinker, other = app.state.host.sessions.values()
            seen = thinker.history.now.last, other.history.now.last
            slow[0].may_go_on.release()
            await first.wait_for("frame", lambda header: header["frame"] == 1)
            return seen, thinker.history.now.frame(1).actions

    (thinker, other), actions = play(stage, story)
    assert thinker == 0 and other > 5
    np.testing.assert_array_equal(actions, [RIGHT, RIGHT])


def test_hands_take_over_while_a_driver_thinks_and_its_choice_is_dropped(stage, slow):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send("drive", by="slow")
            await until(lambda: slow and slow[0].asked)
            page.send("command", values=LEFT, sequence=5)
            await page.wait_for("status", lambda one: one["driven_by"] == "hands")
            slow[0].may_go_on.release()
            header, _ = await page.wait_for("frame", lambda header: header["frame"] == 1)
            (session,) = app.state.host.sessions.values()
            return header, session.history.now.frame(1).actions

    header, actions = play(stage, story)
    assert slow[0].closed and header["sequence"] == 5
    assert (actions[:, 0] < 0).any() and (actions[:, 0] <= 0).all()


def test_a_pause_while_a_driver_thinks_takes_no_frame_and_a_step_takes_one(stage, slow):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send("drive", by="slow")
            await until(lambda: slow and slow[0].asked)
            page.send("pause")
            await page.wait_for("status", lambda one: not one["running"])
            slow[0].may_go_on.release()
            (session,) = app.state.host.sessions.values()
            await until(lambda: not session.lock.locked())
            after_pause = session.history.now.last
            page.send("step")
            await until(lambda: slow[0].asked == 2)
            slow[0].may_go_on.release()
            await page.wait_for("frame", lambda header: header["frame"] == 1)
            return after_pause, session.history.now.last, session.driven_by

    assert play(stage, story) == (0, 1, "slow")


def test_a_driver_that_has_no_more_actions_says_why_and_time_stands_still(stage, slow):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send("drive", by="slow", settings={"ends": 1})
            await until(lambda: slow and slow[0].asked)
            slow[0].may_go_on.release()
            notice = await page.wait_for("notice")
            status = await page.wait_for("status", lambda one: one["driven_by"] == "hands")
            return notice["message"], status

    message, status = play(stage, story)
    assert message == "It has had enough." and not status["running"] and slow[0].closed
    assert status["driver"] is None


def test_a_freed_world_closes_its_driver(stage, slow):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send("drive", by="slow")
            await until(lambda: slow and slow[0].asked)
        slow[0].may_go_on.release()
        await until(lambda: not app.state.host.sessions)
        await until(lambda: slow[0].closed)
        return slow[0].closed

    assert play(with_limits(stage, away_s=0.1), story)


def test_what_cannot_drive_is_said(stage, stage_with_policy):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            words = []
            for by, settings in (("policy", {"policy": 1}), ("policy", {"seed": -1}), ("goal", {})):
                page.send("drive", by=by, settings=settings)
                words.append((await page.wait_for("error"))["message"])
            (session,) = app.state.host.sessions.values()
            return words, session.driven_by

    (absent, seed, goal), by = play(stage_with_policy, story)
    assert "no policy 1" in absent and "seed" in seed and "eef_x" in goal and by == "hands"


def opened_with(policies, tiny_bundle, dataset, tmp_path):
    return open_stage(
        tiny_bundle,
        name=str(tmp_path),
        dataset=dataset,
        task="",
        cameras=("front",),
        output=tmp_path,
        limits=LIMITS,
        policies=policies,
    )


def test_named_policies_must_fit_and_bundled_ones_are_offered_where_they_do(
    tiny_bundle, lift_dataset, policy_folder, tmp_path
):
    tiny_bundle.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="camera 'agentview'"):
        opened_with(("lift-policy",), tiny_bundle, lift_dataset, tmp_path)
    for named, expected in (((), ()), ((policy_folder,), (policy_folder,))):
        stage = opened_with(named, tiny_bundle, lift_dataset, tmp_path)
        assert stage.about()["policies"] == list(expected)
        assert not stage.about()["has_goals"]
        stage.close()


class Toward:
    """A planner that would go on for ever."""

    thinks, words, ending, mark = True, "A planner drives", "", None

    def __init__(self):
        self.asked = 0

    async def actions(self, future):
        self.asked += 1
        return np.zeros((2, 3), np.float32)

    def close(self):
        pass


def future_at(hand_m):
    state = np.array([0.0, *hand_m], np.float32)
    pictures = Pictures(rgb={}, depth_codes={}, state=state, confidence={})
    return Future(number=0, frames=[Frame(imagined=pictures)], copies={})


@pytest.mark.parametrize(("away_m", "asked"), [(0.019, 0), (0.021, 1), (0.5, 1)])
def test_planning_ends_at_its_goal_and_not_before(away_m, asked):
    planner, goal_m = Toward(), np.array([0.1, 0.2, 0.9])
    mark = Mark(camera="front", x_px=1, y_px=2)
    driver = GoalDriver(planner, goal_m=goal_m, columns=[1, 2, 3], mark=mark)
    chosen = asyncio.run(driver.actions(future_at(goal_m + np.array([0, 0, away_m]))))
    assert planner.asked == asked and (chosen is None) == (asked == 0)
    assert ("reached its goal: 1.9 cm" in driver.ending) == (asked == 0)


def test_planning_towards_what_cannot_be_reached_ends_and_says_so():
    planner = Toward()
    mark = Mark(camera="front", x_px=1, y_px=2)
    driver = GoalDriver(planner, goal_m=np.ones(3), columns=[1, 2, 3], mark=mark)
    chosen = [asyncio.run(driver.actions(future_at([0, 0, 0]))) for _ in range(MOST_FRAMES + 1)]
    assert chosen[-1] is None and all(one is not None for one in chosen[:-1])
    assert planner.asked == MOST_FRAMES and "did not reach" in driver.ending


def test_a_clicked_cube_is_where_physics_has_it(tmp_path):
    pytest.importorskip("robosuite", reason="the simulators are not installed")
    from roboscape.rollout.bundle import Bundle, Compute
    from roboscape.simulators.lift_cube import cube_patch

    bundle = Bundle.from_pretrained("lift").for_imagining(Compute(device="cpu", precision="fp32"))
    stage = open_stage(
        bundle, name="lift", dataset=None, task="", cameras=(), output=tmp_path, limits=LIMITS
    )
    try:
        assert stage.policies == ("lift-policy",) and stage.about()["has_goals"]
        seen = asyncio.run(stage.truth.begin("somebody", SeedStart(seed=800_001), seed=0))
        cube_m = asyncio.run(stage.truth.ask(true_cube_m))
        y_px, x_px = np.median(np.nonzero(cube_patch(seen.pictures.rgb["agentview"])), axis=1)
        mark = Mark(camera="agentview", x_px=int(x_px), y_px=int(y_px))
        found_m = point_at(mark, frame=Frame(imagined=seen.pictures), stage=stage)
        eye_m = camera_pose(stage.recordings, "agentview", seen.pictures.state).position_m
    finally:
        stage.close()
    # The surface that is seen lies in front of the middle, half a cube's edge to its diagonal.
    assert 0.015 < np.linalg.norm(found_m - cube_m) < 0.036
    assert np.linalg.norm(found_m - eye_m) < np.linalg.norm(cube_m - eye_m)


def true_cube_m(simulator):
    scene = simulator.worlds[0].scene
    return scene.data.xpos[scene.model.body("cube_main").id].copy()
