"""The protocol of policies: from the frames of a batch of worlds to chunks of native actions.

`PolicyDriver` (`driver.py`) runs any of them in any simulator. It keeps the frames that a policy
wants to see, asks for a new chunk when one is used up, and checks what means what.

Axes: b world, t frame, h height, w width, y and x token, s state dimension, c action of a chunk,
a action dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from roboscape.core.errors import UserError
from roboscape.dataset.records import ActionConvention
from roboscape.simulators.protocol import Index, Mask, WorldSpec

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """The observations that a policy takes and the actions that it gives."""

    cameras: tuple[str, ...]
    """Cameras whose RGB images it is shown."""
    depth_cameras: tuple[str, ...] = ()
    """Cameras whose depth it is shown, in metres."""
    image_size: int = 0
    """Height and width of its images in pixels; 0 where it takes any size."""
    encoder_sha256: str = ""
    """Hash of the encoder whose tokens it reads in place of RGB; empty: it reads RGB. In worlds
    that are imagined in these tokens it is shown them; elsewhere it is shown RGB, and encodes it.
    """
    state_names: tuple[str, ...] = ()
    """Dimensions of the robot's state that it is shown, in this order; empty: none."""
    frames: int = 1
    """Frames that it is shown: the newest one, and those before it."""
    frame_hz: float
    """Frames a second: how far apart the frames that it is shown lie."""
    action: ActionConvention
    """What the numbers of its actions mean, and how many there are a second."""
    chunk: int
    """Actions that it gives at once."""
    executed: int
    """Actions of a chunk that are taken before it is asked again."""
    reads_task: bool = False
    """Whether the text of the task changes what it does."""

    def __post_init__(self) -> None:
        """Refuse chunks and histories that are empty."""
        if self.frames < 1 or not 1 <= self.executed <= self.chunk or self.frame_hz <= 0:
            raise UserError(
                "expected frames >= 1, 1 <= executed <= chunk and frame_hz > 0, got frames "
                f"{self.frames}, executed {self.executed}, chunk {self.chunk}, frame_hz "
                f"{self.frame_hz:g}"
            )


@dataclass(frozen=True, kw_only=True)
class PolicyInput:
    """The frames that a policy is shown, oldest first; a world that is younger repeats its first.

    It holds what `PolicySpec` names and nothing else.
    """

    rgb: dict[str, UInt8[np.ndarray, "b t h w 3"]]
    """By camera name."""
    depth_m: dict[str, Float[np.ndarray, "b t h w"]]
    """By camera name, along the optical axis."""
    tokens: dict[str, Int[np.ndarray, "b t y x"]] = field(default_factory=dict)
    """Of RGB, by camera name, in place of it; empty where the policy is shown RGB."""
    state: Float[np.ndarray, "b t s"]
    """In the order of `PolicySpec.state_names`."""
    task: str = ""
    """What is to be done, in words."""

    def __len__(self) -> int:
        """Number of worlds."""
        return len(self.state)


@runtime_checkable
class Policy(Protocol):
    """A policy that acts in a batch of worlds. What it does in one never depends on another."""

    @property
    def spec(self) -> PolicySpec:
        """Its observations and actions."""
        ...

    def reset(self, seeds: Sequence[int], *, where: Mask | None = None) -> None:
        """Begin episodes anew, each with the random numbers of its seed.

        Args:
            seeds: one for each chosen world. Equal seeds and equal observations give equal actions.
            where: worlds that begin anew while the others go on; without it all do, and there are
                as many worlds as seeds.
        """
        ...

    def act(self, observed: PolicyInput, *, worlds: Index) -> Float[np.ndarray, "b c a"]:
        """The next chunk of actions of some worlds.

        Args:
            observed: what is to be seen in them.
            worlds: their numbers, in the order of `observed`.
        """
        ...

    def close(self) -> None:
        """Free what it holds; it cannot be used afterwards."""
        ...


def begun_anew(values: Sequence[Value], new: Sequence[Value], *, where: Mask | None) -> list[Value]:
    """One value a world, as `Policy.reset` asks: those of the chosen worlds are the new ones.

    Args:
        values: of all worlds.
        new: one for each chosen world.
        where: the chosen worlds; all, and as many as there are new values, where not given.
    """
    if where is None:
        return list(new)
    after = list(values)
    for world, value in zip(np.flatnonzero(where).tolist(), new, strict=True):
        after[world] = value
    return after


def reads_tokens_of(policy: PolicySpec, world: WorldSpec) -> bool:
    """Whether a policy is shown a simulator's tokens in place of RGB."""
    return bool(policy.encoder_sha256) and policy.encoder_sha256 == world.encoder_sha256


def check_policy_fits(policy: PolicySpec, world: WorldSpec) -> None:
    """Refuse to run a policy where its observations or actions would mean something else.

    Actions at a rate that divides the simulator's, or is a multiple of it, are converted
    (`PolicyDriver`); all else must agree.

    Args:
        policy: of the policy.
        world: of the simulator.

    Raises:
        ValueError: a camera, depth or state that the simulator does not show, another image size,
            another spacing of frames, another meaning of actions, or rates that do not divide.
    """
    cameras = {camera.name: camera for camera in world.cameras}
    for name in (*policy.cameras, *policy.depth_cameras):
        if name not in cameras:
            raise UserError(
                f"this policy is shown camera {name!r}, and the simulator has "
                f"{', '.join(cameras) or 'none'}; give the simulator that camera, or train the "
                "policy on one that it has"
            )
        found = cameras[name]
        if policy.image_size not in (0, found.height):
            raise UserError(
                f"this policy was trained on images of {policy.image_size} pixels, and the "
                f"simulator's camera {name!r} has {found.height}; make the simulator with "
                f"image_size={policy.image_size}"
            )
    for name in policy.depth_cameras:
        if not cameras[name].has_depth:
            raise UserError(f"this policy is shown the depth of {name!r}, which has none here")
    if unknown := [name for name in policy.state_names if name not in world.state_names]:
        raise UserError(
            f"this policy is shown the state {', '.join(unknown)}, and the simulator's states are "
            f"{', '.join(world.state_names) or 'none (its bundle has no arm model)'}"
        )
    if policy.frames > 1 and policy.frame_hz != world.frame_hz:
        raise UserError(
            f"this policy was trained on frames {policy.frame_hz:g} a second, and the simulator "
            f"shows {world.frame_hz:g}; frames of another spacing show another speed"
        )
    _check_actions(policy.action, world.action)


def _check_actions(policy: ActionConvention, world: ActionConvention) -> None:
    """Refuse actions that mean other things, or whose rates do not divide."""
    if replace(policy, action_hz=world.action_hz) != world:
        different = [
            f"{name}: {value!r} against {vars(world)[name]!r}"
            for name, value in vars(policy).items()
            if value != vars(world)[name] and name != "action_hz"
        ]
        raise UserError(
            f"this policy's actions do not mean what the simulator's do ({'; '.join(different)}); "
            "convert the dataset that it is trained on (`roboscape import`, docs/conventions.md)"
        )
    fast, slow = sorted([policy.action_hz, world.action_hz], reverse=True)
    if fast % slow:
        raise UserError(
            f"this policy gives {policy.action_hz:g} actions a second and the simulator takes "
            f"{world.action_hz:g}; one rate must be a multiple of the other"
        )
