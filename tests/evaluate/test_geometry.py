import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roboscape.evaluate.geometry import (
    aether_depth_scores,
    fit_scale,
    fit_scale_and_shift,
    metric_depth_scores,
    valid_at_aether,
    valid_in_range,
)


def scene(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 3.0, (2, 3, 8, 8)).astype(np.float32)


def test_metric_scores_known_by_hand():
    truth = np.array([[[[1.0, 2.0], [4.0, 1.0]]]], np.float32)
    predicted = np.array([[[[1.1, 1.0], [4.0, 1.5]]]], np.float32)
    scores = metric_depth_scores(truth, predicted, valid=np.ones_like(truth, bool))
    assert scores.abs_rel[0, 0] == pytest.approx((0.1 + 0.5 + 0 + 0.5) / 4)
    # Ratios 1.1, 2, 1 and 1.5 against 1.25 and 1.5625.
    assert scores.delta1[0, 0] == 0.5
    assert scores.delta2[0, 0] == 0.75


def test_invalid_pixels_do_not_count_and_a_frame_without_valid_pixels_is_unknown():
    truth = np.ones((1, 2, 2, 2), np.float32)
    truth[0, 0, 0, 0] = np.inf
    truth[0, 1] = 0.0
    predicted = np.full_like(truth, 1.1)
    valid = valid_in_range(truth, nearest_m=0.5, farthest_m=4.0)
    scores = metric_depth_scores(truth, predicted, valid=valid)
    assert scores.abs_rel[0, 0] == pytest.approx(0.1, abs=1e-6)
    assert np.isnan(scores.abs_rel[0, 1])
    assert np.isnan(scores.delta1[0, 1])


def test_aether_mask_is_0_to_70_metres():
    truth = np.array([[-1.0, 0.0, 0.1, 69.9, 70.0, np.nan]])
    assert valid_at_aether(truth).tolist() == [[False, False, True, True, False, False]]


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.1, 10.0))
def test_scale_alignment_does_not_see_a_change_of_unit(scale: float):
    truth = scene()
    predicted = truth * scene(1) / 1.5
    one = aether_depth_scores(truth, predicted, with_shift=False)
    other = aether_depth_scores(truth, predicted * np.float32(scale), with_shift=False)
    assert other.abs_rel == pytest.approx(one.abs_rel, rel=2e-2)
    assert other.delta1 == pytest.approx(one.delta1, abs=0.02)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.2, 5.0), shift_m=st.floats(-0.3, 2.0))
def test_scale_and_shift_are_recovered_despite_outliers(scale: float, shift_m: float):
    truth = scene().ravel()
    predicted = ((truth - shift_m) / scale).astype(np.float32)
    truth[:30] = 50.0
    found = fit_scale_and_shift(truth, predicted)
    assert found.scale == pytest.approx(scale, rel=1e-3)
    assert found.shift_m == pytest.approx(shift_m, abs=1e-3)


def test_the_fitted_scale_has_the_least_absolute_error():
    truth, predicted = scene().ravel(), scene(1).ravel()
    found = fit_scale(truth, predicted).scale
    error = {s: np.abs(s * predicted - truth).sum() for s in np.linspace(0.3, 1.5, 241)}
    assert np.abs(found * predicted - truth).sum() <= min(error.values()) * 1.01


def test_a_perfect_prediction_scores_perfectly_under_each_protocol():
    truth = scene()
    for with_shift in (False, True):
        scores = aether_depth_scores(truth, truth, with_shift=with_shift)
        assert scores.abs_rel == pytest.approx(np.zeros(2), abs=1e-6)
        assert scores.delta1 == pytest.approx(np.ones(2))
