"""Stories of players, told against the real application with tiny models."""

import asyncio

import numpy as np
import pytest

from tests.play.pages import LEFT, RIGHT, STILL, Page, play, same, with_limits


def test_a_start_shows_the_recorded_frame_and_a_step_another_one(stage, lift_dataset):
    async def story(app):
        async with Page(app) as page:
            page.send("hello")
            about = await page.wait_for("welcome")
            page.send("start_episode", episode=1, row=4)
            first, shown = await page.wait_for("frame")
            second, imagined = await page.step(LEFT)
            return about, first, shown, second, imagined

    about, first, shown, second, imagined = play(stage, story)
    assert about["frame_hz"] == 10 and about["action"]["names"] == ["x", "y", "gripper"]
    assert (first["frame"], second["frame"]) == (0, 1)
    assert np.array_equal(shown["rgb/front"], lift_dataset.frames(1, "front")[4])
    assert not np.array_equal(imagined["rgb/front"], shown["rgb/front"])
    assert imagined["confidence/front"].shape == (4, 4)


def test_rewinding_and_going_on_alike_gives_the_same_future_again(stage):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            way = [LEFT, RIGHT, STILL, LEFT, RIGHT, RIGHT, LEFT]
            frames = [await page.step(values) for values in way]
            page.send("seek", frame=3)
            seen, again = await page.wait_for("frame")
            assert seen["frame"] == 3 and same(again, frames[2][1])
            replayed = [await page.step(values) for values in way[3:]]
            return frames, replayed, next(iter(app.state.host.sessions.values())).status()

    frames, replayed, status = play(stage, story)
    assert all(same(old, new) for (_, old), (_, new) in zip(frames[3:], replayed, strict=True))
    assert [one["parted_at"] for one in status["futures"]] == [None, 3]
    assert replayed[0][0]["future"] != frames[0][0]["future"]


def test_a_fork_under_other_actions_shows_both_futures(stage):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            for values in (LEFT, LEFT, LEFT):
                _, old = await page.step(values)
            page.send("seek", frame=1)
            await page.wait_for("frame")
            await page.step(RIGHT)
            header, new = await page.step(RIGHT)
            return old, header, new

    old, header, new = play(stage, story)
    assert header["frame"] == 3
    assert np.array_equal(new["other_rgb/front"], old["rgb/front"])
    assert not np.array_equal(new["rgb/front"], old["rgb/front"])
    assert header["other_psnr_db"] < 90


def test_time_passes_at_the_models_rate_and_waits_where_nobody_commands(stage):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send("run")
            await page.wait_for("status", lambda one: one["waiting"])
            session = next(iter(app.state.host.sessions.values()))
            waited_at = session.history.now.last
            # Time stands still: the next frame need not wait for a frame's time to pass.
            assert session.due_s <= session.frame_begun_s
            page.send("command", values=RIGHT, sequence=7)
            moved, _ = await page.wait_for("frame", lambda one: one["sequence"] == 7)
            page.send("pause")
            await page.wait_for("status", lambda one: not one["running"])
            return waited_at, moved, session.history.now

    waited_at, moved, future = play(stage, story)
    assert moved["frame"] == waited_at + 1
    # The first frame after waiting holds the command as a whole.
    assert np.allclose(future.frame(moved["frame"]).actions, [RIGHT, RIGHT], atol=1e-5)


def test_recorded_actions_are_driven_as_they_were_recorded(stage, lift_dataset):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send("speed", value=0)
            page.send("drive", by="episode", settings={"episode": 2, "row": 1})
            await page.wait_for("notice")
            (session,) = app.state.host.sessions.values()
            return [frame.actions for frame in session.history.now.frames[1:]]

    driven = np.concatenate(play(stage, story))
    assert np.array_equal(driven, lift_dataset.actions(2)[1:17])


def test_another_future_can_be_repeated_and_comes_out_equal_without_chance(stage):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            for values in (LEFT, RIGHT, RIGHT, LEFT):
                _, last = await page.step(values)
            page.send("seek", frame=1)
            await page.wait_for("frame")
            page.send("speed", value=0)
            page.send("drive", by="future", settings={"future": 0, "frame": 1})
            await page.wait_for("notice")
            (session,) = app.state.host.sessions.values()
            return last, session.history.now

    last, future = play(stage, story)
    assert future.number == 1 and future.last == 4
    assert np.array_equal(future.frames[-1].imagined.rgb["front"], last["rgb/front"])


def test_chance_parts_equal_actions_and_a_rewind_past_it_is_exact(stage):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            before = [await page.step(values) for values in (LEFT, RIGHT, LEFT)]
            page.send("sample", temperature=1.0, seed=1)
            drawn = [await page.step(values) for values in (LEFT, RIGHT)]
            page.send("seek", frame=3)
            await page.wait_for("frame")
            again = [await page.step(values) for values in (LEFT, RIGHT)]
            page.send("seek", frame=2)
            await page.wait_for("frame")
            page.send("sample", temperature=0.0)
            _, picture = await page.step(LEFT)
            page.send("seek", frame=3, future=0)
            await page.wait_for("frame", lambda one: one["frame"] == 3 and one["future"] == 0)
            page.send("sample", temperature=1.0, seed=2)
            other = [await page.step(values) for values in (LEFT, RIGHT)]
            return before, drawn, again, other, picture

    before, drawn, again, other, picture = play(stage, story)
    assert all(same(one, two) for (_, one), (_, two) in zip(drawn, again, strict=True))
    assert not all(same(one, two) for (_, one), (_, two) in zip(drawn, other, strict=True))
    assert same(picture, before[2][1])


