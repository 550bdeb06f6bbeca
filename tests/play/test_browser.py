"""The page in a real browser: headless Chromium through Playwright, over a real server.

Skipped where there is none; `make browser` installs what is needed.
"""

import contextlib
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roboscape.core.errors import UserError
from roboscape.play.drivers import registry
from tests.chromium import WITHIN_S, browser, until
from tests.play.pages import LIMITS, opened

uvicorn = pytest.importorskip("uvicorn", reason="the extra `play` is not installed")

__all__ = ["browser"]
FRAME = "(window.roboscape?.frame?.frame ?? -1)"


@contextlib.contextmanager
def serving(stage, *, with_truth):
    """The address of a server in a thread of its own."""
    from roboscape.play.play import listen
    from roboscape.play.server import Doors, make_app

    app = make_app(stage, doors=Doors(), with_truth=with_truth)
    config = uvicorn.Config(app, ws="websockets-sansio", log_level="warning")
    server, listening = uvicorn.Server(config), listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/", app.state.host
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def server(tiny_bundle, lift_dataset, policy_folder, tmp_path_factory):
    """Tiny models, three recorded episodes and a policy."""
    folder = tmp_path_factory.mktemp("browser")
    with (
        opened(tiny_bundle, lift_dataset, folder, limits=LIMITS) as stage,
        serving(replace(stage, policies=(policy_folder,)), with_truth=False) as served,
    ):
        yield served


