import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roboscape.annotate.tracks.protocol import LucasKanade, grid_points, is_inside

SIZE = 96


def texture(size: int) -> np.ndarray:
    """Smooth random grey values."""
    noise = np.random.default_rng(0).uniform(0, 255, (size, size)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)


def translating(step_px: tuple[float, float], frames: int) -> np.ndarray:
    """A window that slides over a texture, so that its content moves by `step_px` a frame."""
    picture = texture(256)
    shifts = np.arange(frames)[:, None] * np.array(step_px)
    grey = [
        cv2.getRectSubPix(picture, (SIZE, SIZE), (128.0 - x_px, 128.0 - y_px))
        for x_px, y_px in shifts
    ]
    return np.repeat(np.stack(grey)[..., None], 3, axis=-1).astype(np.uint8)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.floats(-3, 3), st.floats(-3, 3))
def test_points_follow_a_translation(x_px, y_px):
    frames = translating((x_px, y_px), frames=8)
    tracks = LucasKanade().annotate(frames)
    expected = tracks.xy_px[:1] + np.arange(8)[:, None, None] * np.array([x_px, y_px])
    found = tracks.visible[-1]
    inside = is_inside(expected[-1].astype(np.float32), (SIZE, SIZE))
    assert found[inside].mean() > 0.8
    # A tracker is a fraction of a pixel off, so a point on the border may count as inside.
    far_outside = ((expected[-1] < -1) | (expected[-1] > SIZE)).any(axis=-1)
    assert not found[far_outside].any()
    error_px = np.linalg.norm(tracks.xy_px - expected, axis=-1)[:, found]
    assert np.median(error_px[-1]) < 0.2 and np.percentile(error_px[-1], 90) < 0.6


def test_a_lost_point_stays_lost_and_stays_put():
    frames = translating((1.0, 0.5), frames=8)
    frames[4] = 128
    tracks = LucasKanade().annotate(frames)
    assert tracks.visible[3].any()
    assert not tracks.visible[4:].any()
    np.testing.assert_array_equal(tracks.xy_px[7], tracks.xy_px[3])


def test_the_grid_is_even_and_symmetric():
    points = grid_points(60, 120, side=6)
    assert points.shape == (36, 2) and points.dtype == np.float32
    np.testing.assert_allclose(points.mean(axis=0), [59.5, 29.5])
    np.testing.assert_allclose(points[1] - points[0], [20, 0])
    np.testing.assert_allclose(points[6] - points[0], [0, 10])


@pytest.mark.parametrize(
    ("point", "inside"),
    [((-0.5, 0), True), ((9.4, 7.4), True), ((9.5, 0), False), ((0, -0.6), False)],
)
def test_the_image_ends_half_a_pixel_beyond_the_outer_centres(point, inside):
    assert is_inside(np.array([point], np.float32), (8, 10)).tolist() == [inside]


def test_settings_say_all_that_decides_the_result():
    assert LucasKanade(window_px=9).settings["window_px"] == 9
    assert LucasKanade().version.startswith("opencv ")
