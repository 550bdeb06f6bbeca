"""Pairs of dimensions of action and state that mean the same thing, by their names."""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from roboscape.dataset.conventions import is_gripper
from roboscape.dataset.records import DatasetSpec

_AXIS = re.compile(r"^(?:.*[_.\s/])?([xyz])$")
_NOT_POSITION = re.compile(r"quat|rot|orient|joint|vel|force|torque|euler|axis|object|cube|goal")
_APERTURE = re.compile(r"finger|opening|width|aperture")
_CLOSED = re.compile(r"clos")
_ANGLE = re.compile(
    r"(?:^|[_.\s/])(?:joints?[_.\s]?\d*(?:[_.](?:pos|position))?"
    r"|r[xyz]|roll|pitch|yaw|euler(?:[_.][xyz])?|theta|angle\d*)(?:[_.]\d+)?$"
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A dimension that is commanded and measured."""

    name: str
    action: int
    state: int
    axis: str = ""
    """`x`, `y` or `z` of a position; else empty."""


def motion_pairs(spec: DatasetSpec) -> list[Pair]:
    """Commanded dimensions with a measured one of the same name, or of the same axis."""
    names, states = spec.action.names, spec.state_names
    by_axis = _position_places(states)
    pairs: list[Pair] = []
    for place, name in enumerate(names):
        axis = position_axis(name)
        if is_gripper(name):
            continue
        if states.count(name) == 1:
            pairs.append(Pair(name=name, action=place, state=states.index(name), axis=axis))
        elif axis and len(by_axis[axis]) == 1:
            pairs.append(Pair(name=name, action=place, state=by_axis[axis][0], axis=axis))
    return pairs


def position_axis(name: str) -> str:
    """`x`, `y` or `z` where a name is that of a position, else empty."""
    found = _AXIS.match(name.lower())
    return found[1] if found and not _NOT_POSITION.search(name.lower()) else ""


def position_places(names: tuple[str, ...]) -> list[int] | None:
    """The places of the one position (x, y, z) among some dimensions; None without exactly one."""
    by_axis = _position_places(names)
    if any(len(places) != 1 for places in by_axis.values()):
        return None
    return [places[0] for places in by_axis.values()]


def quaternion_groups(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Places of the four parts of every quaternion, by what their names have in common."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if "quat" in name.lower():
            groups.setdefault(re.sub(r"[_.\s]?(?:[wxyz]|\d)$", "", name), []).append(place)
    return {name: places for name, places in groups.items() if len(places) == 4}


def angle_groups(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Places of the angles (joints, roll pitch yaw, rotation vectors), those alike together."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        lowered = name.lower()
        if _ANGLE.search(lowered) and not is_gripper(name) and "quat" not in lowered:
            word = re.sub(r"\d+|r[xyz]$|roll$|pitch$|yaw$|[xyz]$", "", lowered)
            groups.setdefault(word, []).append(place)
    return groups


def aperture(
    state: Float[np.ndarray, "t s"], names: tuple[str, ...]
) -> Float[np.ndarray, " t"] | None:
    """The opening of the gripper, in units of its own, from fingers, an opening or a closing.

    None where no name says so.
    """
    numbers = state.astype(np.float64)
    opening = [place for place, name in enumerate(names) if _APERTURE.search(name.lower())]
    if opening:
        return np.abs(numbers[:, opening]).sum(axis=1)
    closing = [
        place for place, name in enumerate(names) if is_gripper(name) and _CLOSED.search(name)
    ]
    return -numbers[:, closing].sum(axis=1) if closing else None


def grippers(names: tuple[str, ...]) -> Bool[np.ndarray, " a"]:
    """True where a dimension belongs to a gripper."""
    return np.array([is_gripper(name) for name in names], bool)


def _position_places(names: tuple[str, ...]) -> dict[str, list[int]]:
    return {
        axis: [place for place, name in enumerate(names) if position_axis(name) == axis]
        for axis in "xyz"
    }
