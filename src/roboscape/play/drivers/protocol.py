"""The protocol of drivers, which choose the actions of the next frame."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from roboscape.play.frames import Frame
from roboscape.play.history import Future
from roboscape.play.stage import Stage

Actions = Float[np.ndarray, "stride a"]
"""Native actions between two frames, stored units."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A place in a camera's picture."""

    camera: str
    x_px: int
    y_px: int


@runtime_checkable
class Driver(Protocol):
    """Chooses actions, a frame at a time. Used in the server's thread."""

    @property
    def thinks(self) -> bool:
        """True if choosing takes long, so that other worlds go on meanwhile."""
        ...

    @property
    def words(self) -> str:
        """The driver's name, for the player."""
        ...

    @property
    def ending(self) -> str:
        """The reason why there are no more actions, for the player."""
        ...

    @property
    def mark(self) -> Mark | None:
        """The place that it drives to, if that can be shown."""
        ...

    async def actions(self, future: Future) -> Actions | None:
        """Native actions that lead on from the last frame of a future; None: there are no more."""
        ...

    def close(self) -> None:
        """Free what it holds, at once or as soon as it has chosen."""
        ...


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The things that a driver may be made from."""

    stage: Stage
    future: Callable[[int], Future]
    """A future of the same world, by its number."""
    shown: Frame
    """The frame that the player looks at, from which the world goes on."""
