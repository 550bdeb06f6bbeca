import numpy as np
import pytest

from roboscape.dataset.records import Tracks
from roboscape.inspection.pictures import (
    depth_colours,
    depth_limits,
    draw_tracks,
    enlarge,
    spread_active,
)


def moving_tracks() -> Tracks:
    """Five points: one at rest, one that is hidden, three that move right by 1 px a frame."""
    xy_px = np.zeros((20, 5, 2), np.float32)
    xy_px[0] = [[5, 5], [10, 5], [2, 10], [3, 10], [2, 25]]
    xy_px[1:] = xy_px[0]
    xy_px[:, 1:, 0] += np.arange(20)[:, None]
    visible = np.ones((20, 5), bool)
    visible[:, 1] = False
    return Tracks(xy_px=xy_px, visible=visible)


def test_the_tracks_shown_move_and_lie_apart() -> None:
    assert set(spread_active(moving_tracks(), count=2)) == {2, 4}
    assert set(spread_active(moving_tracks(), count=9)) == {2, 3, 4}


def test_nothing_is_shown_where_nothing_moves() -> None:
    still = Tracks(xy_px=np.zeros((9, 4, 2), np.float32), visible=np.ones((9, 4), bool))
    assert len(spread_active(still, count=3)) == 0


def test_a_track_is_drawn_where_it_is() -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    draw_tracks(image, moving_tracks(), frame=10, scale=4.0, shown=np.array([4]))
    # The point is at (12, 25); its pixel centre is at (50, 102) of the enlarged image.
    assert image[102, 50].max() > 200
    assert image[102, 20].max() > 50
    assert image[60].max() == 0


def test_nearer_is_brighter() -> None:
    depth_m = np.linspace(0.5, 3.0, 64, dtype=np.float32).reshape(1, 8, 8)
    near_m, far_m = depth_limits(depth_m)
    assert near_m == pytest.approx(0.5, abs=0.05)
    brightness = depth_colours(depth_m, near_m=near_m, far_m=far_m).astype(int).sum(-1).ravel()
    assert (np.diff(brightness) <= 0).all()
    assert brightness[0] > 2 * brightness[-1]


def test_enlarging_keeps_proportions_and_even_widths() -> None:
    frames = np.zeros((2, 30, 40, 3), np.uint8)
    assert enlarge(frames, height=99).shape == (2, 99, 132, 3)
