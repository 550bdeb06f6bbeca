"""Recorded actions: an episode's, or those of another future of the same world."""

import asyncio
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.play.drivers.protocol import Actions, Mark, Surroundings
from roboscape.play.history import Future


class RecordedDriver:
    """Actions that were written down, taken in turn whatever the frames show."""

    thinks = False
    ending = "The recorded actions are over."
    mark: Mark | None = None

    def __init__(self, actions: Float[np.ndarray, "n a"], *, stride: int, words: str) -> None:
        self.words = words
        self._frames = [
            actions[row : row + stride] for row in range(0, len(actions) - stride + 1, stride)
        ]
        self._next = 0

    async def actions(self, future: Future) -> Actions | None:
        """The next ones in turn."""
        del future
        if self._next >= len(self._frames):
            return None
        self._next += 1
        return self._frames[self._next - 1]

    def close(self) -> None:
        """Nothing to free."""


async def of_episode(around: Surroundings, settings: Mapping[str, int]) -> RecordedDriver:
    """The recorded actions of an episode, from a row on."""
    dataset, spec = around.stage.dataset, around.stage.spec
    if dataset is None:
        raise UserError("recorded actions need a dataset; start `roboscape play` with --dataset")
    episode, row = settings.get("episode", 0), settings.get("row", 0)
    actions = await asyncio.to_thread(dataset.actions, episode)
    if not 0 <= row < len(actions):
        raise UserError(f"episode {episode} has rows 0 to {len(actions) - 1}, got {row}")
    if dataset.spec.action != spec.action:
        raise UserError("the dataset's actions mean other things than the model's")
    return RecordedDriver(actions[row:], stride=spec.stride, words="Recorded actions drive")


async def of_future(around: Surroundings, settings: Mapping[str, int]) -> RecordedDriver:
    """The actions of another future of this world, from a frame on."""
    since = settings.get("frame", 0)
    future = around.future(settings.get("future", 0))
    later = future.frames[max(0, since - future.first + 1) :]
    taken = [frame.actions for frame in later if frame.actions is not None]
    if not taken:
        raise UserError("that future holds no actions from that frame on")
    return RecordedDriver(
        np.concatenate(taken),
        stride=around.stage.spec.stride,
        words=f"The actions of future {future.number + 1} drive",
    )
