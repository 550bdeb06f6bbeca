"""The meaning of actions to robosuite's controllers, from an environment's arguments."""

import logging
from typing import Any

from roboscape.dataset.conventions import unknown_convention
from roboscape.dataset.records import ActionConvention

log = logging.getLogger(__name__)

DEFAULT_HZ = 20.0
DEFAULT_OUTPUT_MAX = (0.05, 0.05, 0.05, 0.5, 0.5, 0.5)
"""Metres and radians that a stored 1.0 commands."""
GRIPPER = "-1 opens, +1 closes"


def control_hz(environment: dict[str, Any]) -> float:
    """Control steps a second."""
    return float(environment.get("env_kwargs", {}).get("control_freq", DEFAULT_HZ))


def osc_convention(environment: dict[str, Any], *, width: int, hz: float) -> ActionConvention:
    """Operational-space control: pose changes, axis-angle, and the gripper last; arm by arm.

    Args:
        environment: `env_args` of a robomimic file.
        width: numbers of an action.
        hz: actions a second.
    """
    controller = _controller(environment)
    kind = controller.get("type", "OSC_POSE")
    motion = {"OSC_POSE": 6, "OSC_POSITION": 3}.get(kind)
    if motion is None or width % (motion + 1):
        names = tuple(f"action_{number}" for number in range(width))
        log.warning("what %d actions mean to a %s controller is not known", width, kind)
        return unknown_convention(names, action_hz=hz)
    arms = width // (motion + 1)
    axes = ("eef_x", "eef_y", "eef_z", "eef_rx", "eef_ry", "eef_rz")[:motion]
    prefixes = [""] if arms == 1 else [f"robot{arm}_" for arm in range(arms)]
    absolute = (
        controller.get("control_delta") is False or controller.get("input_type") == "absolute"
    )
    reach = _as_tuple(controller.get("output_max", DEFAULT_OUTPUT_MAX), motion)
    scale = (1.0,) * motion if absolute else reach
    return ActionConvention(
        mode="absolute" if absolute else "delta",
        names=tuple(prefix + name for prefix in prefixes for name in (*axes, "gripper")),
        units=(*("m",) * 3, *("rad",) * (motion - 3), "1") * arms,
        scale=(*scale, 1.0) * arms,
        frame="robot_base",
        rotation="axis_angle" if motion == 6 else "none",
        gripper=GRIPPER,
        action_hz=hz,
        gripper_open=-1.0,
        gripper_closed=1.0,
    )


def _controller(environment: dict[str, Any]) -> dict[str, Any]:
    """The arm's controller; robosuite 1.5 keeps it by the body's part."""
    configured = environment.get("env_kwargs", {}).get("controller_configs", {})
    if isinstance(configured, list):
        configured = configured[0]
    parts = configured.get("body_parts") or {}
    return parts.get("right") or next(iter(parts.values()), configured)


def _as_tuple(value: Any, size: int) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) else [value] * size
    return tuple(float(number) for number in values[:size])
