import cv2
import numpy as np
import torch

from roboscape.tokenizer.ceiling import (
    comparison_picture,
    measure_ceiling,
    save_picture,
    unchanged,
)


def test_unchanged_counts_within_episodes_only():
    codes = torch.tensor([[1, 2], [1, 3], [7, 3], [7, 3]], dtype=torch.int32)
    assert unchanged(codes, episode=np.array([0, 0, 1, 1])) == 0.75


def test_the_ceiling_is_the_same_in_any_batches(tokenizer, frames):
    whole = measure_ceiling(tokenizer, frames, batch_size=64)
    parts = measure_ceiling(tokenizer, frames, batch_size=5)
    assert whole.frames == 12
    assert abs(whole.psnr - parts.psnr) < 1e-3
    assert abs(whole.absrel - parts.absrel) < 1e-5
    assert whole.unchanged_rgb == parts.unchanged_rgb


def test_the_background_keeps_its_tokens(tokenizer, frames):
    # The square moves inside the upper two of four patches.
    assert measure_ceiling(tokenizer, frames).unchanged_depth >= 0.25


def test_the_picture_has_truth_above_reconstruction(tokenizer, frames, tmp_path):
    picture = comparison_picture(tokenizer, frames, indices=np.array([0, 3, 8]))
    assert picture.shape == (4 * 32, 3 * 32, 3)
    np.testing.assert_array_equal(picture[:32, :32], frames.rgb[0])
    save_picture(picture, tmp_path / "picture.png")
    read = cv2.imread(str(tmp_path / "picture.png"))
    np.testing.assert_array_equal(read[..., ::-1], picture)
