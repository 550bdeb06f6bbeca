"""A recorded session is a dataset that says that it was imagined."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from roboscape.clips.reader import ClipReader
from roboscape.core.files import sha256_of
from roboscape.dataset.reader import LeRobotDataset
from roboscape.inspection.inspect import Inspect
from roboscape.inspection.inspect import run as inspect
from roboscape.rollout.synthetic import SYNTHETIC_PATH, comment_video, read_comment
from roboscape.rollout.verify_synthetic import VerifySynthetic
from roboscape.rollout.verify_synthetic import run as verify
from roboscape.tokens.state_reader import StateReader, StateReaderConfig
from tests.play.pages import LEFT, RIGHT, Page, opened, play


@pytest.fixture
def recorded(stage):
    """Two sessions of twenty frames, and the frames of the second."""

    async def story(app):
        async with Page(app) as page:
            for episode in (1, 2):
                page.send("hello") if episode == 1 else None
                page.send("start_episode", episode=episode, row=2)
                await page.wait_for("frame", lambda header: header["frame"] == 0)
                for number in range(20):
                    await page.step(LEFT if number % 3 else RIGHT)
                page.send("record")
                found = await page.wait_for("recorded")
            (session,) = app.state.host.sessions.values()
            return found, session.history.now.frames

    return play(stage, story)


def test_a_recorded_session_holds_frames_depth_actions_and_states(recorded, stage):
    found, frames = recorded
    dataset = LeRobotDataset(stage.output / "tiny-abababab")
    assert (found["episode"], found["rows"], dataset.num_episodes) == (1, 21, 2)
    assert dataset.spec.fps == 10 and dataset.spec.action.action_hz == 10
    assert dataset.spec.source == f"imagined by tiny, sha256 {'ab' * 32}"
    info = dataset.episode_info(1)
    assert (info.behaviour, info.split, info.length) == ("imagined", "test", 21)
    codes = np.stack([frame.imagined.depth_codes["front"] for frame in frames])
    assert np.array_equal(stage.codec.decode(codes), dataset.depth_m(1, "front"))
    rgb = np.stack([frame.imagined.rgb["front"] for frame in frames])
    # Untrained models draw noise, of which video keeps the coarse part.
    assert np.abs(coarse(rgb) - coarse(dataset.frames(1, "front"))).mean() < 6
    actions = dataset.actions(1)
    assert np.allclose(actions[:2, 0], [1, -1]) and not actions[-1, :2].any()


def test_what_trainings_read_of_any_dataset_they_read_of_a_recorded_session(recorded, stage):
    dataset = LeRobotDataset(stage.output / "tiny-abababab")
    reader = ClipReader(dataset=dataset, cameras=("front",), length=16, stride=1, depth="recorded")
    clip = reader.read(1, 3)
    assert clip.frames["front"].shape == (16, 64, 64, 3)
    assert clip.actions.shape == (15, 3) and clip.states.shape == (16, dataset.state(1).shape[1])
    assert clip.frame_hz == 10 and np.isfinite(clip.depth_m["front"]).all()


def test_inspect_reads_a_recorded_session(recorded, stage, capsys):
    report = inspect(Inspect(dataset=stage.output / "tiny-abababab"))
    assert "imagined by tiny" in report and "2, 42 frames at 10 Hz" in report
    assert "cannot be read" not in report


def test_provenance_is_verified_in_every_file(recorded, stage):
    root = stage.output / "tiny-abababab"
    found = verify(VerifySynthetic(dataset=root))
    assert (found.synthetic, found.made_by.command) == (True, "play")
    first, second = (one.details for one in found.episodes)
    assert first["frames"] == second["frames"] == 21
    assert len(second["native_actions"]) == 40
    assert first["began"]["episode"] == 1
    videos = list(root.rglob("*.mp4"))
    assert len(videos) == 4
    assert all(json.loads(read_comment(path))["sha256"] == "ab" * 32 for path in videos)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / SYNTHETIC_PATH).unlink(), "holds no meta/synthetic.json"),
        (lambda root: _append(next(root.rglob("*.mp4"))), "was changed"),
        (lambda root: _append(next((root / "data").rglob("*.parquet"))), "was changed|cannot"),
        (lambda root: next(root.rglob("*.mp4")).unlink(), "is missing"),
        (lambda root: next(root.rglob("*.mp4")).with_name("new.mp4").touch(), "belongs to no"),
        (lambda root: _unmark(next(root.rglob("*.mp4"))), "does not carry the checkpoint's mark"),
        (lambda root: _forget_episode(root), "holds 2 episodes, and records of 1"),
    ],
)
def test_what_was_changed_afterwards_does_not_verify(recorded, stage, spoil, message):
    root = stage.output / "tiny-abababab"
    spoil(root)
    with pytest.raises(ValueError, match=message):
        verify(VerifySynthetic(dataset=root))


def test_another_checkpoint_is_not_the_one_that_imagined_it(recorded, stage):
    config = VerifySynthetic(dataset=stage.output / "tiny-abababab", checkpoint="lift")
    with pytest.raises(ValueError, match="names a checkpoint abab"):
        verify(config)


def test_a_recording_of_a_camera_is_not_taken_for_an_imagined_one(lift_dataset):
    with pytest.raises(ValueError, match="not made by `roboscape play`"):
        verify(VerifySynthetic(dataset=lift_dataset.root))


def test_a_world_that_was_not_driven_is_not_recorded(stage):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send("record")
            return (await page.wait_for("error"))["message"]

    assert "drive for some frames first" in play(stage, story)


def coarse(rgb):
    return rgb.reshape(len(rgb), 8, rgb.shape[1] // 8, 8, -1, 3).mean(axis=(2, 4))


def _append(path):
    path.write_bytes(path.read_bytes() + b"\0")


def _unmark(path):
    root = path.parents[path.parts[::-1].index("videos")]
    comment_video(path, "none")
    content = json.loads((root / SYNTHETIC_PATH).read_text())
    content["files"][path.relative_to(root).as_posix()] = sha256_of(path)
    (root / SYNTHETIC_PATH).write_text(json.dumps(content))


def _forget_episode(root):
    content = json.loads((root / SYNTHETIC_PATH).read_text())
    content["episodes"] = content["episodes"][:1]
    (root / SYNTHETIC_PATH).write_text(json.dumps(content))


def _age(root):
    """The record as an earlier version wrote it."""
    content = json.loads((root / SYNTHETIC_PATH).read_text())
    kept = ("about", "checkpoint", "roboscape", "episodes")
    (root / SYNTHETIC_PATH).write_text(json.dumps({name: content[name] for name in kept}))


def test_a_dataset_of_an_earlier_version_is_neither_verified_nor_continued(recorded, stage):
    root = stage.output / "tiny-abababab"
    _age(root)
    with pytest.raises(ValueError, match="lacks synthetic, made_by, files, details"):
        verify(VerifySynthetic(dataset=root))

    async def story(app):
        async with Page(app) as page:
            await page.begun()
            for _ in range(3):
                await page.step(LEFT)
            page.send("record")
            return (await page.wait_for("error"))["message"]

    assert "lacks synthetic, made_by" in play(stage, story)
    assert LeRobotDataset(root).num_episodes == 2, "nothing was added"


def test_an_uploaded_image_borrows_what_it_lacks_and_says_so(stage, lift_dataset):
    image = lift_dataset.frames(1, "front")[12]

    async def story(app):
        async with Page(app) as page:
            page.send("hello")
            await page.wait_for("welcome")
            rgb = {"front": base64.b64encode(image.tobytes()).decode()}
            page.send("start_image", rgb=rgb)
            early = await page.wait_for("error")
            page.send("start_episode", episode=1, row=12)
            await page.wait_for("frame")
            page.send("start_image", rgb=rgb)
            notices = [(await page.wait_for("notice"))["message"] for _ in range(2)]
            _, arrays = await page.step(LEFT)
            page.send("start_image", rgb=rgb, state=[0.0])
            wrong = await page.wait_for("error")
            return early, notices, arrays, wrong

    early, notices, arrays, wrong = play(replace(stage), story)
    assert "begin with a seed or an episode first" in early["message"]
    assert "depth is that of episode 1, row 12" in notices[0] and "state" in notices[1]
    assert arrays["rgb/front"].shape == image.shape
    assert "expected a state of 2 numbers" in wrong["message"]


def test_an_uploaded_images_state_is_read_off_it_where_the_bundle_can(
    tiny_bundle, lift_dataset, tmp_path
):
    config = StateReaderConfig(state_names=("x", "y"), grid=(4, 4), code_bits=18, width=8)
    bundle = replace(tiny_bundle, state_reader=StateReader(config).eval())
    image = lift_dataset.frames(1, "front")[12]
    (expected,) = bundle.read_states(image[None])

    async def story(app):
        async with Page(app) as page:
            await page.begun()
            rgb = {"front": base64.b64encode(image.tobytes()).decode()}
            page.send("start_image", rgb=rgb)
            notices = [(await page.wait_for("notice"))["message"] for _ in range(2)]
            read = await app.state.host.stage.read_state({"front": image})
            other = await app.state.host.stage.read_state({"hand": image})
            page.send("start_image", rgb=rgb, state=[0.0, 0.0])
            given = await page.wait_for("notice")
            return notices, read, other, given

    with opened(bundle, lift_dataset, tmp_path) as stage:
        notices, read, other, given = play(stage, story)
    np.testing.assert_array_equal(read, expected)
    assert "read off the image" in notices[1] and other is None and "depth" in given["message"]
