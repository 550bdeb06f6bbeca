from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from roboscape.dataset import conventions
from roboscape.dataset.records import ActionConvention

SCALED = ActionConvention(
    mode="delta",
    names=("x", "yaw", "gripper"),
    units=("m", "rad", "1"),
    scale=(0.05, 0.5, 1.0),
    frame="robot_base",
    rotation="axis_angle",
    gripper="-1 opens, +1 closes",
    action_hz=20.0,
)


def vectors(width: int, *, largest: float = 10.0) -> st.SearchStrategy[np.ndarray]:
    numbers = st.floats(-largest, largest)
    return st.integers(1, 4).flatmap(lambda rows: arrays(float, (rows, width), elements=numbers))


def rotations() -> st.SearchStrategy[np.ndarray]:
    """Rotation vectors shorter than pi, very small ones among them."""
    lengths = st.one_of(st.floats(0, 3.14), st.floats(0, 1e-9))
    directions = vectors(3).map(lambda x: x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-12))
    return st.tuples(directions, lengths).map(lambda pair: pair[0] * pair[1])


@given(vectors(3))
def test_physical_units_and_back(actions: np.ndarray) -> None:
    physical = conventions.to_physical(actions, SCALED)
    np.testing.assert_allclose(conventions.from_physical(physical, SCALED), actions, atol=1e-12)


def test_a_full_command_is_five_centimetres() -> None:
    actions = np.array([[1.0, -1.0, 1.0]], np.float32)
    physical = conventions.to_physical(actions, SCALED)
    assert physical.tolist() == [[pytest.approx(0.05), -0.5, 1.0]]
    assert physical.dtype == np.float32


@given(vectors(4))
def test_quaternion_orders_undo_each_other(quaternions: np.ndarray) -> None:
    there = conventions.xyzw_to_wxyz(quaternions)
    assert np.array_equal(there[..., 0], quaternions[..., 3])
    assert np.array_equal(conventions.wxyz_to_xyzw(there), quaternions)


@given(vectors(3, largest=1.0), st.sampled_from([(-1.0, 1.0), (0.0, 1.0)]))
def test_flipping_the_gripper_twice_is_nothing(
    actions: np.ndarray, ends: tuple[float, float]
) -> None:
    low, high = ends
    flipped = conventions.flip_gripper(actions, dimension=2, low=low, high=high)
    assert np.array_equal(flipped[:, :2], actions[:, :2])
    np.testing.assert_allclose(flipped[:, 2] + actions[:, 2], low + high, atol=1e-12)
    back = conventions.flip_gripper(flipped, dimension=2, low=low, high=high)
    np.testing.assert_allclose(back, actions, atol=1e-12)


@given(rotations())
def test_rotation_vectors_survive_the_way_through_quaternions(vector: np.ndarray) -> None:
    quaternions = conventions.axis_angle_to_quaternion(vector)
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=-1), 1, atol=1e-9)
    back = conventions.quaternion_to_axis_angle(quaternions)
    np.testing.assert_allclose(back, vector, atol=1e-6)
    np.testing.assert_allclose(
        conventions.quaternion_to_axis_angle(-quaternions), vector, atol=1e-6
    )


def test_a_quarter_turn_about_z() -> None:
    quaternion = conventions.axis_angle_to_quaternion(np.array([0, 0, np.pi / 2]))
    np.testing.assert_allclose(quaternion, [0, 0, np.sqrt(0.5), np.sqrt(0.5)])


def test_unknown_actions_have_no_physical_units() -> None:
    unknown = conventions.unknown_convention(("a", "b"), action_hz=30.0)
    with pytest.raises(ValueError, match="does not say what its actions mean"):
        conventions.to_physical(np.zeros((1, 2)), unknown)


def test_actions_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="names 3 action dimensions, the actions have 2"):
        conventions.to_physical(np.zeros((1, 2)), SCALED)


def test_a_convention_describes_the_same_dimensions_throughout() -> None:
    with pytest.raises(ValueError, match="3 names, 3 units, 2 scales"):
        replace(SCALED, scale=(1.0, 1.0))
