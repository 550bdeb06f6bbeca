"""The data of a page beside the model: first frames, axes to drive, a backend check."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.records import ActionConvention
from roboscape.rollout.bundle import Bundle
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import FrameStart
from roboscape.simulators.starts import TrueStarts

DEPTH_UNIT_M = 1e-4
"""Depth of first frames is stored in these units as 16-bit integers: up to 6.5 m."""
CHECKED_FRAMES = 2
"""Frames whose tokens a page compares before it trusts a GPU."""


@dataclass(frozen=True, kw_only=True)
class PageStart:
    """A first frame as the page has it."""

    seed: int
    task: str
    rgb: UInt8[np.ndarray, "h w 3"]
    depth_units: UInt16[np.ndarray, "h w"]
    """Of `DEPTH_UNIT_M`."""
    state: Float32[np.ndarray, " s"]

    @property
    def depth_m(self) -> Float32[np.ndarray, "h w"]:
        """As the page computes it, to the last bit."""
        return (self.depth_units * DEPTH_UNIT_M).astype(np.float32)

    def bytes(self) -> bytes:
        """RGB, then depth, little-endian."""
        return self.rgb.tobytes() + self.depth_units.astype("<u2").tobytes()

    def start(self, camera: str) -> FrameStart:
        """The same for a simulator."""
        return FrameStart(
            rgb={camera: self.rgb},
            depth_m={camera: self.depth_m},
            state=self.state,
            task=self.task,
        )


def true_starts(bundle: Bundle, *, task: str, seeds: Sequence[int]) -> list[PageStart]:
    """The first frames that the true simulator of a task shows of some seeds.

    Raises:
        ValueError: the bundle was trained on several cameras or on another robot, or the simulator
            is not installed.
    """
    views, tokenizer = bundle.world_model.config.views, bundle.tokenizer.config
    if len(views) > 1:
        raise UserError(f"a page shows one camera, and this bundle has {', '.join(views)}")
    true = TrueStarts(task, cameras=views, image_size=tokenizer.image_size)
    try:
        if true.action != bundle.controls.convention:
            raise UserError(
                f"expected a simulator whose actions mean\n  {bundle.controls.convention}\nand "
                f"those of {task} mean\n  {true.action}\nName the task of the bundle's training"
            )
        starts = [true(seed) for seed in seeds]
    finally:
        true.close()
    furthest_m = min(tokenizer.depth_max_m, DEPTH_UNIT_M * np.iinfo(np.uint16).max)
    return [
        PageStart(
            seed=seed,
            task=start.task,
            rgb=start.rgb[true.camera],
            depth_units=np.round(
                start.depth_m[true.camera].clip(0, furthest_m) / DEPTH_UNIT_M
            ).astype(np.uint16),
            state=np.asarray(start.state, np.float32),
        )
        for seed, start in zip(seeds, starts, strict=True)
    ]


def describe_starts(
    simulator: LearnedSimulator, starts: Sequence[PageStart]
) -> list[dict[str, Any]]:
    """The numbers that the page reads beside the pixels: state, tokens, the arm model's memory."""
    (camera,) = simulator.cameras
    described = []
    for number, start in enumerate(starts):
        simulator.reset([start.start(camera)])
        memory = simulator.snapshot().content.controls
        arm = {"state": memory.state}
        if simulator.bundle.controls.proprioception is None:
            arm["moved"] = memory.moved
        else:
            arm |= {"hidden": memory.hidden, "normalized_state": memory.normalized}
        described.append(
            {
                "seed": start.seed,
                "task": start.task if simulator.bundle.controls.statistics.task_size else "",
                "file": f"starts/{number}.bin",
                "codes": simulator.tokens.flatten().tolist(),
                "arm": {name: value[0].tolist() for name, value in arm.items()},
            }
        )
    return described


def backend_check(simulator: LearnedSimulator, start: PageStart) -> dict[str, Any]:
    """Actions from the first start, and the tokens that this machine imagines under them."""
    (camera,) = simulator.cameras
    simulator.reset([start.start(camera)])
    shape = (CHECKED_FRAMES, simulator.spec.stride, len(simulator.spec.action.names))
    actions = numpy_generator_for(0).uniform(-0.5, 0.5, shape).astype(np.float32)
    return {
        "start": 0,
        "actions": actions.tolist(),
        "codes": [tokens_after(simulator, frame) for frame in actions],
    }