@pytest.fixture
def page(browser, server):
    """A page whose world has begun and waits."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    open_page(page, server[0])
    yield page
    context.close()
    assert not problems


def open_page(page, address):
    page.set_default_timeout(1000 * WITHIN_S)
    page.goto(address)
    until(page, f"{FRAME} >= 0 && window.roboscape.status?.waiting")


def pixels(page, name="imagined"):
    return page.evaluate(f"document.getElementById('{name}').toDataURL()")


def drive(page, key="d", frames=2):
    """Hold a key until so many more frames have come, then pause."""
    begun = page.evaluate(FRAME)
    page.keyboard.down(key)
    until(page, f"{FRAME} >= {begun + frames}")
    page.keyboard.up(key)
    page.keyboard.press("Space")
    until(page, "!window.roboscape.status.running")


def test_driving_with_keys_changes_all_pictures(page):
    names = ("imagined", "depth", "cloud")
    before = {name: pixels(page, name) for name in names}
    drive(page)
    assert all(pixels(page, name) != before[name] for name in names)
    assert page.evaluate("window.roboscape.latencies.length") >= 1
    assert "frame" in page.inner_text("#clock")


def test_a_pad_drives_like_its_key_and_can_be_held_with_the_keyboard_alone(page):
    page.keyboard.press("Space")
    until(page, "!window.roboscape.status.running")
    begun = page.evaluate(FRAME)
    page.focus("#pads button.left")
    page.keyboard.press("Enter")
    until(page, f"{FRAME} > {begun}")
    page.click("#pads button.left")
    until(page, f"{FRAME} > {begun + 1}")
    assert page.evaluate("window.roboscape.status.driven_by") == "hands"


def test_a_gamepads_stick_drives_as_the_key_of_its_direction(page, server):
    session = server[1].sessions[page.evaluate("sessionStorage.getItem('session')")]
    drive(page, key="a")
    by_key = session.history.now.frames[-1].actions[-1]
    assert np.any(by_key)
    # Chromium shows no gamepad that is not there, so the browser's answer is replaced.
    page.evaluate(
        """navigator.getGamepads = () => [{
            id: "test", axes: [-1, 0, 0, 0], buttons: [{ pressed: false }, { pressed: false }],
        }]"""
    )
    begun = page.evaluate(FRAME)
    page.keyboard.press("Space")
    until(page, f"{FRAME} >= {begun + 3}")
    by_stick = session.history.now.frames[-1].actions[-1]
    np.testing.assert_array_equal(np.sign(by_stick), np.sign(by_key))


def test_rewinding_and_driving_on_makes_a_second_future_beside_the_first(page):
    drive(page, frames=4)
    last = page.evaluate(FRAME)
    for _ in range(2):
        before = page.evaluate(FRAME)
        page.keyboard.press(",")
        until(page, f"{FRAME} < {before}")
    page.keyboard.press("w")
    until(page, "window.roboscape.status.futures.length == 2")
    until(page, f"{FRAME} == {last - 1}")
    assert page.locator("#futures .future").count() == 2
    assert page.inner_text("#truth-title").startswith("Future")


def test_loading_the_page_again_keeps_the_world(page, server):
    drive(page)
    frame, picture = page.evaluate(FRAME), pixels(page)
    page.reload()
    until(page, f"{FRAME} == {frame}")
    time.sleep(0.3)
    assert pixels(page) == picture


def test_two_tabs_are_two_worlds(page, server):
    second = page.context.new_page()
    open_page(second, server[0])
    begun = second.evaluate(FRAME)
    drive(page)
    assert second.evaluate(FRAME) == begun
    sessions = {one.evaluate("sessionStorage.getItem('session')") for one in (page, second)}
    assert len(sessions) == 2


def test_a_session_is_recorded_from_the_page(page):
    drive(page, frames=3)
    page.click("#record")
    until(page, "document.getElementById('recorded').textContent.includes('marked as imagined')")
    assert page.evaluate(FRAME) >= 3


def test_recorded_actions_drive_until_a_key_takes_over(page):
    page.evaluate("document.getElementById('recorded-actions').open = true")
    page.click("#drive-recorded")
    until(page, "window.roboscape.status.driven_by == 'episode'")
    page.keyboard.press("d")
    until(page, "window.roboscape.status.driven_by == 'hands'")
    assert page.evaluate(FRAME) >= 1


def test_a_policy_is_chosen_on_the_page_and_drives_until_a_key_takes_over(page):
    page.evaluate("document.getElementById('policies').open = true")
    assert page.is_visible("#drive-policy") and page.input_value("#policy")
    page.click("#drive-policy")
    until(page, "window.roboscape.status.driven_by == 'policy'")
    assert "key takes over" in page.inner_text("#driver")
    begun = page.evaluate(FRAME)
    until(page, f"{FRAME} > {begun}")
    page.keyboard.press("d")
    until(page, "window.roboscape.status.driven_by == 'hands'")


@pytest.fixture
def picked(page, monkeypatch):
    """Settings of the goals that the page asks for; it shows that goals can be picked."""
    asked = []

    async def note(around, settings):
        asked.append(settings)
        raise UserError("noted")

    monkeypatch.setitem(registry.DRIVERS, "goal", note)
    page.evaluate(
        "Object.assign(document.getElementById('goals'), { hidden: false, open: true }).open"
    )
    return asked


def wait_for_goals(picked, count):
    end_s = time.monotonic() + WITHIN_S
    while len(picked) < count:
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_a_point_is_picked_by_a_click_where_the_picture_shows_it(page, picked):
    side = page.evaluate("window.roboscape.about.side_px")
    page.fill("#above", "3")
    page.click("#pick")
    assert page.get_attribute("#pick", "aria-pressed") == "true"
    box = page.locator("#imagined").bounding_box()
    x_px, y_px = side // 4, 3 * side // 4
    page.mouse.click(
        box["x"] + (x_px + 0.5) / side * box["width"],
        box["y"] + (y_px + 0.5) / side * box["height"],
    )
    wait_for_goals(picked, 1)
    assert picked[0] == {"camera": 0, "x_px": x_px, "y_px": y_px, "above_mm": 30}
    assert page.is_hidden("#aim")
    # Clicks beside picking choose nothing.
    page.mouse.click(box["x"] + 9, box["y"] + 9)
    page.click("#pick")
    page.keyboard.press("Escape")
    assert page.is_hidden("#aim") and len(picked) == 1


def test_a_point_is_picked_with_the_keyboard_alone(page, picked):
    side = page.evaluate("window.roboscape.about.side_px")
    page.focus("#pick")
    page.keyboard.press("Enter")
    until(page, "document.activeElement.id == 'aim'")
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowUp"):
        page.keyboard.press(key)
    name = page.get_attribute("#aim", "aria-label")
    assert f"Point {side // 2 + 2} across, {side // 2 - 8} down" in name
    page.keyboard.press("Enter")
    wait_for_goals(picked, 1)
    assert (picked[0]["x_px"], picked[0]["y_px"]) == (side // 2 + 2, side // 2 - 8)
    assert page.evaluate("window.roboscape.status.driven_by") == "hands"


def test_closing_the_page_leaves_no_page_to_send_to(browser, server):
    context = browser.new_context()
    page = context.new_page()
    open_page(page, server[0])
    name = page.evaluate("sessionStorage.getItem('session')")
    page.keyboard.down("d")
    context.close()
    end_s = time.monotonic() + WITHIN_S
    while (session := server[1].sessions.get(name)) and session.outbox is not None:
        assert time.monotonic() < end_s
        time.sleep(0.05)


@pytest.mark.parametrize("width", [390, 1024, 1920])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_nothing_sticks_out_and_everything_has_a_name_and_contrast(browser, server, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    open_page(page, server[0])
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate((Path(__file__).parent / "unnamed.js").read_text()) == []
    assert page.evaluate((Path(__file__).parent / "contrast.js").read_text()) == []
    durations = (
        "[...document.querySelectorAll('*')].map((x) => getComputedStyle(x).transitionDuration)"
    )
    assert set(page.evaluate(durations)) == {"0s"}
    context.close()


@contextlib.contextmanager
def lift_page(browser, folder):
    """The bundled model and the true simulator in a page; yields it and its session."""
    pytest.importorskip("robosuite", reason="the simulators are not installed")
    from roboscape.play.limits import Limits
    from roboscape.play.stage import open_stage
    from roboscape.rollout.bundle import Bundle, Compute

    bundle = Bundle.from_pretrained("lift").for_imagining(Compute(device="cpu", precision="fp32"))
    stage = open_stage(
        bundle, name="lift", dataset=None, task="", cameras=(), output=folder, limits=Limits()
    )
    # Closed whatever happens: a graphics context can be freed in its own thread alone.
    with contextlib.closing(stage), serving(stage, with_truth=True) as (address, host):
        page = browser.new_page()
        open_page(page, address)
        (session,) = host.sessions.values()
        yield page, session
        page.close()


@pytest.mark.slow
def test_told_left_the_arm_moves_left_in_both_pictures(browser, tmp_path):
    with lift_page(browser, tmp_path) as (page, session):
        page.keyboard.down("a")
        until(page, f"{FRAME} >= 8")
        page.keyboard.up("a")
        page.keyboard.press("Space")
        until(page, "!window.roboscape.status.running")
        frames = session.history.now.frames
    # Lift's camera looks at the robot: its left is -y, and the picture's left is a lower column.
    for kind in ("imagined", "truth"):
        first, last = getattr(frames[0], kind), getattr(frames[-1], kind)
        assert last.state[1] < first.state[1] - 0.02
        assert arm_column(last.rgb["agentview"]) < arm_column(first.rgb["agentview"]) - 3


@pytest.mark.slow
def test_a_clicked_cube_is_reached_by_the_imagined_and_the_true_hand(browser, tmp_path):
    from roboscape.simulators.lift_cube import cube_patch

    with lift_page(browser, tmp_path) as (page, session):
        rgb = session.history.now.frames[-1].imagined.rgb["agentview"]
        y_px, x_px = np.median(np.nonzero(cube_patch(rgb)), axis=1) + 0.5
        page.evaluate("document.getElementById('goals').open = true")
        page.click("#pick")
        box = page.locator("#imagined").bounding_box()
        page.mouse.click(
            box["x"] + x_px / 128 * box["width"], box["y"] + y_px / 128 * box["height"]
        )
        until(page, "window.roboscape.status.driven_by == 'goal'")
        goal_m = session.driver.goal_m
        assert page.is_visible("#mark")
        until(page, "window.roboscape.status.driven_by == 'hands'")
        assert "reached its goal" in page.inner_text("#messages")
        frames = session.history.now.frames
    for kind in ("imagined", "truth"):
        away_m = [
            np.linalg.norm(getattr(frame, kind).state[:3] - goal_m)
            for frame in (frames[0], frames[-1])
        ]
        assert away_m[0] > 0.15 and away_m[1] < 0.08


def arm_column(rgb):
    """Mean column of what is grey and not table: the arm, above the table's middle."""

    upper = rgb[10:64].astype(int)
    grey = (upper.mean(-1) < 200) & (np.ptp(upper, axis=-1) < 25) & (upper.mean(-1) > 60)
    grey[:12] = False
    return np.nonzero(grey)[1].mean()
