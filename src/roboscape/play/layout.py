"""Keys, pads and sliders for a robot's actions, and the cameras for point clouds.

Directions are those of the picture: the key for left moves the arm along the robot's axis that
points most to the left in the image, as far as the camera's pose is known.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from roboscape.controls.signals import gripper_dimensions
from roboscape.core.errors import UserError
from roboscape.dataset.cameras import camera_pose
from roboscape.dataset.conventions import gripper_ends
from roboscape.dataset.records import ActionConvention, DatasetSpec

ASSUMED_FIELD_OF_VIEW_DEG = 60.0
"""Of a camera whose focal length is not known."""
TURNS = (("k", "i"), ("j", "l"), ("u", "o"))
"""Keys for negative and positive turns about the three axes."""
OPPOSITE = {"left": "right", "away": "closer", "up": "down"}


@dataclass(frozen=True, kw_only=True)
class CameraView:
    """A camera as a page needs it to unproject depth."""

    name: str
    height: int
    width: int
    focal_px: float
    measured: bool
    """Whether the focal length is known; else it is assumed."""
    camera_to_world: list[list[float]] | None
    """Rotation, 3 × 3; axes x right, y up, z backward. None where the pose is not known."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """A command that a key or a button gives while it is held."""

    name: str
    """What it does, in words."""
    key: str
    """`KeyboardEvent.key`, lower case."""
    dimension: int
    """Of the action."""
    value: float
    """Stored units."""
    toggles: bool = False
    """Whether the value stays after the key is let go."""
    group: str = "move"
    """`move`, `turn` or `grip`."""


def camera_view(spec: DatasetSpec, camera: str, state: Float[np.ndarray, " s"]) -> CameraView:
    """A camera of a dataset or a simulator's spec; pose and focal length as far as known."""
    found = next(one for one in spec.cameras if one.name == camera)
    try:
        pose = camera_pose(spec, camera, state)
    except UserError:
        focal_px = found.height / 2 / np.tan(np.deg2rad(ASSUMED_FIELD_OF_VIEW_DEG) / 2)
        return CameraView(
            name=camera,
            height=found.height,
            width=found.width,
            focal_px=float(focal_px),
            measured=False,
            camera_to_world=None,
        )
    fixed = found.geometry is not None and found.geometry.mount == "world"
    return CameraView(
        name=camera,
        height=found.height,
        width=found.width,
        focal_px=pose.focal_px,
        measured=True,
        camera_to_world=pose.camera_to_world.tolist() if fixed else None,
    )


def controls_for(action: ActionConvention, view: CameraView | None) -> list[Control]:
    """Keys for the dimensions of a delta action; none for absolute ones, which have sliders only.

    Args:
        action: What the numbers mean; a robot's base is taken to have the world's axes.
        view: The camera that is looked through; without a pose, left is the robot's left.
    """
    if action.mode == "absolute":
        return []
    return [*_moves(action, view), *_turns(action), *_grips(action)]


def _moves(action: ActionConvention, view: CameraView | None) -> list[Control]:
    """Keys of the three translations."""
    axes = {name[-1]: place for place, name in enumerate(action.names) if _is_move(name)}
    if not axes.keys() >= {"x", "y"}:
        return []
    # Of a person who stands behind the robot: x is away from them, y to their left.
    right, away = np.array([0.0, -1.0]), np.array([1.0, 0.0])
    if view is not None and view.camera_to_world is not None:
        rotation = np.array(view.camera_to_world)
        right = rotation[:2, 0]
        # A camera that looks straight down has its image's top away from it.
        away = -rotation[:2, 2] if np.linalg.norm(rotation[:2, 2]) > 0.3 else rotation[:2, 1]
    sideways = int(np.abs(right).argmax())
    forward = 1 - sideways
    keys = [
        ("left", "a", "d", axes["xy"[sideways]], -np.sign(right[sideways])),
        ("away", "w", "s", axes["xy"[forward]], np.sign(away[forward]) or 1.0),
    ]
    if "z" in axes:
        keys.append(("up", "r", "f", axes["z"], 1.0))
    return [
        Control(name=name, key=key, dimension=place, value=float(value))
        for words, first, second, place, sign in keys
        for name, key, value in ((words, first, sign), (OPPOSITE[words], second, -sign))
    ]


def _is_move(name: str) -> bool:
    """True if a dimension translates, by its name: `eef_x`, `hand_y`, `z`."""
    return name.rpartition("_")[2] in ("x", "y", "z")


def _turns(action: ActionConvention) -> list[Control]:
    found = [(axis, place) for axis in "xyz" for place in _places(action, f"r{axis}")]
    return [
        Control(name=f"turn {axis} {sign}", key=key, dimension=place, value=value, group="turn")
        for (axis, place), keys in zip(found, TURNS, strict=False)
        for sign, key, value in (("−", keys[0], -1.0), ("+", keys[1], 1.0))
    ]


def _grips(action: ActionConvention) -> list[Control]:
    opened, closed = gripper_ends(action) or (-1.0, 1.0)
    return [
        Control(name=name, key=key, dimension=int(place), value=value, toggles=True, group="grip")
        for place in np.flatnonzero(gripper_dimensions(action))
        for name, key, value in (("open gripper", "q", opened), ("close gripper", "e", closed))
    ]


def _places(action: ActionConvention, ending: str) -> list[int]:
    return [place for place, name in enumerate(action.names) if name.rpartition("_")[2] == ending]
