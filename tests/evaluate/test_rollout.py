from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from roboscape.core.video import iterate_video
from roboscape.evaluate.panels import ENDED_GREY, grey_after, join_columns, make_columns
from roboscape.evaluate.rollout import (
    Rollout,
    Start,
    extend_actions,
    hold_still,
    imagine_episode,
    run,
    write_side_by_side,
)
from roboscape.rollout.sampling import Sampling
from roboscape.rollout.videos import Videos, decode_videos, encode_videos
from tests.whole_rollout import whole_rollout

RECORDED = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(scope="module")
def short(tiny_bundle, lift_dataset):
    return imagine_episode(tiny_bundle, lift_dataset, start=Start(episode=1, horizon=4))


@pytest.fixture(scope="module")
def long(tiny_bundle, lift_dataset):
    """17 rows at stride 2 are 9 frames; the model's window is 6."""
    return imagine_episode(tiny_bundle, lift_dataset, start=Start(episode=1, horizon=12))


def test_truth_and_imagination_are_of_the_same_moments(short, lift_dataset):
    assert short.truth.rgb.shape == short.imagined.rgb.shape == (1, 5, 64, 64, 3)
    assert short.truth.depth_m.shape == short.imagined.depth_m.shape == (1, 5, 64, 64)
    assert np.array_equal(short.truth.rgb[0], lift_dataset.frames(1, "front")[0:9:2])
    assert short.frame_hz == 10.0


def test_the_horizon_may_go_beyond_the_window_and_beyond_the_episode(short, long):
    assert long.imagined.rgb.shape[1] == 13
    assert long.truth.rgb.shape[1] == 9
    assert np.array_equal(long.imagined.rgb[:, :5], short.imagined.rgb)


def test_columns_go_grey_where_the_recording_ends(long):
    columns = {column.caption: column.frames for column in make_columns(long.truth, long.imagined)}
    assert list(columns) == ["truth", "imagined", "depth, truth", "depth, imagined", "error"]
    for caption in ("truth", "depth, truth", "error"):
        assert (columns[caption][9:] == ENDED_GREY).all()
        assert not (columns[caption][8] == ENDED_GREY).all()
    assert np.array_equal(columns["imagined"], long.imagined.rgb[0])


def test_without_depth_there_are_no_depth_columns(short):
    truth, imagined = (replace(v, depth_m=None) for v in (short.truth, short.imagined))
    captions = [column.caption for column in make_columns(truth, imagined)]
    assert captions == ["truth", "imagined", "error"]


def test_joined_columns_keep_every_pixel(short):
    columns = make_columns(short.truth, short.imagined)
    joined = join_columns(columns, scale=2, gap_px=6)
    assert joined.shape == (5, 128, 5 * 128 + 4 * 6, 3)
    assert np.array_equal(joined[:, ::2, 134:262:2], columns[1].frames)
    assert not joined[:, :, 128:134].any()


def test_grey_after_leaves_what_is_there_alone():
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    assert np.array_equal(grey_after(frames, 2), frames)
    assert (grey_after(frames, 3)[2] == ENDED_GREY).all()


def test_recorded_actions_come_first_then_the_arm_holds_still(tiny_bundle):
    convention = tiny_bundle.controls.convention
    assert np.array_equal(
        extend_actions(RECORDED, num_rows=3, path=None, convention=convention), RECORDED[:3]
    )
    longer = extend_actions(RECORDED, num_rows=6, path=None, convention=convention)
    assert np.array_equal(longer[:4], RECORDED)
    assert longer[4:].tolist() == [[0.0, 0.0, 11.0]] * 2


def test_an_absolute_robot_holds_its_last_pose(tiny_bundle):
    absolute = replace(tiny_bundle.controls.convention, mode="absolute")
    assert np.array_equal(hold_still(RECORDED[-1], absolute), RECORDED[-1:])


def test_given_actions_follow_the_recorded_ones(tiny_bundle, tmp_path):
    path = tmp_path / "more.npy"
    np.save(path, np.full((5, 3), 0.5))
    convention = tiny_bundle.controls.convention
    actions = extend_actions(RECORDED, num_rows=6, path=path, convention=convention)
    assert actions.dtype == np.float32
    assert (actions[4:] == 0.5).all()
    with pytest.raises(ValueError, match=r"needs 6 or more rows of 3 numbers after the 4 recorded"):
        extend_actions(RECORDED, num_rows=10, path=path, convention=convention)


def test_further_prompt_frames_lie_before_the_row_and_are_remembered(tiny_bundle, lift_dataset):
    found = imagine_episode(
        tiny_bundle, lift_dataset, start=Start(episode=1, row=4, prompt_frames=3, horizon=2)
    )
    assert np.array_equal(found.truth.rgb[0], lift_dataset.frames(1, "front", slice(4, 9, 2)))
    rows = slice(0, 5, 2)
    given = Videos(
        rgb=lift_dataset.frames(1, "front", rows)[None],
        depth_m=lift_dataset.depth_m(1, "front", rows)[None],
    )
    controls = tiny_bundle.controls.encode(
        lift_dataset.actions(1)[None, :8], lift_dataset.state(1)[:1]
    )
    prompt = encode_videos(tiny_bundle.tokenizer, given)
    codes = whole_rollout(tiny_bundle, prompt, controls).map(lambda c: c[:, 2:])
    expected = decode_videos(tiny_bundle.tokenizer, codes)
    assert np.array_equal(found.imagined.rgb, expected.rgb)
    assert np.array_equal(found.imagined.depth_m, expected.depth_m)


@pytest.mark.parametrize("start", [Start(row=17), Start(horizon=0)])
def test_a_start_outside_the_episode_is_refused(tiny_bundle, lift_dataset, start):
    with pytest.raises(ValueError, match="expected --row 0 to 16 and --horizon 1 or more"):
        imagine_episode(tiny_bundle, lift_dataset, start=start)


def test_a_temperature_draws_by_its_seed(tiny_bundle, lift_dataset):
    def draw(seed: int) -> np.ndarray:
        start, warm = Start(horizon=2, seed=seed), Sampling(temperature=1.0)
        return imagine_episode(tiny_bundle, lift_dataset, start=start, sampling=warm).imagined.rgb

    assert np.array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_a_gif_plays_all_frames_at_their_pace(long, tmp_path):
    write_side_by_side(tmp_path / "rollout.gif", long, scale=1)
    with Image.open(tmp_path / "rollout.gif") as picture:
        assert picture.n_frames == 13
        assert picture.info["duration"] == 100
        assert picture.info["loop"] == 0


def test_another_ending_is_refused(short, tmp_path):
    with pytest.raises(ValueError, match=r"ending in \.mp4 or \.gif"):
        write_side_by_side(tmp_path / "rollout.webm", short)


def test_the_command_writes_an_mp4_that_browsers_play(tiny_bundle, lift_dataset, tmp_path):
    tiny_bundle.save_pretrained(tmp_path / "bundle")
    path = tmp_path / "out" / "rollout.mp4"
    run(
        Rollout(
            checkpoint=str(tmp_path / "bundle"),
            dataset=lift_dataset.root,
            output=path,
            start=Start(horizon=3),
        )
    )
    frames = list(iterate_video(path))
    assert len(frames) == 4 + 8  # the last frame rests for 0.8 s at 10 Hz
    assert frames[0].shape[1] > 5 * 128
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
