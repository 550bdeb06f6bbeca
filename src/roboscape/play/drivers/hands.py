"""The hands of a person: commands that are held, as native actions."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from roboscape.controls.signals import gripper_dimensions
from roboscape.core.errors import UserError
from roboscape.dataset.conventions import gripper_ends
from roboscape.dataset.records import ActionConvention
from roboscape.play.drivers.protocol import Actions
from roboscape.simulators.protocol import WorldSpec


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


def targets(action: ActionConvention) -> np.ndarray:
    """Dimensions whose command is a state to reach, not a motion."""
    if action.mode == "absolute":
        return np.ones(len(action.names), bool)
    return gripper_dimensions(action)


def neutral(action: ActionConvention) -> Float[np.ndarray, " a"]:
    """The command of somebody who has not touched anything: no motion, grippers open."""
    opened, _ = gripper_ends(action) or (-1.0, 1.0)
    return np.where(gripper_dimensions(action), opened, 0).astype(np.float32)
