"""The true simulator beside the imagined world: same actions, same seeds, exact rewinding."""

from dataclasses import replace

import numpy as np
import pytest

from roboscape.controls.encoder import ControlEncoder, ControlStatistics
from roboscape.controls.signals import control_size
from roboscape.play.limits import Limits
from roboscape.play.stage import open_stage
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.identity import checkpoint_sha256
from roboscape.world_model.model import WorldModel
from tests.play.pages import Page, play

pytest.importorskip("robosuite", reason="the simulators are not installed")

LEFT = [0.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0]
DOWN = [0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0]


@pytest.fixture(scope="module")
def lift_stage(tiny_bundle, tmp_path_factory):
    """Tiny models of Lift's actions and states, and the true simulator."""
    from roboscape.sources.lift import STATE_NAMES
    from roboscape.sources.osc_pose import OSC_POSE_ACTION

    states = len(STATE_NAMES)
    size = control_size(OSC_POSE_ACTION, stride=4, state_size=states)
    controls = ControlStatistics(
        convention=OSC_POSE_ACTION,
        stride=4,
        state_size=states,
        mean=(0.0,) * size,
        std=(1.0,) * size,
    )
    model = replace(tiny_bundle.world_model.config, control_size=size, views=("agentview",))
    bundle = Bundle(
        tokenizer=tiny_bundle.tokenizer,
        world_model=WorldModel(model).eval(),
        controls=ControlEncoder(controls),
    )
    folder = tmp_path_factory.mktemp("bundle")
    bundle.save_pretrained(folder)
    stage = open_stage(
        bundle,
        name=str(folder),
        dataset=None,
        task="",
        cameras=(),
        output=folder / "play",
        limits=Limits(messages_hz=1e6, messages_burst=10**6),
    )
    yield stage
    stage.close()


def begun(stage, story):
    async def whole(app):
        async with Page(app) as page:
            page.send("hello")
            await page.wait_for("welcome")
            page.send("start_seed", seed=3)
            first = await page.wait_for("frame")
            return await story(page, first, app)

    return play(stage, whole, with_truth=True)


def test_both_worlds_begin_alike_and_take_the_same_actions(lift_stage):
    async def story(page, first, app):
        frames = [await page.step(LEFT) for _ in range(4)]
        return first, frames

    (header, arrays), frames = begun(lift_stage, story)
    assert np.array_equal(arrays["rgb/agentview"], arrays["true_rgb/agentview"])
    assert header["psnr_db"] > 99 and frames[-1][0]["psnr_db"] < 60
    moved_m = frames[-1][0]["true_state"][1] - header["true_state"][1]
    assert moved_m < -0.03, "y is to the right in the picture: left is less"


def test_the_camera_and_its_keys_are_those_of_the_simulator(lift_stage):
    about = lift_stage.about()
    (view,) = about["cameras"]
    assert view["measured"] and view["focal_px"] == pytest.approx(154.51 / 2, rel=1e-3)
    left = next(one for one in about["controls"] if one["name"] == "left")
    assert (left["dimension"], left["value"]) == (1, -1.0)
    assert about["sha256"] == checkpoint_sha256(lift_stage.output.parent)


def test_rewinding_takes_the_true_world_along_exactly(lift_stage):
    async def story(page, first, app):
        old = [await page.step(DOWN if number % 2 else LEFT) for number in range(6)]
        page.send("seek", frame=3)
        await page.wait_for("frame")
        return old, [await page.step(DOWN if number % 2 else LEFT) for number in range(3, 6)]

    old, new = begun(lift_stage, story)
    for (one, before), (two, after) in zip(old[3:], new, strict=True):
        assert one["true_state"] == two["true_state"]
        assert np.array_equal(before["true_rgb/agentview"], after["true_rgb/agentview"])


def test_a_restart_puts_the_imagined_world_where_the_true_one_is(lift_stage):
    async def story(page, first, app):
        for _ in range(3):
            await page.step(LEFT)
        page.send("restart")
        restarted = await page.wait_for("frame", lambda header: header["restarted"])
        following, _ = await page.step(LEFT)
        page.send("seek", frame=3)
        await page.wait_for("frame")
        _, again = await page.step(LEFT)
        (session,) = app.state.host.sessions.values()
        before = session.history.futures[following["future"]].frame(4)
        return restarted, following, again, before

    (header, arrays), following, again, before = begun(lift_stage, story)
    assert header["frame"] == 3 and following["frame"] == 4
    assert np.array_equal(arrays["rgb/agentview"], arrays["true_rgb/agentview"])
    assert np.array_equal(again["rgb/agentview"], before.imagined.rgb["agentview"])


def test_without_the_true_world_nothing_is_simulated_after_the_start(lift_stage):
    async def story(page, first, app):
        page.send("truth", shown=False)
        page.send("start_seed", seed=3)
        await page.wait_for("frame", lambda header: header["true_state"] is None)
        _, arrays = await page.step(LEFT)
        (name,) = app.state.host.sessions
        return arrays, name, await app.state.host.stage.truth.players()

    arrays, name, players = begun(lift_stage, story)
    assert "true_rgb/agentview" not in arrays and name not in players
