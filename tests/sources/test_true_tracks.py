import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roboscape.sources.true_tracks import (
    DEPTH_TOLERANCE_M,
    grid_pixels,
    is_visible,
    sample_pixels,
)


def test_points_start_on_their_pixels_and_are_visible(lift_episode):
    tracks = lift_episode.tracks["agentview"]
    assert tracks.xy_px.shape == (24, 16 * 16 + 64, 2)
    np.testing.assert_allclose(tracks.xy_px[0], np.rint(tracks.xy_px[0]), atol=1e-3)
    assert tracks.visible[0].all()


def test_static_points_stay_and_the_arm_moves(lift_episode):
    tracks = lift_episode.tracks["agentview"]
    travel_px = np.linalg.norm(np.diff(tracks.xy_px, axis=0), axis=-1).sum(axis=0)
    assert travel_px[~tracks.on_moving_body].max() < 1e-3
    assert tracks.on_moving_body[256:].all()
    assert np.median(travel_px[tracks.on_moving_body]) > 5


def test_a_visible_point_keeps_its_colour(lift_episode):
    """Points follow the surface: under the same lights a matt surface keeps its colour."""
    frames, tracks = lift_episode.frames["agentview"], lift_episode.tracks["agentview"]
    red = np.zeros(tracks.xy_px.shape[:2], bool)
    for row, xy_px in enumerate(tracks.xy_px):
        x_px, y_px = np.clip(np.rint(xy_px), 0, 127).astype(int).T
        colour = frames[row, y_px, x_px].astype(int)
        red[row] = colour[:, 0] > 1.8 * colour[:, 1]
    on_cube = red[0]
    assert on_cube.sum() >= 3
    visible = tracks.visible[:, on_cube]
    assert red[:, on_cube][visible].mean() > 0.9


def test_grid_is_even():
    pixels = grid_pixels(128, 64, side=16)
    assert pixels.shape == (256, 2)
    np.testing.assert_array_equal(pixels[0], [2, 4])
    np.testing.assert_array_equal(pixels[-1], [62, 124])
    np.testing.assert_array_equal(pixels[1] - pixels[0], [4, 0])


def test_sampled_pixels_lie_in_the_mask_and_repeat_only_in_need():
    mask = np.zeros((20, 30), bool)
    mask[4:8, 10:16] = True
    few = sample_pixels(mask, count=20, generator=np.random.default_rng(0))
    assert len(np.unique(few, axis=0)) == 20
    assert mask[few[:, 1], few[:, 0]].all()
    many = sample_pixels(mask, count=50, generator=np.random.default_rng(0))
    assert mask[many[:, 1], many[:, 0]].all()
    anywhere = sample_pixels(~mask & mask, count=50, generator=np.random.default_rng(0))
    assert len(np.unique(anywhere, axis=0)) == 50


@given(st.integers(0, 9), st.integers(0, 7), st.floats(-0.49, 0.49), st.floats(0.5, 3))
def test_visibility_compares_with_the_depth_image(x_px, y_px, shift, surface_m):
    depth_m = np.full((8, 10), surface_m)
    place = [x_px + shift, y_px + shift]
    points = np.array(
        [
            [*place, surface_m],
            [*place, surface_m - 0.1],
            [*place, surface_m + 2 * DEPTH_TOLERANCE_M],
            [10.6, y_px, surface_m],
            [x_px, -0.6, surface_m],
            [*place, -surface_m],
        ]
    )
    assert is_visible(points, depth_m).tolist() == [True, True, False, False, False, False]
