"""Conversions of actions between conventions; every one has its inverse."""

import re

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.dataset.records import ActionConvention

_GRIPPER_WORDS = re.compile(r"([-+]?[0-9.]+)\s+(open|close)s?")
_GRIPPER_NAMES = ("gripper", "grasp", "finger", "effector")


def unknown_convention(names: tuple[str, ...], *, action_hz: float) -> ActionConvention:
    """The convention of a dataset without one: absolute values in units of their own."""
    return ActionConvention(
        mode="absolute",
        names=names,
        units=("unknown",) * len(names),
        scale=(1.0,) * len(names),
        frame="unknown",
        rotation="none",
        gripper="unknown",
        action_hz=action_hz,
        known=False,
    )


def to_physical(
    actions: Float[np.ndarray, "*t a"], convention: ActionConvention
) -> Float[np.ndarray, "*t a"]:
    """Stored actions in the convention's units (metres, radians), any normalisation undone."""
    scale, offset = _affine(actions, convention)
    return actions * scale + offset


def from_physical(
    physical: Float[np.ndarray, "*t a"], convention: ActionConvention
) -> Float[np.ndarray, "*t a"]:
    """Inverse of `to_physical`."""
    scale, offset = _affine(physical, convention)
    return (physical - offset) / scale


def gripper_ends(convention: ActionConvention) -> tuple[float, float] | None:
    """The stored values that (open, close) the gripper; None where they are not known."""
    if convention.gripper_open is not None and convention.gripper_closed is not None:
        return convention.gripper_open, convention.gripper_closed
    found = {word: value for value, word in _GRIPPER_WORDS.findall(convention.gripper)}
    if set(found) != {"open", "close"}:
        return None
    return float(found["open"]), float(found["close"])


def is_gripper(name: str) -> bool:
    """True if a dimension of an action or a state belongs to a gripper, by its name."""
    return any(word in name.lower() for word in _GRIPPER_NAMES)


def flip_gripper(
    actions: Float[np.ndarray, "*t a"], *, dimension: int, low: float = -1.0, high: float = 1.0
) -> Float[np.ndarray, "*t a"]:
    """Turn open into closed within [low, high]; its own inverse."""
    flipped = actions.copy()
    flipped[..., dimension] = low + high - actions[..., dimension]
    return flipped


def _affine(
    actions: Float[np.ndarray, "*t a"], convention: ActionConvention
) -> tuple[np.ndarray, np.ndarray]:
    """Physical = stored * first + second, in the kind of number that the actions have."""
    if not convention.known:
        raise UserError(
            "the dataset does not say what its actions mean, so they have no physical units; write "
            "an ActionConvention into its meta/roboscape.json"
        )
    if actions.shape[-1] != len(convention.scale):
        raise UserError(
            f"the convention names {len(convention.scale)} action dimensions, the actions have "
            f"{actions.shape[-1]}; use the convention of their own dataset"
        )
    scale = np.asarray(convention.scale, dtype=actions.dtype)
    if convention.normalization == "none":
        return scale, np.zeros_like(scale)
    stored_scale = np.asarray(convention.normalization_scale, dtype=actions.dtype)
    return stored_scale * scale, np.asarray(convention.normalization_offset, scale.dtype) * scale
