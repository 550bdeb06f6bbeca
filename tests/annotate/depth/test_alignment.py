import numpy as np
import pytest

from roboscape.annotate.depth.alignment import align_over_time, depth_confidence, unchanged_pixels

ROWS, SIZE = 40, 32


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A still scene of a slope that a bright near square crosses: frames and true depth, metres."""
    y, x = np.mgrid[:SIZE, :SIZE]
    depth = np.repeat((1 + 0.03 * y + 0.01 * x)[None], ROWS, axis=0)
    grey = np.repeat((3 * y + 2 * x)[None], ROWS, axis=0).astype(np.uint8)
    for row in range(ROWS):
        left = row * (SIZE - 8) // ROWS
        depth[row, 12:20, left : left + 8] = 0.6
        grey[row, 12:20, left : left + 8] = 230
    return np.repeat(grey[..., None], 3, axis=-1), depth


def test_a_scale_and_shift_of_each_frame_are_undone():
    frames, depth = scene()
    random = np.random.default_rng(0)
    scale, shift = random.uniform(0.7, 1.4, (2, ROWS, 1, 1))
    disparity = 1 / depth
    aligned = align_over_time(scale * disparity + shift, frames)
    wanted = scale[0] * disparity + shift[0]
    assert np.abs(aligned.values - wanted).max() < 0.05 * wanted.std() + 0.02
    assert np.abs(aligned.values[-1] - wanted[-1]).mean() < 0.01
    np.testing.assert_allclose(
        aligned.values,
        aligned.scale[:, None, None] * (scale * disparity + shift) + aligned.shift[:, None, None],
        rtol=1e-5,
    )


def test_noise_does_not_shrink_depth_over_an_episode():
    frames, depth = scene()
    frames = np.repeat(frames[:1], 300, axis=0)
    clean = np.repeat(1 / depth[:1], 300, axis=0)
    noisy = clean + np.random.default_rng(0).normal(0, 0.2 * clean.std(), clean.shape)
    aligned = align_over_time(noisy, frames).values
    assert aligned[-20:].std() / noisy[0].std() == pytest.approx(1, abs=0.05)


def test_logarithms_are_only_shifted():
    frames, depth = scene()
    factor = np.random.default_rng(1).uniform(0.8, 1.2, (ROWS, 1, 1))
    aligned = align_over_time(np.log(depth * factor), frames, shift_only=True)
    assert (aligned.scale == 1).all()
    np.testing.assert_allclose(np.exp(aligned.values), depth * factor[0], rtol=0.01)


def test_a_moving_camera_falls_back_to_all_pixels():
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (5, SIZE, SIZE, 3), dtype=np.uint8)
    assert unchanged_pixels(frames).mean() < 0.2
    disparity = random.uniform(1, 2, (5, SIZE, SIZE))
    aligned = align_over_time(disparity * np.arange(1, 6)[:, None, None], frames)
    np.testing.assert_allclose(aligned.values.mean((1, 2)), disparity[0].mean(), rtol=0.1)


def test_confidence_falls_with_flicker():
    frames, depth = scene()
    assert depth_confidence(depth, frames).min() > 0.95
    flicker = depth * (1 + 0.1 * (np.arange(ROWS) % 2))[:, None, None]
    assert depth_confidence(flicker, frames).max() < 0.05
    assert depth_confidence(depth[:1], frames[:1]).tolist() == [1.0]
