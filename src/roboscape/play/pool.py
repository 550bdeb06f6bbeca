"""Worlds of several players in one simulator: those that step together are one batch.

A world that does not take part in a step is parked as a snapshot, and comes back when its player
goes on. Only the simulators' protocol is used, so learned and true worlds are kept alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import Observation, Simulator, Snapshot, Start

Actions = Float[np.ndarray, "stride a"]
"""Native actions between two frames, stored units."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One world of a snapshot."""

    snapshot: Snapshot
    world: int = 0
    """Its number there."""


class WorldPool:
    """Players' worlds by name. To be used from one thread."""

    def __init__(self, simulator: Simulator, *, single: Simulator | None = None) -> None:
        """Take a simulator over, with whatever worlds it has.

        Args:
            simulator: The worlds that are stepped.
            single: Another simulator of the same kind, which copies single worlds out of batches,
                so that a kept world does not keep its neighbours' memory. Without it they are kept
                together.
        """
        self.simulator = simulator
        self._single = single
        self._present: list[str] = []
        self._parked: dict[str, Kept] = {}

    @property
    def players(self) -> set[str]:
        """Names of the players that have a world here."""
        return {*self._present, *self._parked}

    def begin(self, player: str, start: Start, *, seed: int | None = None) -> Observation:
        """Begin a player's world anew.

        Args:
            player: Its name.
            start: Where it begins.
            seed: Of what a learned simulator draws from here on, at a temperature above 0.

        Returns:
            Its first frame, as a batch of one.
        """
        self._make_room()
        # Where the start does not fit, the player keeps the world that was parked.
        seen = self.simulator.reset([start])
        self._parked.pop(player, None)
        self._present = [player]
        if seed is not None:
            self.reseed(player, seed)
        return seen

    def reseed(self, player: str, seed: int) -> None:
        """Give a player's world other draws from here on; nothing to do in a true simulator."""
        # Alone in its batch: draws depend on a world's number in it.
        self._arrange([player])
        if isinstance(self.simulator, LearnedSimulator):
            self.simulator.reseed(seed)

    def step(self, actions: Mapping[str, Actions]) -> dict[str, Observation]:
        """Take one frame in the worlds of some players; the other worlds stay as they are.

        Raises:
            ValueError: a player without a world, or actions of another shape than the simulator's.
        """
        players = list(actions)
        if set(players) == set(self._present):
            players = self._present
        self._arrange(players)
        seen = self.simulator.step(np.stack([actions[player] for player in players]))
        return {player: world_of(seen, number) for number, player in enumerate(players)}

    def advance(self, player: str, actions: Sequence[Actions]) -> Observation:
        """Take several frames in one world; only the last one is decoded, and returned."""
        simulator = self.simulator
        if not isinstance(simulator, LearnedSimulator):
            return [self.step({player: one}) for one in actions][-1][player]
        shown, simulator.decode = simulator.decode, "none"
        try:
            for one in actions:
                self.step({player: one})
        finally:
            simulator.decode = shown
        return simulator.observe()

    def keep(self, player: str) -> Kept:
        """A copy of a world, as `restore` takes it."""
        if player in self._parked:
            return self._parked[player]
        if player not in self._present:
            raise UserError(f"player {player} has no world here; begin one first")
        return self._copy(self.simulator.snapshot(), self._present.index(player))

    def restore(self, player: str, kept: Kept) -> None:
        """Put a kept world, of this pool or of one of an equal simulator, in a player's place."""
        self.drop(player)
        self._parked[player] = kept

    def drop(self, player: str) -> None:
        """Forget a player's world."""
        self._parked.pop(player, None)
        if player in self._present:
            others = [name for name in self._present if name != player]
            if others:
                self._arrange(others)
                self._parked.pop(player, None)
            else:
                self._present = []

    def close(self) -> None:
        """Close the simulators."""
        self.simulator.close()
        if self._single is not None:
            self._single.close()

    def _make_room(self) -> None:
        """Park all worlds, and have a batch of one for a new world."""
        if self._present:
            whole = self.simulator.snapshot()
            for number, name in enumerate(self._present):
                self._parked[name] = self._copy(whole, number)
            self.simulator.restore(whole, index=np.zeros(1, int))
            self._present = []
        elif self.simulator.batch > 1:
            self.simulator.restore(self.simulator.snapshot(), index=np.zeros(1, int))

    def _arrange(self, players: list[str]) -> None:
        """Make the batch exactly these players' worlds, in this order."""
        if players == self._present:
            return
        if missing := [name for name in players if name not in self.players]:
            raise UserError(f"players without a world here: {', '.join(missing)}; begin one first")
        whole = self.simulator.snapshot()
        before = {name: number for number, name in enumerate(self._present)}
        for name, number in before.items():
            if name not in players:
                self._parked[name] = self._copy(whole, number)
        # Worlds that come back are put over copies of any other.
        self.simulator.restore(whole, index=np.array([before.get(name, 0) for name in players]))
        for number, name in enumerate(players):
            if name not in before:
                kept = self._parked.pop(name)
                where = np.arange(len(players)) == number
                self.simulator.restore(kept.snapshot, where=where, index=np.array([kept.world]))
        self._present = list(players)

    def _copy(self, whole: Snapshot, number: int) -> Kept:
        """One world of a batch's snapshot, without its neighbours where that can be."""
        if len(whole) == 1 or self._single is None:
            return Kept(snapshot=whole, world=number)
        self._single.restore(whole, index=np.array([number]))
        return Kept(snapshot=self._single.snapshot())


def world_of(seen: Observation, number: int) -> Observation:
    """One world of an observation, as a batch of one."""
    one = slice(number, number + 1)
    return replace(
        seen,
        rgb={name: pixels[one] for name, pixels in seen.rgb.items()},
        depth_m={name: depth_m[one] for name, depth_m in seen.depth_m.items()},
        state=seen.state[one],
        confidence={name: grid[one] for name, grid in seen.confidence.items()},
        tokens={name: grid[one] for name, grid in seen.tokens.items()},
        success=None if seen.success is None else seen.success[one],
    )
