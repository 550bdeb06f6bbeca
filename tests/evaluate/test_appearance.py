import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from roboscape.evaluate.appearance import (
    IDENTICAL_DB,
    load_lpips,
    psnr_db,
    psnr_ivideogpt_db,
    shrink,
    ssim,
)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_psnr_of_a_constant_difference_is_known_by_hand():
    truth = np.full((2, 3, 8, 8, 3), 100, np.uint8)
    # An error of 5.1 grey levels everywhere is 20 log10(255 / 5.1); 51 is 20 log10(5).
    assert psnr_db(truth, truth + 51) == pytest.approx(np.full((2, 3), 13.9794000867))


def test_psnr_does_not_wrap_around_in_bytes():
    black, white = np.zeros((1, 1, 4, 4, 3), np.uint8), np.full((1, 1, 4, 4, 3), 255, np.uint8)
    assert psnr_db(black, white)[0, 0] == psnr_db(white, black)[0, 0] == 0.0


def test_psnr_of_identical_frames_is_the_stated_finite_value():
    frames = noise(2, 3, 8, 8, 3)
    assert (psnr_db(frames, frames) == IDENTICAL_DB).all()


def test_psnr_counts_every_frame_on_its_own():
    truth = np.full((1, 2, 4, 4, 3), 100, np.uint8)
    predicted = truth.copy()
    predicted[:, 1] += 51
    assert psnr_db(truth, predicted)[0] == pytest.approx([IDENTICAL_DB, 13.9794000867])


def test_ivideogpt_takes_the_best_sample_of_each_clip_and_counts_the_context_frame():
    truth = np.full((2, 2, 128, 128, 3), 100, np.uint8)
    better_first, better_second = np.stack([truth + 51] * 2), np.stack([truth + 51] * 2)
    better_first[0, 0] = truth[0] + 5
    better_second[1, 1] = truth[1] + 10
    score = psnr_ivideogpt_db(truth, np.stack([better_first[0], better_second[1]]))
    assert score == pytest.approx(20 * np.log10(255 / np.array([5, 10])))
    one_wrong = truth.copy()
    one_wrong[:, 0] += 51
    context_counted = psnr_ivideogpt_db(truth, one_wrong[None])
    assert context_counted == pytest.approx((13.9794000867 + IDENTICAL_DB) / 2)


def test_shrink_takes_the_mean_of_the_covered_area():
    frames = np.zeros((1, 1, 128, 128, 3), np.uint8)
    frames[:, :, ::2] = 200
    assert (shrink(frames, side_px=64) == 100).all()


def test_ssim_is_torchmetrics_frame_by_frame():
    truth = noise(2, 2, 40, 32, 3)
    predicted = (truth * 0.7 + noise(2, 2, 40, 32, 3, seed=1) * 0.3).astype(np.uint8)
    flat = [
        torch.tensor(frames, dtype=torch.float32).flatten(0, 1).permute(0, 3, 1, 2)
        for frames in (predicted, truth)
    ]
    expected = structural_similarity_index_measure(*flat, data_range=255.0, reduction="none")
    assert ssim(truth, predicted).ravel() == pytest.approx(expected.numpy(), abs=1e-5)
    assert ssim(truth, truth) == pytest.approx(np.ones((2, 2)))


def test_lpips_is_either_real_or_explains_itself():
    lpips = load_lpips()
    frames = noise(1, 2, 64, 64, 3)
    score = lpips(frames, frames)
    assert score.shape == (1, 2)
    if lpips.measure is None:
        assert np.isnan(score).all()
        assert "torchvision" in lpips.missing
        assert "pip install" in lpips.missing
    else:
        assert score == pytest.approx(np.zeros((1, 2)), abs=1e-5)
