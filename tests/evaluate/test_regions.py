import numpy as np
import pytest

from roboscape.evaluate.appearance import IDENTICAL_DB, Lpips, psnr_db
from roboscape.evaluate.metrics import all_metrics
from roboscape.evaluate.regions import CHANGE_LEVELS, moving_regions, region_psnr_db
from roboscape.rollout.videos import Videos

SIDE = 40


def passing_square(tops: list[int]) -> np.ndarray:
    """One clip: a bright square of 10 x 10 at these rows of a grey picture."""
    frames = np.full((1, len(tops), SIDE, SIDE, 3), 100, np.uint8)
    for frame, top in enumerate(tops):
        frames[0, frame, top : top + 10, 15:25] = 200
    return frames


def test_what_came_what_went_and_what_passes_moves():
    # The square jumps down, and back to where it was given.
    moving = moving_regions(passing_square([0, 20, 0]))[0]
    assert moving.shape == (2, SIDE, SIDE)
    for frame in moving:
        assert frame[2:8, 17:23].all()
        assert frame[22:28, 17:23].all()
        assert not frame[:, :12].any()
    # Back and resting: nothing moves any more.
    assert not moving_regions(passing_square([0, 20, 0, 0]))[0, -1].any()


def test_a_thing_that_has_moved_and_rests_there_still_counts():
    moving = moving_regions(passing_square([0, 20, 20]))[0]
    assert np.array_equal(moving[0], moving[1])


def test_noise_is_no_motion_and_one_colour_is_enough():
    random = np.random.default_rng(0)
    noisy = random.normal(100, 8, (1, 4, SIDE, SIDE, 3)).round().clip(0, 255).astype(np.uint8)
    assert moving_regions(noisy).mean() < 0.001
    step = np.full((1, 2, SIDE, SIDE, 3), 100, np.uint8)
    step[0, 1, ..., 2] += CHANGE_LEVELS + 1
    assert moving_regions(step).all()
    step[0, 1, ..., 2] -= 1
    assert not moving_regions(step).any()


def test_differences_do_not_wrap_around_in_bytes():
    frames = np.zeros((1, 2, SIDE, SIDE, 3), np.uint8)
    frames[:, 1] = 250
    assert moving_regions(frames).all() and moving_regions(frames[:, ::-1]).all()


def test_psnr_of_a_region_by_hand():
    truth = np.full((1, 1, 8, 8, 3), 100, np.uint8)
    shown = truth.copy()
    shown[:, :, :4] += 51
    top = np.zeros((1, 1, 8, 8), bool)
    top[:, :, :4] = True
    assert region_psnr_db(truth, shown, region=top)[0, 0] == pytest.approx(13.9794000867)
    assert region_psnr_db(truth, shown, region=~top)[0, 0] == IDENTICAL_DB
    everywhere = np.ones_like(top)
    assert region_psnr_db(truth, shown, region=everywhere) == pytest.approx(psnr_db(truth, shown))


def test_a_region_of_nothing_has_no_score():
    frames = np.zeros((1, 1, SIDE, SIDE, 3), np.uint8)
    one = np.zeros((1, 1, SIDE, SIDE), bool)
    assert np.isnan(region_psnr_db(frames, frames, region=one)).all()
    one[0, 0, 0, :2] = True
    assert np.isfinite(region_psnr_db(frames, frames, region=one)).all()


def test_the_rows_take_their_regions_from_the_recorded_video_alone():
    truth = passing_square([0, 20])
    still = np.repeat(truth[:, :1], 2, axis=1)
    (metric,) = (
        one
        for one in all_metrics(
            lpips=Lpips(measure=None), nearest_m=0.1, farthest_m=1.0, depth_source="none"
        )
        if one.names[0].key == "psnr@moving"
    )
    assert [name.key for name in metric.names] == ["psnr@moving", "psnr@still"]
    assert metric.references == ("raw",)
    moving, rest = metric.measure(Videos(rgb=truth, depth_m=None), Videos(rgb=still, depth_m=None))
    region = moving_regions(truth)
    error = (np.square(truth[:, 1:].astype(float) - still[:, 1:]).mean(axis=-1))[region].mean()
    assert moving[0, 0] == pytest.approx(10 * np.log10(255**2 / error))
    assert rest[0, 0] > moving[0, 0] + 20
