"""The description of a policy server: its policy, and the names of its observations.

A server of ours sends it in its metadata. Of other servers it is written in a JSON file, which
needs to hold only what differs from `OPENPI_LIBERO`.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.dataset.rotations import convert_rotation
from roboscape.policies.protocol import PolicyInput, PolicySpec
from roboscape.sources.osc_pose import OSC_POSE_ACTION

METADATA = "roboscape"
"""Key of a server's metadata that holds its description."""
SEED = "roboscape/seed"
"""Key of an observation that begins an episode, with the seed of its random numbers."""

QUATERNION = tuple(f"quaternion_{axis}" for axis in "xyzw")


@dataclass(frozen=True, kw_only=True)
class ServerDescription:
    """A policy and the keys of the observations that its server expects."""

    spec: PolicySpec
    """What the policy takes and gives."""
    image_keys: dict[str, str] = field(default_factory=dict)
    """Key of the RGB images of each camera of `spec.cameras`."""
    depth_keys: dict[str, str] = field(default_factory=dict)
    """Key of the depth in metres of each camera of `spec.depth_cameras`."""
    state_key: str = "observation/state"
    """Key of the robot's state; it is sent where `spec.state_names` names any."""
    state_rotation: Literal["recorded", "axis_angle"] = "recorded"
    """`axis_angle`: the four numbers of a quaternion in the state are sent as three."""
    prompt_key: str = "prompt"
    """Key of the task in words; it is sent where `spec.reads_task`."""
    prompt: str = ""
    """Words that are sent in place of the simulator's task."""
    sent_image_size: int = 0
    """Height and width that RGB images are resized to; 0: sent as they are."""
    seeded: bool = False
    """Whether the server begins an episode at `roboscape/seed` and remembers what it drew."""

    def __post_init__(self) -> None:
        """Refuse cameras without a key, and keys without a camera."""
        for what, keys, cameras in (
            ("image_keys", self.image_keys, self.spec.cameras),
            ("depth_keys", self.depth_keys, self.spec.depth_cameras),
        ):
            if set(keys) != set(cameras):
                raise UserError(
                    f"expected {what} of the cameras {', '.join(cameras) or 'none'}, got "
                    f"{', '.join(keys) or 'none'}; name the same in both"
                )


OPENPI_LIBERO = ServerDescription(
    spec=PolicySpec(
        cameras=("agentview", "wrist"),
        state_names=(
            *("eef_x", "eef_y", "eef_z"),
            *(f"eef_{name}" for name in QUATERNION),
            *("gripper_finger_1", "gripper_finger_2"),
        ),
        frame_hz=5.0,
        action=OSC_POSE_ACTION,
        chunk=8,
        executed=8,
        reads_task=True,
    ),
    image_keys={"agentview": "observation/image", "wrist": "observation/wrist_image"},
    state_rotation="axis_angle",
    sent_image_size=224,
)
"""openpi's configurations for LIBERO, whose robot and controller are those of our Lift."""


def description_of(spec: PolicySpec) -> ServerDescription:
    """The description of a server of ours: openpi's keys, as far as it has some."""
    usual = ("observation/image", "observation/wrist_image")
    more = [f"observation/{name}_image" for name in spec.cameras[len(usual) :]]
    return ServerDescription(
        # Tokens are not sent: the server's policy encodes the images that it gets.
        spec=replace(spec, encoder_sha256=""),
        image_keys=dict(zip(spec.cameras, [*usual, *more], strict=False)),
        depth_keys={name: f"observation/{name}_depth_m" for name in spec.depth_cameras},
        seeded=True,
    )


def read_description(path: Path) -> ServerDescription:
    """A description from a JSON file; what it does not hold is as in `OPENPI_LIBERO`.

    Raises:
        ValueError: it is no JSON, or has a key that descriptions do not have.
    """
    content, usual = read_json(path), asdict(OPENPI_LIBERO)
    if not isinstance(content, dict):
        raise UserError(f"expected {path} to hold a map, got a {type(content).__name__}")
    spec = {**usual["spec"], **content.get("spec", {})}
    spec["action"] = {**usual["spec"]["action"], **content.get("spec", {}).get("action", {})}
    merged = {**usual, **content, "spec": spec}
    return config_from_dict(ServerDescription, merged, where=str(path))


def description_in(metadata: Any) -> ServerDescription | None:
    """The description in a server's metadata; None where the server is not one of ours."""
    if not isinstance(metadata, dict) or METADATA not in metadata:
        return None
    return config_from_dict(ServerDescription, metadata[METADATA], where="the server's metadata")


def observation_of(
    description: ServerDescription, observed: PolicyInput, world: int
) -> dict[str, Any]:
    """The message that shows a server one of some worlds.

    A policy of one frame is sent images (h, w, 3), one of several frames (t, h, w, 3); states
    (s,) or (t, s).
    """
    content: dict[str, Any] = {}
    for name, key in description.image_keys.items():
        content[key] = _newest(_resized(observed.rgb[name][world], description.sent_image_size))
    for name, key in description.depth_keys.items():
        content[key] = _newest(observed.depth_m[name][world])
    if description.spec.state_names:
        content[description.state_key] = _newest(_state(description, observed.state[world]))
    if description.spec.reads_task:
        content[description.prompt_key] = description.prompt or observed.task
    return content


def _newest(frames: np.ndarray) -> np.ndarray:
    """One frame without the axis of frames, several with it."""
    return frames[0] if len(frames) == 1 else frames


def _resized(frames: np.ndarray, size: int) -> np.ndarray:
    """Square images (t, h, w, 3) of another size."""
    height, width = frames.shape[1:3]
    if (size in (0, height) and height == width) or not size:
        return frames
    if height != width:
        raise UserError(
            f"this server takes images of {size} x {size} pixels, and the simulator's have "
            f"{height} x {width}; show it square ones"
        )
    how = cv2.INTER_AREA if size < height else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (size, size), interpolation=how) for frame in frames])


def _state(description: ServerDescription, state: np.ndarray) -> np.ndarray:
    """A state (t, s) as the server wants it."""
    if description.state_rotation == "recorded":
        return state
    names = description.spec.state_names
    first = [i for i, name in enumerate(names) if name.endswith(QUATERNION[0])]
    wanted = [names[i : i + 4] for i in first]
    if len(first) != 1 or not all(
        name.endswith(end) for name, end in zip(wanted[0], QUATERNION, strict=True)
    ):
        raise UserError(
            "state_rotation is axis_angle: expected the state names to hold one quaternion, "
            f"...{', ...'.join(QUATERNION)}, got {', '.join(names)}"
        )
    start = first[0]
    turned = convert_rotation(
        state[:, start : start + 4].astype(np.float64),
        source="quaternion_xyzw",
        target="axis_angle",
    )
    parts = [state[:, :start], turned, state[:, start + 4 :]]
    return np.concatenate(parts, axis=1).astype(np.float32)
