from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from roboscape.dataset import action_math
from roboscape.dataset.action_math import Frame, NormalizationKind, Poses
from roboscape.dataset.records import ActionConvention

DELTA = ActionConvention(
    mode="delta",
    names=("x", "gripper"),
    units=("m", "1"),
    scale=(0.05, 1.0),
    frame="robot_base",
    rotation="none",
    gripper="-1 opens, +1 closes",
    action_hz=20.0,
)


def rows(width: int) -> st.SearchStrategy[np.ndarray]:
    return st.integers(2, 6).flatmap(
        lambda count: arrays(float, (count, width), elements=st.floats(-2, 2))
    )


def poses(seed: int, count: int) -> Poses:
    random = np.random.default_rng(seed)
    return Poses(
        position_m=random.normal(size=(count, 3)),
        rotation=Rotation.random(count, random_state=seed),
    )


@given(st.integers(0, 10_000), st.sampled_from(["base", "end_effector"]))
def test_deltas_lead_back_to_the_poses(seed: int, frame: Frame) -> None:
    targets, start = poses(seed, 5), poses(seed + 1, 1)
    motion_m, turn_rad = action_math.poses_to_deltas(targets, start=start, frame=frame)
    reached = action_math.deltas_to_poses(motion_m, turn_rad, start=start, frame=frame)
    np.testing.assert_allclose(reached.position_m, targets.position_m, atol=1e-9)
    assert (reached.rotation * targets.rotation.inv()).magnitude().max() < 1e-9


def test_a_step_forward_is_written_in_the_hands_own_axes() -> None:
    quarter = Rotation.from_rotvec([[0, 0, np.pi / 2]])
    start = Poses(position_m=np.zeros((1, 3)), rotation=quarter)
    target = Poses(position_m=np.array([[0.0, 1.0, 0.0]]), rotation=quarter)
    motion_m, turn = action_math.poses_to_deltas(target, start=start, frame="end_effector")
    np.testing.assert_allclose(motion_m, [[1, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(turn, 0, atol=1e-12)
    motion_m, _ = action_math.poses_to_deltas(target, start=start, frame="base")
    np.testing.assert_allclose(motion_m, [[0, 1, 0]], atol=1e-12)


@given(rows(2), st.integers(1, 4), st.sampled_from(["delta", "absolute"]))
def test_slowing_down_undoes_speeding_up(actions: np.ndarray, factor: int, mode: str) -> None:
    convention = replace(DELTA, mode=mode)
    fast = action_math.speed_up(actions, convention=convention, factor=factor)
    assert len(fast) == factor * len(actions)
    slow = action_math.slow_down(fast, convention=convention, factor=factor)
    np.testing.assert_allclose(slow, actions, atol=1e-12)


def test_deltas_are_summed_and_the_gripper_is_the_last() -> None:
    actions = np.array([[1.0, -1.0], [2.0, -1.0], [3.0, 1.0], [4.0, -1.0], [9.0, 9.0]])
    slow = action_math.slow_down(actions, convention=DELTA, factor=2)
    assert slow.tolist() == [[3.0, -1.0], [7.0, -1.0]]
    absolute = action_math.slow_down(actions, convention=replace(DELTA, mode="absolute"), factor=2)
    assert absolute.tolist() == [[2.0, -1.0], [4.0, -1.0]]


ENDS = st.sampled_from([(-1.0, 1.0), (1.0, -1.0), (0.0, 1.0), (0.08, 0.0), (0.0, 120.0)])


@given(rows(1), ENDS, ENDS)
def test_ranges_undo_each_other(
    values: np.ndarray, source: tuple[float, float], target: tuple[float, float]
) -> None:
    there = action_math.convert_range(values, source=source, target=target)
    back = action_math.convert_range(there, source=target, target=source)
    np.testing.assert_allclose(back, values, atol=1e-9)
    ends = action_math.convert_range(np.array(source), source=source, target=target)
    np.testing.assert_allclose(ends, target, atol=1e-12)


def test_a_range_without_extent_is_refused() -> None:
    with pytest.raises(ValueError, match="two different ends"):
        action_math.convert_range(np.zeros(2), source=(1.0, 1.0), target=(0.0, 1.0))


@given(rows(3), st.sampled_from(["mean_std", "min_max", "quantiles"]))
def test_normalisations_are_undone(values: np.ndarray, kind: NormalizationKind) -> None:
    fitted = action_math.fit_normalization(values, kind=kind)
    normalized = action_math.normalize(values, fitted)
    np.testing.assert_allclose(action_math.denormalize(normalized, fitted), values, atol=1e-9)
    if kind == "min_max":
        assert np.abs(normalized).max() <= 1 + 1e-9


def test_images_turned_twice_are_as_before() -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 4, 6, 3), dtype=np.uint8)
    turned = action_math.turn_images(images)
    assert np.array_equal(turned[0, 0, 0], images[0, -1, -1])
    assert np.array_equal(action_math.turn_images(turned), images)
