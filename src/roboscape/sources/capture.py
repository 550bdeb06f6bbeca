"""Exact copies of a running simulation: MuJoCo's numbers and the Python objects around them.

Controllers and environments keep numbers of their own (goals, filters, counters, random states).
They are found by walking through the attributes, so that none is forgotten when a simulator gains
one. Everything is restored in place: what refers to a part of the simulation goes on doing so.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from roboscape.core.errors import UserError
from roboscape.sources.graphics import mujoco

PLAIN = (type(None), bool, int, float, str, np.generic, np.random.Generator, set, frozenset)
OWN_PACKAGES = ("robosuite.", "metaworld.")
"""Objects of these packages are walked through; those of others never change, or are MuJoCo's."""
ARENA = ("efc_", "island_", "dof_island", "contact", "tendon_efcadr")
"""Names of MuJoCo's arrays whose size changes; it computes them anew before it reads them."""
MOVED_BY_RESETS = ("body_pos", "body_quat", "site_pos", "site_quat")
"""Parts of the model that Meta-World's resets write."""
_KEEP = object()
"""In place of what is not copied."""


@dataclass(frozen=True, eq=False)
class _Value:
    """A number, text, array or random state; `eq=False` makes it a key by identity."""

    copied: Any


@dataclass(frozen=True, eq=False)
class _Parts:
    """An object's attributes or a container's items, by name or place."""

    kind: type
    parts: dict[Any, Any]


def capture_objects(root: Any) -> Any:
    """Copy all numbers that can be reached from an object."""
    return _capture(root, {})


def restore_objects(root: Any, captured: Any) -> None:
    """Give an object, and all that can be reached from it, the numbers of a copied one.

    Raises:
        ValueError: the two are not made of the same kinds of objects.
    """
    _restore(root, captured, {})


def capture_physics(model: Any, data: Any) -> dict[str, np.ndarray]:
    """Copy MuJoCo's state, and what it has derived from it: images are drawn from that."""
    captured = {f"data.{name}": getattr(data, name).copy() for name in _fixed_arrays(data)}
    captured |= {f"model.{name}": getattr(model, name).copy() for name in MOVED_BY_RESETS}
    state = np.empty(mujoco.mj_stateSize(model, _integration()))
    mujoco.mj_getState(model, data, state, _integration())
    return captured | {"state": state}


def restore_physics(model: Any, data: Any, captured: dict[str, np.ndarray]) -> None:
    """Write a captured state into another simulation of an equal model.

    Raises:
        ValueError: the model has another size.
    """
    if len(captured["state"]) != mujoco.mj_stateSize(model, _integration()):
        raise UserError("this snapshot is of another simulation: their states differ in size")
    for name in MOVED_BY_RESETS:
        getattr(model, name)[:] = captured[f"model.{name}"]
    mujoco.mj_setState(model, data, captured["state"], _integration())
    # Contacts and constraints fit the new state afterwards. What MuJoCo derived from the state may
    # lag behind it by a substep, so that it is copied and not left as computed here.
    mujoco.mj_forward(model, data)
    for name in _fixed_arrays(data):
        getattr(data, name)[...] = captured[f"data.{name}"]


def _integration() -> int:
    return mujoco.mjtState.mjSTATE_INTEGRATION.value


def _fixed_arrays(data: Any) -> list[str]:
    """MuJoCo's arrays that keep their size."""
    return [
        name
        for name in dir(data)
        if not name.startswith(("_", *ARENA))
        and isinstance(getattr(data, name), np.ndarray)
        and getattr(data, name).dtype.kind in "biuf"
    ]


def _parts_of(value: Any) -> dict[Any, Any] | None:
    """Attributes or items to walk through; None where there is nothing to walk."""
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value))
    if type(value).__module__.startswith(OWN_PACKAGES) and hasattr(value, "__dict__"):
        return vars(value)
    return None


def _capture(value: Any, seen: dict[int, Any]) -> Any:
    if id(value) in seen:
        return seen[id(value)]
    parts = _parts_of(value)
    if isinstance(value, PLAIN) or (isinstance(value, np.ndarray) and _holds_own_numbers(value)):
        seen[id(value)] = _Value(copy.deepcopy(value))
    elif parts is not None:
        found: dict[Any, Any] = {}
        # Entered before its parts, which may refer back to it.
        seen[id(value)] = _Parts(type(value), found)
        found.update({key: _capture(part, seen) for key, part in list(parts.items())})
    else:
        return _KEEP
    return seen[id(value)]


def _restore(present: Any, captured: Any, done: dict[Any, Any]) -> Any:
    """The object to stand in the place of `present`; objects and containers are filled in place."""
    if captured is _KEEP:
        return present
    if captured in done:
        return done[captured]
    if isinstance(captured, _Value):
        done[captured] = copy.deepcopy(captured.copied)
        return done[captured]
    if type(present) is not captured.kind:
        raise UserError(
            f"this snapshot is of another simulation: it has a {captured.kind.__name__} where "
            f"this one has a {type(present).__name__}"
        )
    done[captured] = present
    before = _parts_of(present)
    # An empty container is filled too, hence no `or {}`.
    before = {} if before is None else before
    # What is not copied and absent here, such as a cached property, is made when asked for.
    parts = {
        key: _restore(before.get(key), part, done)
        for key, part in captured.parts.items()
        if part is not _KEEP or key in before
    }
    if isinstance(present, tuple):
        make = getattr(type(present), "_make", type(present))
        done[captured] = make(parts.values())
    elif isinstance(present, list):
        present[:] = parts.values()
    else:
        before.clear()
        before.update(parts)
    return done[captured]


def _holds_own_numbers(array: np.ndarray) -> bool:
    """True if an array is no window on MuJoCo's memory, which is copied with the physics."""
    base: Any = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return isinstance(base, np.ndarray) and array.dtype.kind in "biufU"
