"""Drivers: where the actions of the next frame come from.

A driver is asked once a frame. To add one (a policy, a planner), write a class with `actions` and
name it in `DRIVERS`; a page chooses it by that name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from roboscape.controls.signals import gripper_dimensions
from roboscape.core.errors import UserError
from roboscape.dataset.conventions import gripper_ends
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention
from roboscape.play.frames import Frame
from roboscape.play.history import Future
from roboscape.simulators.protocol import WorldSpec

Actions = Float[np.ndarray, "stride a"]
"""Native actions between two frames, stored units."""


@runtime_checkable
class Driver(Protocol):
    """Chooses actions, a frame at a time."""

    def actions(self, frame: Frame, number: int) -> Actions | None:
        """Native actions that lead from a frame to the next one; None where it has no more.

        Args:
            frame: The present one.
            number: Its number.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The things that a driver may be made from."""

    spec: WorldSpec
    dataset: LeRobotDataset | None
    """The recordings that were named, if any."""
    future: Callable[[int], Future]
    """A future of the same world, by its number."""


class HandDriver:
    """Commands of a person: held until they change, averaged over every native step.

    A command that is held during a part of a native step counts with that share, so that neither a
    short press nor a quick turn is lost. Grippers and absolute commands are targets: of those the
    last one counts. Where the world runs slower than it should, the frame's native steps share the
    time that has passed.
    """

    def __init__(self, spec: WorldSpec) -> None:
        self._stride, self._action = spec.stride, spec.action
        self.held: Float[np.ndarray, " a"] = neutral(spec.action)
        """The present command, stored units."""
        self.sequence = 0
        """Number that the page gave its last command."""
        self._changes: list[tuple[float, Float[np.ndarray, " a"]]] = []
        self._before = self.held

    @property
    def is_neutral(self) -> bool:
        """True if nothing moves, and nothing was commanded since the last frame."""
        commands = [self._before, self.held, *(command for _, command in self._changes)]
        return all(self._moves_nothing(command) for command in commands)

    def command(self, values: Float[np.ndarray, " a"], *, sequence: int, now_s: float) -> None:
        """Hold another command from now on.

        Raises:
            ValueError: another number of values than the action's, or values beyond -1 to 1.
        """
        expected = len(self._action.names)
        if values.shape != (expected,) or not (np.abs(values) <= 1).all():
            raise UserError(
                f"expected {expected} values from -1 to 1 ({', '.join(self._action.names)}), got "
                f"{values.tolist()[:20]}"
            )
        self.held, self.sequence = values.astype(np.float32), sequence
        self._changes.append((now_s, self.held))

    def first_change_s(self, now_s: float) -> float:
        """Time of the first command that no frame has taken yet; now where there is none."""
        return min([time for time, _ in self._changes], default=now_s)

    def take(self, begin_s: float, end_s: float) -> Actions:
        """The actions of a frame that lasted from one time to another; the next one follows it.

        Of a frame that lasted no time (a world that was waiting) the held command is taken.
        """
        changes, self._changes = self._changes, []
        before, self._before = self._before, self.held
        if end_s <= begin_s:
            return np.repeat(self.held[None], self._stride, axis=0)
        # From the frame's begin on: a clock's large numbers would round short frames away.
        lasted_s = end_s - begin_s
        edges = np.linspace(0, lasted_s, self._stride + 1)
        times = np.clip([0, *(time - begin_s for time, _ in changes), lasted_s], 0, lasted_s)
        commands = np.stack([before, *(command for _, command in changes)])
        lengths = np.stack(
            [
                np.clip(times[1:], low, high) - np.clip(times[:-1], low, high)
                for low, high in pairwise(edges)
            ]
        )
        mean = lengths @ commands / (edges[1] - edges[0])
        # The command that holds at the end of each native step; a later one wins.
        last = commands[[int((times[:-1] <= high).nonzero()[0][-1]) for high in edges[1:]]]
        return np.where(targets(self._action), last, mean).astype(np.float32)

    def _moves_nothing(self, command: Float[np.ndarray, " a"]) -> bool:
        """True if a command leaves the arm where it is and the gripper as it was."""
        still = np.where(targets(self._action), self._before, 0)
        return bool(np.array_equal(command, still))


class RecordedDriver:
    """Actions that were written down: an episode's, or those of another future."""

    def __init__(self, actions: Float[np.ndarray, "n a"], *, stride: int) -> None:
        self._frames = [
            actions[row : row + stride] for row in range(0, len(actions) - stride + 1, stride)
        ]
        self._next = 0

    def actions(self, frame: Frame, number: int) -> Actions | None:
        """The next ones in turn, whatever the frame shows."""
        if self._next >= len(self._frames):
            return None
        self._next += 1
        return self._frames[self._next - 1]


def targets(action: ActionConvention) -> np.ndarray:
    """Dimensions whose command is a state to reach, not a motion."""
    if action.mode == "absolute":
        return np.ones(len(action.names), bool)
    return gripper_dimensions(action)


def neutral(action: ActionConvention) -> Float[np.ndarray, " a"]:
    """The command of somebody who has not touched anything: no motion, grippers open."""
    opened, _ = gripper_ends(action) or (-1.0, 1.0)
    return np.where(gripper_dimensions(action), opened, 0).astype(np.float32)


def of_episode(around: Surroundings, settings: Mapping[str, Any]) -> RecordedDriver:
    """The recorded actions of an episode, from a row on."""
    dataset, stride = around.dataset, around.spec.stride
    if dataset is None:
        raise UserError("recorded actions need a dataset; start `roboscape play` with --dataset")
    episode, row = int(settings.get("episode", 0)), int(settings.get("row", 0))
    actions = dataset.actions(episode)
    if not 0 <= row < len(actions):
        raise UserError(f"episode {episode} has rows 0 to {len(actions) - 1}, got {row}")
    if dataset.spec.action != around.spec.action:
        raise UserError("the dataset's actions mean other things than the model's")
    return RecordedDriver(actions[row:], stride=stride)


def of_future(around: Surroundings, settings: Mapping[str, Any]) -> RecordedDriver:
    """The actions of another future of this world, from a frame on."""
    since = int(settings.get("frame", 0))
    future = around.future(int(settings.get("future", 0)))
    later = future.frames[max(0, since - future.first + 1) :]
    taken = [frame.actions for frame in later if frame.actions is not None]
    if not taken:
        raise UserError("that future holds no actions from that frame on")
    return RecordedDriver(np.concatenate(taken), stride=around.spec.stride)


DRIVERS: dict[str, Callable[[Surroundings, Mapping[str, Any]], Driver]] = {
    "episode": of_episode,
    "future": of_future,
}
"""Drivers beside the player's own hands, by the name that a page asks for."""
