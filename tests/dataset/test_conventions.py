import importlib
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from roboscape.dataset import conventions
from roboscape.dataset.records import ActionConvention

PAGE = (Path(__file__).parents[2] / "docs/conventions.md").read_text()
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


@given(vectors(3))
def test_physical_units_and_back(actions: np.ndarray) -> None:
    physical = conventions.to_physical(actions, SCALED)
    np.testing.assert_allclose(conventions.from_physical(physical, SCALED), actions, atol=1e-12)


def test_a_full_command_is_five_centimetres() -> None:
    actions = np.array([[1.0, -1.0, 1.0]], np.float32)
    physical = conventions.to_physical(actions, SCALED)
    assert physical.tolist() == [[pytest.approx(0.05), -0.5, 1.0]]
    assert physical.dtype == np.float32


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


NORMALISED = replace(
    SCALED,
    normalization="mean_std",
    normalization_offset=(0.1, -0.2, 0.0),
    normalization_scale=(2.0, 0.5, 1.0),
)


@given(vectors(3))
def test_normalised_actions_in_physical_units_and_back(actions: np.ndarray) -> None:
    physical = conventions.to_physical(actions, NORMALISED)
    np.testing.assert_allclose(physical[..., 0], (actions[..., 0] * 2 + 0.1) * 0.05, atol=1e-12)
    np.testing.assert_allclose(conventions.from_physical(physical, NORMALISED), actions, atol=1e-9)


def test_a_normalisation_needs_its_numbers() -> None:
    with pytest.raises(ValueError, match="needs 3 offsets and scales; got 0 and 0"):
        replace(SCALED, normalization="min_max")


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, (-1.0, 1.0)),
        ({"gripper": "0 closes, 1 opens"}, (1.0, 0.0)),
        ({"gripper": "unknown"}, None),
        ({"gripper": "unknown", "gripper_open": 0.08, "gripper_closed": 0.0}, (0.08, 0.0)),
    ],
)
def test_what_opens_and_closes_the_gripper(changes: dict, ends: tuple | None) -> None:
    assert conventions.gripper_ends(replace(SCALED, **changes)) == ends


def test_the_page_names_every_field_and_only_functions_that_exist() -> None:
    for field in fields(ActionConvention):
        assert f"`{field.name}`" in PAGE, field.name
    named = re.findall(r"`(roboscape[\w.]+):(\w+)`", PAGE)
    assert len(named) >= 8
    for module, function in named:
        assert getattr(importlib.import_module(module), function).__doc__
