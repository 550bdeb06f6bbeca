"""Perturbed demonstrations: other speed, other moments, other ways to the same place."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.conventions import is_gripper
from roboscape.dataset.records import ActionConvention
from roboscape.simulators.protocol import EpisodeStart
from roboscape.synthesis.plan import Demonstrations, Plan, fitted, grasp_row
from roboscape.synthesis.reach import ArmRange, Reach

TRIES = 12
MISSED_M = 0.01
"""A perturbation that ends farther from the demonstration's grasp is drawn anew."""


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """The largest changes of actions."""

    speed: float = 0.2
    """Largest change of speed: the path is commanded up to 1 + this times as fast, or as slow."""
    pause_rows: int = 6
    """Longest pause put in before the gripper closes, native rows."""
    place_m: float = 0.03
    """Largest detour of the hand on its way to the grasp, in metres a direction."""
    reach: float = 0.5
    """How far the arm model's states may leave the demonstrations' range, in deviations."""

    def __post_init__(self) -> None:
        """Refuse changes that mean nothing."""
        if self.speed < 0 or self.pause_rows < 0 or self.place_m < 0 or self.reach < 0:
            raise UserError(f"perturbations must not be negative, got {self}")


@dataclass(frozen=True)
class Perturb:
    """Demonstrations' actions, perturbed, from their own starts."""

    demonstrations: Demonstrations
    reach: Reach
    settings: Perturbation
    rows: int
    """Native rows of an imagined episode."""

    @cached_property
    def range(self) -> ArmRange:
        """The range of the demonstrations' states."""
        known = self.demonstrations
        return ArmRange.of(np.concatenate([known.dataset.state(e) for e in known.episodes]))

    def plan(self, seed: int, *, number: int) -> Plan:
        """A perturbation of the demonstration of this number; see the protocol.

        What the arm model says would leave the demonstrations' range, or miss the place where they
        close the gripper, is drawn again, each time smaller.
        """
        known = self.demonstrations
        place = number % len(known)
        recorded, state = known.actions[place], known.first_states[place]
        for tried in range(TRIES):
            generator = numpy_generator_for(seed, 21, tried)
            share = 1 - tried / TRIES
            actions, changes = perturbed(
                recorded, self.reach, settings=self.settings, share=share, generator=generator
            )
            missed_m = 0.0
            if changes["grasp_row"] is not None:
                actions, missed_m = self._aimed(recorded, actions, state, changes)
            actions = fitted(actions, rows=self.rows, convention=known.convention)
            excess = float(self.range.excess(self.reach.states(actions, state)))
            if excess <= self.settings.reach and missed_m <= MISSED_M:
                episode = known.episodes[place]
                info = known.dataset.episode_info(episode)
                return Plan(
                    seed=seed,
                    start=EpisodeStart(dataset=known.dataset, episode=episode),
                    actions=actions,
                    split=info.split,
                    task=info.task,
                    origin={
                        "source": "perturb",
                        "demonstration": episode,
                        **changes,
                        "tries": tried + 1,
                        "aim_error_m": missed_m,
                        "range_excess": excess,
                    },
                )
        raise UserError(
            f"demonstration {known.episodes[place]} of {known.dataset.root}: {TRIES} perturbations "
            "all leave what the arm model calls reachable, its own actions too; leave it out, or "
            "raise --perturbation.reach"
        )

    def _aimed(
        self, recorded: np.ndarray, actions: np.ndarray, state: np.ndarray, changes: dict[str, Any]
    ) -> tuple[np.ndarray, float]:
        """Actions whose hand is where the demonstration's was as the gripper closes."""
        before = grasp_row(recorded, self.demonstrations.convention)
        assert before is not None
        place_m = self.reach.hand_m(recorded[:before], state)[-1]
        return self.reach.aimed(actions, state, row=changes["grasp_row"], place_m=place_m)


def perturbed(
    actions: Float[np.ndarray, "n a"],
    reach: Reach,
    *,
    settings: Perturbation,
    share: float,
    generator: np.random.Generator,
) -> tuple[Float32[np.ndarray, "m a"], dict[str, Any]]:
    """Actions with another speed, a pause and a detour before the grasp, and what was changed.

    Args:
        actions: Native ones.
        reach: Which dimensions move the hand.
        settings: Largest changes.
        share: Of the largest changes.
        generator: Draws them.
    """
    convention = reach.convention
    factor = float((1 + share * settings.speed) ** generator.uniform(-1, 1))
    changed = at_speed(actions, factor, convention=convention)
    row = grasp_row(changed, convention)
    about: dict[str, Any] = {"speed": factor, "pause_rows": 0, "detour_m": [0.0] * 3}
    if row is None or row < 2:
        return changed, {**about, "grasp_row": None}
    pause = int(generator.integers(0, round(share * settings.pause_rows) + 1))
    at = int(generator.integers(1, row))
    rest = fitted(changed[at - 1 : at], rows=1 + pause, convention=convention)[1:]
    changed = np.concatenate([changed[:at], rest, changed[at:]])
    row += pause
    detour_m = share * settings.place_m * generator.uniform(-1, 1, 3)
    bump = np.zeros((len(changed), 1))
    bump[:row, 0] = np.sin(np.pi * np.arange(1, row + 1) / row) ** 2
    changed = reach.moved(changed, bump * detour_m)
    about |= {"pause_rows": pause, "detour_m": detour_m.tolist(), "grasp_row": row}
    return changed.astype(np.float32), about


def at_speed(
    actions: Float[np.ndarray, "n a"], factor: float, *, convention: ActionConvention
) -> Float32[np.ndarray, "m a"]:
    """Delta actions that command the same path `factor` times as fast; the gripper keeps its place.

    Cut to what an action can say, -1 to 1.
    """
    count = max(1, round(len(actions) / factor))
    at = np.linspace(0, len(actions), count + 1)
    path = np.concatenate([np.zeros((1, actions.shape[1])), np.cumsum(actions, axis=0)])
    known = np.arange(len(path))
    moved = np.stack([np.interp(at, known, column) for column in path.T], axis=1)
    changed = np.clip(np.diff(moved, axis=0), -1, 1)
    nearest = np.minimum(at[:-1].round().astype(int), len(actions) - 1)
    held = np.array([is_gripper(name) for name in convention.names])
    changed[:, held] = actions[nearest][:, held]
    return changed.astype(np.float32)
