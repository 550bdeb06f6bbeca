"""Records about recordings that stages pass on to each other: frozen, never dictionaries."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from roboscape.core.errors import UserError

ControlMode = Literal["delta", "absolute"]
Split = Literal["train", "validation", "test"]
Commands = Literal["recorded", "next_state", "current_state"]
"""What stands in rows whose command was not recorded, see `DatasetSpec.commands`."""

RandomScenes = Literal["none", "colours", "all"]
"""What a simulator draws anew for every episode, from its seed: nothing, colours and lights, or
camera poses too."""

FIRST_VALIDATION_SEED = 800_000
FIRST_TEST_SEED = 900_000
"""A simulated episode's split follows from its seed; seeds below the first are for training."""


@dataclass(frozen=True, kw_only=True)
class ActionConvention:
    """The meaning of an action's numbers; kept in a dataset's `meta/roboscape.json`."""

    mode: ControlMode
    """Deltas are stacked between two model frames; of absolute poses the last one is taken."""
    names: tuple[str, ...]
    """One name a dimension, e.g. `eef_x`."""
    units: tuple[str, ...]
    """The unit of one physical unit of each dimension, e.g. `m`, `rad`, `1`."""
    scale: tuple[float, ...]
    """Physical units per stored unit; 0.05 where a stored 1.0 commands 5 cm."""
    frame: str
    """The frame that positions and rotations are expressed in, e.g. `robot_base`."""
    rotation: Literal[
        "none", "axis_angle", "euler_xyz", "quaternion_xyzw", "quaternion_wxyz", "rotation_6d"
    ]
    """How rotations are written."""
    gripper: str
    """Direction of the gripper's dimension in words, e.g. `-1 opens, +1 closes`."""
    action_hz: float
    """Actions a second."""
    known: bool = True
    """False where the dataset has no convention, and the other fields are guesses."""
    gripper_open: float | None = None
    """Stored value that opens the gripper; None where only the text of `gripper` describes it."""
    gripper_closed: float | None = None
    """Stored value that closes it."""
    normalization: Literal["none", "mean_std", "min_max", "quantiles"] = "none"
    """What was done to the values before they were stored."""
    normalization_offset: tuple[float, ...] = ()
    """One a dimension: value = stored * `normalization_scale` + offset; empty where none."""
    normalization_scale: tuple[float, ...] = ()
    """One a dimension; empty where nothing was normalised."""

    def __post_init__(self) -> None:
        """Refuse a convention whose fields do not describe the same dimensions."""
        if not len(self.names) == len(self.units) == len(self.scale):
            raise UserError(
                f"an action convention needs one name, unit and scale a dimension; got "
                f"{len(self.names)} names, {len(self.units)} units, {len(self.scale)} scales"
            )
        expected = 0 if self.normalization == "none" else len(self.names)
        if not len(self.normalization_offset) == len(self.normalization_scale) == expected:
            raise UserError(
                f"normalization {self.normalization} of {len(self.names)} dimensions needs "
                f"{expected} offsets and scales; got {len(self.normalization_offset)} and "
                f"{len(self.normalization_scale)}"
            )


@dataclass(frozen=True, kw_only=True)
class CameraGeometry:
    """The pose of a pinhole camera in every episode; axes x right, y up, z backward (OpenGL's)."""

    mount: Literal["world", "hand"]
    """What it is fixed to, and so the frame that its pose is given in: the world, or the hand's
    recorded pose. A hand whose rotation is not recorded has the world's axes."""
    position_m: tuple[float, float, float]
    quaternion_xyzw: tuple[float, float, float, float]
    """Turns the camera's axes to the frame's."""
    focal_px: float
    """Of the stored image, turned upright; its principal point is its middle."""


@dataclass(frozen=True, kw_only=True)
class CameraSpec:
    """A camera: feature `observation.images.<name>`, depth `observation.images.<name>_depth`."""

    name: str
    height: int
    width: int
    has_depth: bool = False
    turned_deg: int = 0
    """How far the stored images are turned from upright, 0 or 180; 0 in all that is imported."""
    supersampling: int = 1
    """Side of the square of rendered pixels whose mean is one stored pixel; 1 where no renderer
    says so. A real camera integrates light over its pixels; a single sample would alias."""
    geometry: CameraGeometry | None = None
    """None where it is unknown or not the same in every episode (`dataset/cameras.py` reads it)."""


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """All that is the same for every episode of a dataset."""

    fps: float
    """Frames a second on disk, the recording's native rate; one action a frame."""
    robot_type: str
    cameras: tuple[CameraSpec, ...]
    state_names: tuple[str, ...]
    """Proprioception, one name a dimension, units in the name where not metres or radians."""
    object_names: tuple[str, ...] = ()
    """Coordinates of objects, one name a dimension, e.g. `cube_x`: a simulator knows them, no robot
    does (LeRobot's `observation.environment_state`)."""
    action: ActionConvention
    depth_min_m: float = 0.1
    depth_max_m: float = 10.0
    source: str = ""
    """Where the recordings come from, e.g. `robosuite 1.5.2 Lift`."""
    commands: Commands = "recorded"
    """`recorded`: actions are what was commanded. Else all or some rows lack a command and hold a
    recorded state: `next_state` that of the next row, so that a model is given the pose that it is
    to predict; `current_state` that of the row itself, which is known there (lag one)."""
    random_scenes: bool = False
    """Whether a simulator drew colours and lights anew for every episode from its seed."""
    random_cameras: bool = True
    """Whether it drew camera poses too, where it drew colours and lights."""

    @property
    def drawn(self) -> RandomScenes:
        """The properties that a simulator drew anew for every episode."""
        if not self.random_scenes:
            return "none"
        return "all" if self.random_cameras else "colours"


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Points followed through an episode, from the frame that they were sampled in.

    Axes: t time, k point. Pixel coordinates (x right, y down) of the stored image, pixel centres at
    integers.
    """

    xy_px: Float[np.ndarray, "t k 2"]
    visible: Bool[np.ndarray, "t k"]
    on_moving_body: Bool[np.ndarray, " k"] | None = None
    """True where the point belongs to a body that can move; only simulators provide it."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One recording. Row t: the observation at t and the action taken there, leading to t + 1."""

    frames: dict[str, UInt8[np.ndarray, "t h w 3"]]
    """By camera name."""
    depth_m: dict[str, Float[np.ndarray, "t h w"]]
    """By camera name; sensor or simulator depth only, estimates live in `annotations/`."""
    actions: Float[np.ndarray, "t a"]
    state: Float[np.ndarray, "t s"]
    reward: Float[np.ndarray, " t"]
    task: str
    success: bool
    seed: int
    """The episode's own seed; a recording that has none gets one when it is imported."""
    behaviour: str
    """What acted: `expert`, `noisy_expert`, `miss`, `random`, or a person."""
    tracks: dict[str, Tracks]
    """By camera name: a simulator's true tracks, kept under `annotations/`; else empty."""
    objects: Float[np.ndarray, "t o"] | None = None
    """Positions of objects; None where none are recorded."""
    split: Split | None = None
    """Its split; None: decided by its seed, as for a simulator (`dataset/splits.py`)."""

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.actions)
