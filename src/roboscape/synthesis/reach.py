"""The places that commands bring the hand to, by the arm model: reach, and aiming at a place."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from roboscape.controls.proprioception import Proprioception
from roboscape.core.errors import UserError
from roboscape.dataset.cameras import hand_columns, named_hand
from roboscape.dataset.records import ActionConvention

AIM_STEPS = 6
AIM_TOLERANCE_M = 0.003
"""Aiming ends when the hand is this close to its place."""
SMALLEST_GAIN = 0.05
"""Of commanded motion that arrives: below it, a correction would be many times the error."""


@dataclass(frozen=True, kw_only=True)
class ArmRange:
    """The range of the states that an arm model was trained on; nothing is known outside."""

    low: tuple[float, ...]
    """Quantile .001 of every state dimension."""
    high: tuple[float, ...]
    """Quantile .999."""
    deviation: tuple[float, ...]
    """Standard deviation; what never changes counts as 1."""

    @classmethod
    def of(cls, states: Float[np.ndarray, "n s"]) -> "ArmRange":
        """The range of recorded states."""
        low, high = np.quantile(states.astype(np.float64), (0.001, 0.999), axis=0)
        deviation = states.astype(np.float64).std(axis=0)
        deviation = np.where(deviation < 1e-6, 1.0, deviation)
        return cls(
            low=tuple(low.tolist()), high=tuple(high.tolist()), deviation=tuple(deviation.tolist())
        )

    def excess(self, states: Float[np.ndarray, "*b t s"]) -> Float[np.ndarray, "*b"]:
        """The distance of the farthest state from the range, in deviations; 0 inside."""
        low, high, deviation = (np.array(x) for x in (self.low, self.high, self.deviation))
        outside = np.maximum(np.maximum(low - states, states - high), 0) / deviation
        return np.asarray(outside.max(axis=(-2, -1)))


@dataclass(frozen=True, kw_only=True)
class Reach:
    """An arm model with the places of a hand's position in its state and in its actions."""

    arm: Proprioception
    hand: tuple[int, ...]
    """State dimensions x, y, z of the hand, in metres."""
    moves: tuple[int, ...]
    """Action dimensions x, y, z, in the same frame's directions."""

    @classmethod
    def of(cls, arm: Proprioception) -> "Reach":
        """The reach of an arm model.

        Raises:
            ValueError: absolute actions, or no hand position in state and actions.
        """
        convention, names = arm.config.convention, arm.config.state_names
        moves = tuple(i for i, unit in enumerate(convention.units) if unit == "m")[:3]
        if convention.mode != "delta" or len(moves) != 3 or named_hand(names) is None:
            raise UserError(
                "actions can be perturbed or recombined where they are the hand's motion (delta, "
                f"three dimensions in m) and the state holds its position (eef_x, ...); these are "
                f"{convention.mode} actions {', '.join(convention.names)}, and the state holds "
                f"{', '.join(names)}; use --actions replay"
            )
        return cls(arm=arm, hand=tuple(hand_columns(names)), moves=moves)

    @property
    def convention(self) -> ActionConvention:
        """The meaning of the actions."""
        return self.arm.config.convention

    def states(
        self, actions: Float[np.ndarray, "n a"], first_state: Float[np.ndarray, " s"]
    ) -> Float[np.ndarray, "n+1 s"]:
        """The states that actions lead to, from rest; the given one first."""
        return self.arm.imagine(actions[None], first_state[None])[0]

    def hand_m(
        self, actions: Float[np.ndarray, "n a"], first_state: Float[np.ndarray, " s"]
    ) -> Float[np.ndarray, "n+1 3"]:
        """The hand's positions that actions lead to, from rest."""
        return self.states(actions, first_state)[:, list(self.hand)]

    def moved(
        self, actions: Float[np.ndarray, "n a"], path_m: Float[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n a"]:
        """Actions that command an additional displacement, `path_m[t]` in all up to row t.

        Cut to what an action can say, -1 to 1.
        """
        scale = np.array(self.convention.scale)[list(self.moves)]
        changed = actions.astype(np.float64)
        changed[:, list(self.moves)] += np.diff(path_m, axis=0, prepend=np.zeros((1, 3))) / scale
        return np.clip(changed, -1, 1).astype(np.float32)

    def aimed(
        self,
        actions: Float[np.ndarray, "n a"],
        first_state: Float[np.ndarray, " s"],
        *,
        row: int,
        place_m: Float[np.ndarray, "3"],
    ) -> tuple[Float[np.ndarray, "n a"], float]:
        """Actions changed smoothly before a row so that the hand is at a place in it.

        Controllers lag, so a commanded displacement arrives in part; the arm model says in which,
        and the command is corrected by what is missing.

        Returns:
            The actions, and the distance in metres that remains.
        """
        ramp = np.zeros((len(actions), 1))
        # The last tenth is left as it was: there the fingers go down straight.
        end = max(1, round(0.9 * row))
        ramp[:end, 0] = (1 - np.cos(np.pi * np.arange(1, end + 1) / end)) / 2
        ramp[end:] = 1
        commanded_m = np.zeros(3)
        changed, error_m = actions, place_m - self.hand_m(actions[:row], first_state)[-1]
        gain = 1.0
        for _ in range(AIM_STEPS):
            if np.linalg.norm(error_m) < AIM_TOLERANCE_M:
                break
            correction_m = error_m / max(gain, SMALLEST_GAIN)
            commanded_m = commanded_m + correction_m
            changed = self.moved(actions, ramp * commanded_m)
            before_m = error_m
            error_m = place_m - self.hand_m(changed[:row], first_state)[-1]
            arrived = float((before_m - error_m) @ correction_m / (correction_m @ correction_m))
            gain = min(max(arrived, SMALLEST_GAIN), 2.0)
        return changed, float(np.linalg.norm(error_m))