def tokens_after(simulator: LearnedSimulator, actions: Float[np.ndarray, "stride a"]) -> list[int]:
    """Tokens of the frame that actions lead to."""
    simulator.step(actions[None])
    return simulator.tokens.flatten().tolist()


SEEN_BY_AGENTVIEW = {
    "eef_y": (("Left", "ArrowLeft", "KeyA"), ("Right", "ArrowRight", "KeyD"), 1.0),
    "eef_x": (("Away", "ArrowUp", "KeyW"), ("Closer", "ArrowDown", "KeyS"), 1.0),
    "eef_z": (("Down", "KeyF"), ("Up", "KeyR"), 1.0),
    "eef_rz": (("Turn ↻", "KeyE"), ("Turn ↺", "KeyQ"), 0.4),
}
"""Directions as robosuite's front camera shows them: it looks at the robot, so that the base's +x
comes nearer and +y goes to the right. Label and keys of the negative and the positive direction,
and the share of the strength that suits the dimension."""
GRID_AREAS = {
    "eef_y": ("2 / 1", "2 / 3"),
    "eef_x": ("1 / 2", "2 / 2"),
    "eef_z": ("2 / 4", "1 / 4"),
    "eef_rz": ("1 / 3", "1 / 1"),
}
"""Places of both pads, row / column."""
GAMEPAD = {
    "eef_y": {"stick": 0},
    "eef_x": {"stick": 1},
    "eef_z": {"stick": 3, "invert": True},
    "eef_rz": {"negativeButton": 5, "positiveButton": 4},
}
"""Of the standard layout: sticks by axis, buttons by number."""
OTHER_KEYS = (("KeyA", "KeyD"), ("KeyS", "KeyW"), ("KeyF", "KeyR"), ("KeyE", "KeyQ"))


def driven_axes(convention: ActionConvention, *, camera: str) -> list[dict[str, Any]]:
    """The dimensions that have pads and keys, with labels of their directions.

    Seen by another camera than robosuite's front one, directions are named by their dimension.
    """
    known = SEEN_BY_AGENTVIEW if camera == "agentview" else {}
    if found := [name for name in known if name in convention.names]:
        return [known_axis(convention, name) for name in found]
    dimensions = [i for i, name in enumerate(convention.names) if name != "gripper"]
    return [
        other_axis(convention, index, number)
        for number, index in enumerate(dimensions[: len(OTHER_KEYS)])
    ]


def known_axis(convention: ActionConvention, name: str) -> dict[str, Any]:
    """A dimension whose directions have names."""
    (down, *down_keys), (up, *up_keys), scale = SEEN_BY_AGENTVIEW[name]
    below, above = GRID_AREAS[name]
    return {
        "index": convention.names.index(name),
        "scale": scale,
        "negative": {"label": down, "keys": down_keys, "area": below},
        "positive": {"label": up, "keys": up_keys, "area": above},
        "gamepad": GAMEPAD[name],
    }


def other_axis(convention: ActionConvention, index: int, number: int) -> dict[str, Any]:
    """A dimension that is named as its convention names it."""
    name = convention.names[index].replace("_", " ")
    below, above = OTHER_KEYS[number]
    return {
        "index": index,
        "scale": 1.0,
        "negative": {"label": f"{name} −", "keys": [below], "area": f"2 / {number + 1}"},
        "positive": {"label": f"{name} +", "keys": [above], "area": f"1 / {number + 1}"},
        "gamepad": {"stick": number},
    }


def gripper_of(convention: ActionConvention) -> dict[str, Any] | None:
    """The gripper's dimension and its two commands; None where there is none."""
    if "gripper" not in convention.names:
        return None
    opened, closed = convention.gripper_open, convention.gripper_closed
    if opened is None or closed is None:
        if convention.gripper != "-1 opens, +1 closes":
            raise UserError(
                "expected a convention that says by which values the gripper opens and closes, "
                f"got `{convention.gripper}`; state gripper_open and gripper_closed"
            )
        opened, closed = -1.0, 1.0
    return {"index": convention.names.index("gripper"), "open": opened, "closed": closed}


def write_starts(starts: Sequence[PageStart], folder: Path) -> None:
    """Write the pixels of first frames, a file each."""
    folder.mkdir(parents=True)
    for number, start in enumerate(starts):
        (folder / f"{number}.bin").write_bytes(start.bytes())
