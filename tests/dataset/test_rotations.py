from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from roboscape.dataset.rotations import (
    ROTATION_SIZES,
    RotationKind,
    convert_rotation,
    from_rotation,
    to_rotation,
)

KINDS = get_args(RotationKind)


@st.composite
def turns(draw: st.DrawFn) -> Rotation:
    """Any rotations, very small ones and half turns among them."""
    seed = draw(st.integers(0, 2**32 - 1))
    angle = draw(st.one_of(st.floats(0, np.pi), st.floats(0, 1e-9), st.just(np.pi)))
    axes = np.random.default_rng(seed).normal(size=(3, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return Rotation.from_rotvec(axes * angle)


@given(turns(), st.sampled_from(KINDS))
def test_a_rotation_survives_every_representation(turn: Rotation, kind: RotationKind) -> None:
    numbers = from_rotation(turn, kind=kind)
    assert numbers.shape == (3, ROTATION_SIZES[kind])
    assert (to_rotation(numbers, kind=kind) * turn.inv()).magnitude().max() < 1e-6


@given(turns(), st.sampled_from(KINDS), st.sampled_from(KINDS))
def test_converting_back_is_the_inverse(
    turn: Rotation, source: RotationKind, target: RotationKind
) -> None:
    numbers = from_rotation(turn, kind=source)
    there = convert_rotation(numbers, source=source, target=target)
    back = convert_rotation(there, source=target, target=source)
    error = to_rotation(back, kind=source) * turn.inv()
    assert error.magnitude().max() < 1e-6


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("axis_angle", [0, 0, np.pi / 2]),
        ("euler_xyz", [0, 0, np.pi / 2]),
        ("quaternion_xyzw", [0, 0, np.sqrt(0.5), np.sqrt(0.5)]),
        ("quaternion_wxyz", [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]),
        ("rotation_6d", [0, 1, 0, -1, 0, 0]),
    ],
)
def test_a_quarter_turn_about_z(kind: RotationKind, numbers: list[float]) -> None:
    turn = Rotation.from_rotvec([[0, 0, np.pi / 2]])
    np.testing.assert_allclose(from_rotation(turn, kind=kind)[0], numbers, atol=1e-12)


def test_six_numbers_need_not_be_orthonormal() -> None:
    scaled = np.array([[0.0, 2.0, 0.0, -3.0, 0.7, 0.0]])
    turn = to_rotation(scaled, kind="rotation_6d").as_rotvec()
    np.testing.assert_allclose(turn, [[0, 0, np.pi / 2]], atol=1e-12)


def test_numbers_of_another_representation_are_refused() -> None:
    with pytest.raises(ValueError, match="quaternion_xyzw has 4 numbers a rotation, got 3"):
        to_rotation(np.zeros((2, 3)), kind="quaternion_xyzw")