def test_a_page_that_is_loaded_again_finds_its_world(stage):
    async def story(app):
        async with Page(app) as page:
            welcome = await page.begun()
            _, last = await page.step(LEFT)
        async with Page(app) as page:
            page.send("hello", session=welcome["session"])
            again = await page.wait_for("welcome")
            header, shown = await page.wait_for("frame")
            following, _ = await page.step(LEFT)
        return welcome, again, last, header, shown, following

    welcome, again, last, header, shown, following = play(stage, story)
    assert again["session"] == welcome["session"]
    assert header["frame"] == 1 and same(shown, last) and following["frame"] == 2


def test_two_pages_are_two_worlds_that_do_not_touch_each_other(stage):
    async def story(app):
        async with Page(app) as alone:
            await alone.begun()
            expected = [await alone.step(values) for values in (LEFT, LEFT, LEFT)]
        async with Page(app) as first, Page(app) as second:
            await first.begun()
            await second.begun()
            found = []
            for values in (LEFT, LEFT, LEFT):
                found.append(await first.step(values))
                await second.step(RIGHT)
            return expected, found

    expected, found = play(stage, story)
    assert all(same(one, two) for (_, one), (_, two) in zip(expected, found, strict=True))


def test_worlds_that_run_together_are_one_batch_and_equal_those_alone(stage):
    async def story(app):
        host = app.state.host
        async with Page(app) as first, Page(app) as second, Page(app) as third:
            pages = (first, second, third)
            for page in pages:
                await page.begun()
            (one, two, three) = host.sessions.values()
            for session, values in zip((one, two, three), (LEFT, RIGHT, STILL), strict=True):
                session.hands.command(np.array(values, np.float32), sequence=1, now_s=0.0)
                session.frame_begun_s = 1e12
            for _ in range(3):
                await host.step([one, two, three])
            batch = await host.stage.imagined.ask(lambda simulator: simulator.batch)
            together = [session.history.now.frames[-1].imagined for session in (one, two, three)]
            alone = []
            for page, values in zip(pages, (LEFT, RIGHT, STILL), strict=True):
                page.send("start_episode", episode=0)
                for _ in range(3):
                    page.send("step", values=values)
                _, arrays = await page.wait_for("frame", lambda header: header["frame"] == 3)
                alone.append(arrays)
            return batch, together, alone

    batch, together, alone = play(stage, story)
    assert batch == 3
    for pictures, arrays in zip(together, alone, strict=True):
        assert np.array_equal(pictures.depth_codes["front"], arrays["depth/front"])


def test_a_slow_page_gets_the_newest_frame_and_none_of_those_before(stage):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            (session,) = app.state.host.sessions.values()
            page.slow.clear()
            for _ in range(9):
                page.send("step", values=LEFT)
            while session.history.now.last < 9:
                await asyncio.sleep(0.01)
            page.slow.set()
            seen = []
            while not seen or seen[-1] < 9:
                header, _ = await page.wait_for("frame")
                seen.append(header["frame"])
            return seen

    seen = play(stage, story)
    assert seen[-1] == 9 and len(seen) <= 3


def test_a_closed_page_frees_its_world_after_a_while_even_in_the_middle_of_a_step(stage):
    async def story(app):
        host = app.state.host
        async with Page(app) as page:
            await page.begun()
            page.send("run")
            page.send("command", values=LEFT)
            await page.wait_for("frame")
        assert len(host.sessions) == 1
        async with asyncio.timeout(120):
            while host.sessions or await host.stage.imagined.players():
                await asyncio.sleep(0.02)
        return host.sessions, await host.stage.imagined.players()

    sessions, players = play(with_limits(stage, away_s=0.1), story)
    assert not sessions and not players


def test_there_are_no_more_worlds_than_allowed(stage):
    async def story(app):
        async with Page(app) as first, Page(app) as second:
            await first.begun()
            second.send("hello")
            refused = await second.wait_for("error")
            await second.wait_for("websocket.close")
            return refused["message"], second.closed

    message, code = play(with_limits(stage, worlds=1), story)
    assert "taken" in message and code == 1013


def test_a_world_opened_in_another_window_leaves_the_first_one(stage):
    async def story(app):
        async with Page(app) as first, Page(app) as second:
            welcome = await first.begun()
            second.send("hello", session=welcome["session"])
            await second.wait_for("frame")
            await first.wait_for("websocket.close")
            header, _ = await second.step(LEFT)
            return first.closed, header

    code, header = play(stage, story)
    assert code == 4001 and header["frame"] == 1


def test_messages_beyond_the_rate_are_not_read(stage):
    async def story(app):
        async with Page(app) as page:
            page.send("hello")
            await page.wait_for("welcome")
            for number in range(30):
                page.send("ping", number=number)
            kinds = []
            while not kinds or kinds[-1] != "error":
                kinds.append((await page.next())[0])
            return kinds

    kinds = play(with_limits(stage, messages_hz=1e-6, messages_burst=5), story)
    assert kinds.count("pong") == 5


@pytest.mark.parametrize("most", [64])
def test_memory_of_a_long_session_is_bounded_and_its_end_can_be_rewound(stage, most):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            (session,) = app.state.host.sessions.values()
            for _ in range(3 * most):
                await page.step(LEFT)
            future = session.history.now
            kept, copies, first = len(future.frames), len(future.copies), future.first
            page.send("seek", frame=first)
            await page.wait_for("frame")
            header, arrays = await page.step(LEFT)
            return kept, copies, first, header, arrays, future.frame(first + 1)

    kept, copies, first, header, arrays, old = play(with_limits(stage, frames=most), story)
    assert kept <= most and copies <= 12 and first > most
    assert header["frame"] == first + 1
    assert np.array_equal(arrays["rgb/front"], old.imagined.rgb["front"])
