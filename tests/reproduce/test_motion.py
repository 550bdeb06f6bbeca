"""The keypoint error is a distance in pixels that is 0 for the true video."""

import numpy as np
import pytest

from roboscape.reproduce.motion import follow_moving, keypoint_error


def video(shift_px, *, frames=6, side=64):
    """A textured square that moves over a flat ground by so many pixels a frame."""
    random = np.random.default_rng(0)
    patch = random.integers(0, 255, (20, 20, 3)).astype(np.uint8)
    patch = np.repeat(np.repeat(patch[::4, ::4], 4, 0), 4, 1)
    shown = np.full((frames, side, side, 3), 128, np.uint8)
    for t in range(frames):
        left = 10 + shift_px * t
        shown[t, 20:40, left : left + 20] = patch
    return shown


def test_the_true_video_has_no_error_and_a_still_one_that_of_the_motion():
    moving = video(2)
    points = follow_moving(moving)
    assert len(points.start_px) > 5
    same = keypoint_error(points, moving, moving)
    assert (same.distance_px, same.lost) == (0.0, 0.0)
    still = np.repeat(moving[:1], len(moving), 0)
    # 2, 4, ... 10 px in the five frames that are compared.
    assert keypoint_error(points, moving, still).distance_px == pytest.approx(6, abs=0.5)


def test_the_error_is_how_far_off_the_motion_is():
    moving, faster = video(2), video(3)
    found = keypoint_error(follow_moving(moving), moving, faster)
    assert found.distance_px == pytest.approx(3, abs=0.6)


def test_the_first_imagined_frame_does_not_count():
    moving = video(2)
    other = moving.copy()
    other[0] = 0
    assert keypoint_error(follow_moving(moving), moving, other).distance_px == 0


def test_a_video_without_motion_has_no_keypoint_error():
    still = np.repeat(video(0)[:1], 6, 0)
    found = keypoint_error(follow_moving(still), still, still)
    assert np.isnan(found.distance_px) and np.isnan(found.lost)
