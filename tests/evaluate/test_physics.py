import numpy as np
import pytest

from roboscape.evaluate.physics import (
    intersection_over_union,
    motion_masks,
    physics_iq,
    small_masks,
)


def square_moving(step_px: int, *, top: int = 40, num_frames: int = 8) -> np.ndarray:
    frames = np.full((num_frames, 128, 128, 3), 40, np.uint8)
    for t in range(num_frames):
        left = 8 + t * step_px
        frames[t, top : top + 24, left : left + 24] = 220
    return frames


def test_identical_videos_score_one_one_one_zero():
    video = square_moving(8)
    scores = physics_iq(video, video)
    assert small_masks(video).any()
    assert scores.spatial_iou == scores.spatiotemporal_iou == scores.weighted_spatial_iou == 1.0
    assert scores.mse == 0.0


def test_two_still_videos_agree_that_nothing_moves():
    still = square_moving(0)
    scores = physics_iq(still, still[::-1])
    assert (scores.spatial_iou, scores.spatiotemporal_iou, scores.weighted_spatial_iou) == (1, 1, 1)


def test_motion_in_another_place_shares_no_area():
    scores = physics_iq(square_moving(8, top=8), square_moving(8, top=90))
    assert scores.spatial_iou == scores.weighted_spatial_iou == 0.0
    # Only the first frame, whose masks are empty by definition, agrees.
    assert scores.spatiotemporal_iou == pytest.approx(1 / 8)
    assert scores.mse > 0


def test_a_still_prediction_of_a_moving_scene_scores_zero():
    scores = physics_iq(square_moving(8), square_moving(0))
    assert scores.spatial_iou == scores.weighted_spatial_iou == 0.0


def test_the_same_path_at_another_time_keeps_its_place_but_not_its_time():
    video = square_moving(8)
    late = np.concatenate([video[:1]] * 3 + [video[1:6]])
    scores = physics_iq(video, late)
    assert scores.spatial_iou > 0.5
    assert scores.spatiotemporal_iou < scores.spatial_iou


def test_first_mask_is_empty_and_masks_are_binary():
    masks = motion_masks(square_moving(8))
    assert not masks[0].any()
    assert set(np.unique(masks)) == {0, 255}


def test_intersection_over_union_by_hand():
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    first[:2], second[1:3] = True, True
    assert intersection_over_union(first, second) == pytest.approx(1 / 3)


def test_mse_by_hand():
    grey, lighter = np.full((3, 16, 16, 3), 100, np.uint8), np.full((3, 16, 16, 3), 151, np.uint8)
    assert physics_iq(grey, lighter).mse == pytest.approx(0.04)
