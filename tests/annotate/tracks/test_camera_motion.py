import numpy as np
import pytest

from roboscape.annotate.tracks.camera_motion import (
    activity_px,
    estimate_camera_motion,
    most_active,
    without_camera,
)
from roboscape.annotate.tracks.protocol import grid_points
from roboscape.dataset.records import Tracks

ROWS, SIZE, SIDE = 20, 128, 12
MOVING = np.arange(30)


def tracks_of(
    *, pan_px: float, object_px: float, noise_px: float = 0.1, object_x_px: float = 0.0
) -> Tracks:
    """A grid of points that a panning camera sees; the first of them move down on their own."""
    start = grid_points(SIZE, SIZE, side=SIDE)
    xy_px = np.repeat(start[None], ROWS, axis=0).astype(np.float64)
    time = np.arange(ROWS)[:, None]
    xy_px[..., 0] += pan_px * time
    xy_px[:, MOVING, 1] += object_px * time
    xy_px[:, MOVING, 0] += object_x_px * time
    xy_px += np.random.default_rng(0).normal(0, noise_px, xy_px.shape)
    return Tracks(xy_px=xy_px.astype(np.float32), visible=np.ones(xy_px.shape[:2], bool))


def test_a_resting_camera_is_told_to_rest_even_beside_moving_objects():
    motion = estimate_camera_motion(tracks_of(pan_px=0.0, object_px=2.0))
    assert not motion.moves and not motion.step_px.any()
    assert motion.background[1:, MOVING].mean() < 0.05
    assert motion.share_background == pytest.approx(1 - len(MOVING) / SIDE**2, abs=0.05)
    np.testing.assert_array_equal(motion.homography[3], np.eye(3))


def test_a_panning_camera_is_found_and_taken_out():
    tracks = tracks_of(pan_px=3.0, object_px=2.0)
    motion = estimate_camera_motion(tracks)
    assert motion.moves and np.median(motion.step_px[1:]) == pytest.approx(3, abs=0.1)
    assert motion.background[1:, MOVING].mean() < 0.1
    own = without_camera(tracks, motion)
    travelled = np.linalg.norm(own.xy_px[-1] - own.xy_px[0], axis=-1)
    background = np.delete(travelled, MOVING)
    assert np.median(background) < 2.5
    assert np.median(travelled[MOVING]) == pytest.approx(2 * (ROWS - 1), rel=0.1)


def test_a_moving_camera_breaks_the_choice_of_keypoints_and_this_repairs_it():
    """An object that the camera follows rests in the image: the top-K are all background."""
    tracks = tracks_of(pan_px=4.0, object_px=1.0, object_x_px=-3.5)
    repaired = without_camera(tracks, estimate_camera_motion(tracks))
    share = [np.isin(most_active(one, count=30), MOVING).mean() for one in (tracks, repaired)]
    assert share[0] < 0.1 and share[1] > 0.9


def test_activity_counts_only_what_is_seen():
    tracks = tracks_of(pan_px=1.0, object_px=0.0, noise_px=0.0)
    visible = tracks.visible.copy()
    visible[10:, 3] = False
    hidden = Tracks(xy_px=tracks.xy_px, visible=visible)
    assert activity_px(hidden)[3] == pytest.approx(9, abs=1e-3)
    assert activity_px(hidden)[4] == pytest.approx(ROWS - 1, abs=1e-3)
    still = tracks_of(pan_px=0.0, object_px=0.0, noise_px=0.0)
    assert most_active(still, count=2).tolist() == [0, 1]


def test_too_few_points_say_nothing():
    tracks = tracks_of(pan_px=3.0, object_px=0.0)
    few = Tracks(xy_px=tracks.xy_px[:, :5], visible=tracks.visible[:, :5])
    assert not estimate_camera_motion(few).moves
