"""The protocol of simulators: a batch of worlds to reset, step, copy and hand on.

Two stand behind it: `LearnedSimulator` (a bundle imagines) and `MujocoSimulator` (true physics).
Whatever uses the first can be checked against the second with the same code.

Axes: b world, h height, w width, s state dimension, a action dimension, m modality, y and x token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention, CameraSpec

Mask = Bool[np.ndarray, " b"]
"""Which worlds of a batch."""
Index = Int[np.ndarray, " n"]
"""Worlds of a snapshot by number; repeats make forks."""


@dataclass(frozen=True, kw_only=True)
class WorldSpec:
    """The specification that all worlds of a simulator share."""

    cameras: tuple[CameraSpec, ...]
    """Names, sizes, and whether each gives depth."""
    frame_hz: float
    """Frames a second: of observations, and of calls of `step`."""
    stride: int
    """Native actions between two frames."""
    action: ActionConvention
    """What the numbers of an action mean; `action_hz` is `frame_hz` times `stride`."""
    state_names: tuple[str, ...]
    """One a dimension of an observation's state; empty where nothing says where the robot is."""
    task: str = ""
    """What is to be done, in words."""
    encoder_sha256: str = ""
    """Hash of the encoder whose tokens observations hold; empty where they hold none."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One frame of every world."""

    rgb: dict[str, UInt8[np.ndarray, "b h w 3"]]
    """By camera name; without the cameras that a simulator was asked not to show."""
    depth_m: dict[str, Float[np.ndarray, "b h w"]]
    """Along the optical axis, by camera name; empty where there is none."""
    state: Float[np.ndarray, "b s"]
    """The robot's proprioception: simulated, or imagined; as long as `WorldSpec.state_names`."""
    confidence: dict[str, Float[np.ndarray, "b y x"]] = field(default_factory=dict)
    """Probability that the model gave each token that it chose, by camera name; empty where nothing
    is imagined, 1 in given frames."""
    tokens: dict[str, Int[np.ndarray, "b m y x"]] = field(default_factory=dict)
    """Tokens of each camera's frame (m RGB, then depth), by camera name; empty where nothing is
    imagined."""
    success: Bool[np.ndarray, " b"] | None = None
    """Whether the task is solved, where the simulator itself knows; else None."""


@dataclass(frozen=True, kw_only=True)
class EpisodeStart:
    """A frame of a recorded episode."""

    dataset: LeRobotDataset
    episode: int
    row: int = 0
    """Native row of the frame."""
    prompt_frames: int = 1
    """Given frames: this one and those `stride` rows apart before it. A true simulator needs one
    and takes no notice of others."""


@dataclass(frozen=True, kw_only=True)
class FrameStart:
    """An image, depth and state of one's own; a true simulator cannot start there."""

    rgb: dict[str, UInt8[np.ndarray, "h w 3"]]
    depth_m: dict[str, Float[np.ndarray, "h w"]] = field(default_factory=dict)
    state: Float[np.ndarray, " s"]
    state_before: Float[np.ndarray, " s"] | None = None
    """One native row earlier, which says how fast the arm is; without it the arm rests."""
    objects: Float[np.ndarray, " o"] | None = None
    """Where objects are, in metres, for a bundle whose arm model takes them; read off the frame
    where not given."""
    task: str = ""
    """What is to be done, in words; empty: what the simulator was made for."""


@dataclass(frozen=True, kw_only=True)
class SeedStart:
    """The scene that a seed places; only a true simulator knows it."""

    seed: int


Start = EpisodeStart | FrameStart | SeedStart


@dataclass(frozen=True)
class Snapshot:
    """Everything that the worlds' futures depend on; opaque to all but the simulator it is of."""

    content: Any
    size: int
    """Number of worlds."""

    def __len__(self) -> int:
        """Number of worlds."""
        return self.size


@runtime_checkable
class Simulator(Protocol):
    """A batch of worlds. Each has its own age; what is done to one never touches another."""

    @property
    def spec(self) -> WorldSpec:
        """The specification that all worlds share."""
        ...

    @property
    def batch(self) -> int:
        """Number of worlds."""
        ...

    def reset(self, starts: Sequence[Start], *, where: Mask | None = None) -> Observation:
        """Begin anew, one start a world; with a mask, only the chosen worlds, in their order.

        Returns:
            What is to be seen in all worlds.

        Raises:
            ValueError: another number of starts than of chosen worlds, or one that does not fit.
        """
        ...

    def step(self, actions: Float[np.ndarray, "b stride a"]) -> Observation:
        """Take the native actions that lie between this frame and the next.

        Raises:
            ValueError: another shape than (`batch`, `spec.stride`, action size), a number that is
                not finite, or a world that was never reset.
        """
        ...

    def snapshot(self) -> Snapshot:
        """Copy what all worlds' futures depend on; stepping afterwards leaves the copy alone."""
        ...

    def restore(
        self, snapshot: Snapshot, *, where: Mask | None = None, index: Index | None = None
    ) -> Observation:
        """Go on from a snapshot of this simulator, or of another of the same kind and spec.

        Args:
            snapshot: What `snapshot` gave.
            where: Worlds that are replaced while the others go on. Without it all worlds are, and
                the batch becomes as large as `index`.
            index: The snapshot's worlds to take, in this order, repeats allowed; all where not
                given.

        Returns:
            What is to be seen in all worlds.
        """
        ...

    def close(self) -> None:
        """Free what it holds; it cannot be used afterwards."""
        ...


def fork(simulator: Simulator, copies: int) -> Observation:
    """Turn every world into `copies` equal ones, next to each other."""
    index = np.repeat(np.arange(simulator.batch), copies)
    return simulator.restore(simulator.snapshot(), index=index)
