import importlib.util

import cv2
import numpy as np
import pytest

from roboscape.annotate.backends import FlowEstimator
from roboscape.annotate.flow.motion import measure_flow, turning, without_camera_flow
from roboscape.annotate.flow.protocol import FLOW_ESTIMATORS

SIZE = 96


def texture(seed: int, size: int) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (size, size)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def video(*, camera_px: float = 0.0, object_px: float = 0.0, rows: int = 6) -> np.ndarray:
    """A textured square that moves right before a background that the camera moves past."""
    background, square = texture(0, 256), texture(1, 64)
    frames = []
    for row in range(rows):
        centre = (128 + camera_px * row, 128.0)
        frame = cv2.getRectSubPix(background, (SIZE, SIZE), centre)
        shift = np.array([[1, 0, 20 + object_px * row], [0, 1, 30]], np.float32)
        moved = cv2.warpAffine(square[:24, :24], shift, (SIZE, SIZE), borderValue=-1)
        frames.append(np.where(moved >= 0, moved, frame))
    return np.repeat(np.stack(frames)[..., None], 3, axis=-1).clip(0, 255).astype(np.uint8)


def test_flow_is_the_motion_of_a_translation():
    frames = video(camera_px=1.5)
    estimator = FLOW_ESTIMATORS["dis"]()
    assert isinstance(estimator, FlowEstimator)
    flow = estimator.flow(frames[:-1], frames[1:])
    assert flow.shape == (5, SIZE, SIZE, 2)
    background = flow[:, 70:, 10:-10]
    np.testing.assert_allclose(np.median(background, axis=(0, 1, 2)), [-1.5, 0], atol=0.1)


def test_speed_tells_a_still_video_from_a_moving_one_whatever_the_camera_does():
    estimator = FLOW_ESTIMATORS["dis"]()
    still = measure_flow(video(), estimator)
    moving = measure_flow(video(object_px=2.0), estimator, batch_size=2)
    assert still.speed_px.max() < 0.1 and still.disorder.max() == 0 == still.turning.max()
    assert moving.speed_px[1:].mean() == pytest.approx(2, rel=0.15)
    assert moving.camera_px.max() == 0
    carried = measure_flow(video(camera_px=2.0, object_px=2.0), estimator)
    assert carried.camera_px[1:].mean() == pytest.approx(2, rel=0.1)
    # Seen from the background the square moves 2 px a row to the right and 2 more.
    assert carried.speed_px[1:].mean() == pytest.approx(4, rel=0.3)
    assert all(len(values) == 6 for values in (moving.speed_px, moving.disorder, moving.camera_px))
    assert moving.speed_px[0] == 0


def test_batches_do_not_change_the_scores():
    frames = video(object_px=1.0)
    estimator = FLOW_ESTIMATORS["dis"]()
    one = measure_flow(frames, estimator, batch_size=1)
    many = measure_flow(frames, estimator, batch_size=16)
    np.testing.assert_array_equal(one.speed_px, many.speed_px)
    assert measure_flow(frames[:1], estimator).speed_px.tolist() == [0.0]


def test_what_motion_does_not_explain_is_disorder():
    estimator = FLOW_ESTIMATORS["dis"]()
    noise = np.random.default_rng(0).integers(0, 255, (5, SIZE, SIZE, 3), dtype=np.uint8)
    orderly = video(object_px=2.0, camera_px=1.0)
    assert measure_flow(orderly, estimator).disorder[1:].mean() < 0.25
    assert measure_flow(noise, estimator).disorder[1:].mean() > 0.6
    assert measure_flow(orderly, estimator).disorder[0] == 0


def test_turning_is_zero_straight_on_and_one_for_back_and_forth():
    right = np.zeros((32, 32, 2), np.float32)
    right[8:24, 8:24] = (1.0, 0.0)
    assert turning(right, right) == pytest.approx(0, abs=1e-6)
    assert turning(right, -right) == pytest.approx(1)
    assert turning(right, right[..., ::-1].copy()) == pytest.approx(0.5)
    assert turning(right, 0 * right) == 0
    estimator = FLOW_ESTIMATORS["dis"]()
    there_and_back = video(object_px=2.0)[[0, 1, 0, 1, 0]]
    assert measure_flow(there_and_back, estimator).turning[2:].mean() > 0.8
    assert measure_flow(video(object_px=2.0), estimator).turning[2:].mean() < 0.1


def test_a_zooming_camera_is_taken_out():
    y, x = np.mgrid[:64, :64]
    zoom = np.stack([0.05 * (x - 32), 0.05 * (y - 32)], axis=-1).astype(np.float32)
    own, camera_px = without_camera_flow(zoom)
    assert np.abs(own).max() < 0.05 and camera_px > 0.5


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed"
)
def test_raft_names_what_must_be_installed():
    with pytest.raises(ValueError, match="RAFT needs the package `torchvision"):
        FLOW_ESTIMATORS["raft"]()
