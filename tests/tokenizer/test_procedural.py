"""Procedural scenes follow from their seed; most of them rests."""

import numpy as np

from roboscape.tokenizer.procedural import (
    FARTHEST_M,
    NEAREST_M,
    scene_frames,
    scenes,
)


def test_a_scene_follows_from_its_seed():
    (rgb, depth_m), (again, _) = (scene_frames(3, frames=2, side=32) for _ in range(2))
    assert np.array_equal(rgb, again)
    assert rgb.shape == (2, 32, 32, 3) and rgb.dtype == np.uint8
    assert depth_m.shape == (2, 32, 32) and depth_m.dtype == np.float32
    assert not np.array_equal(rgb, scene_frames(4, frames=2, side=32)[0])


def test_something_moves_and_most_rests():
    moved = []
    for rgb, _ in scenes(range(20), frames=2, side=64):
        change = np.abs(rgb[1].astype(int) - rgb[0]).max(axis=-1)
        moved.append((change > 25).mean())
    assert 0.005 < np.mean(moved) < 0.4
    assert np.max(moved) > 0.03


def test_depth_is_finite_and_within_its_range_and_changes_with_what_moves():
    for _, depth_m in scenes(range(8), frames=3, side=32):
        assert np.isfinite(depth_m).all()
        assert depth_m.min() >= NEAREST_M - 1e-4 and depth_m.max() <= FARTHEST_M + 1e-3
    changed = [not np.array_equal(d[0], d[-1]) for _, d in scenes(range(8), frames=3, side=32)]
    assert sum(changed) >= 4
