"""Tracks of points that move."""

import numpy as np

from roboscape.dataset.records import Tracks


def moving_points(rows):
    """Five points that go right, and far enough for their clips to be kept."""
    xy = np.zeros((rows, 5, 2), np.float32)
    xy[..., 0] = 3 * np.arange(rows)[:, None] + np.arange(5)
    return Tracks(xy_px=xy, visible=np.ones((rows, 5), bool), on_moving_body=np.ones(5, bool))
