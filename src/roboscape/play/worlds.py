"""The imagined and the true worlds of all players, each kind in one thread.

A thread is all that a graphics context may be used from, and all that a batch of worlds may be
stepped by; while one computes, the other one and the server go on.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.dataset.depth_codec import DepthCodec
from roboscape.play.frames import Pictures
from roboscape.play.pool import Kept, WorldPool
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.sampling import Sampling
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import Simulator, Start, WorldSpec

Result = TypeVar("Result")
Actions = Float[np.ndarray, "stride a"]

TEMPERATURES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
"""Temperatures to choose from: worlds of one temperature are stepped together."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One world's part of a step."""

    actions: Actions
    temperature: float = 0.0
    """Of an imagined world."""
    copies: bool = False
    """Whether a copy of the world is wanted afterwards."""
    sequence: int = 0
    """Number that the page gave the last command that went into the actions."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The result of a step of one world."""

    pictures: Pictures
    copy: Kept | None = None


class Worlds:
    """Worlds of one kind, in a thread of their own; pools by temperature.

    All methods may be called from the server's thread; they wait for the worlds' own.
    """

    def __init__(
        self,
        make: Callable[[float], Simulator],
        *,
        codec: DepthCodec,
        make_single: Callable[[], Simulator] | None = None,
        name: str,
    ) -> None:
        """Open the first pool.

        Args:
            make: Returns a simulator of one world, of a temperature.
            codec: How depth is kept.
            make_single: Returns one that copies single worlds out of batches (`WorldPool`).
            name: Of the thread.
        """
        self._make, self._codec = make, codec
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._pools: dict[float, WorldPool] = {}
        self._single: Simulator | None = None
        self._make_single = make_single
        self.spec: WorldSpec = self._thread.submit(lambda: self._pool(0.0).simulator.spec).result()
        """What all worlds share."""

    async def begin(
        self, player: str, start: Start, *, seed: int, temperature: float = 0.0
    ) -> Seen:
        """Begin a player's world; returns its first frame, and a copy of the world."""

        def work() -> Seen:
            pool = self._pool(temperature)
            seen = pool.begin(player, start, seed=seed)
            for other in self._pools.values():
                if other is not pool:
                    other.drop(player)
            return Seen(pictures=Pictures.of(seen, self._codec), copy=pool.keep(player))

        return await self.compute(work)

    async def step(self, turns: Mapping[str, Turn]) -> dict[str, Seen]:
        """Take a frame in some players' worlds, those of one temperature together."""
        return await self.compute(lambda: self._step(turns))

    async def go_to(
        self,
        player: str,
        copy: Kept,
        way: Sequence[Turn],
        *,
        temperature: float = 0.0,
    ) -> None:
        """Put a player's world where a copy was taken, take these frames, and go on from there.

        Args:
            player: Its name.
            copy: Where it is put.
            way: The frames, each at its own temperature.
            temperature: That of the frames after them.
        """

        def work() -> None:
            self._drop(player)
            now = copy
            for before, turns in groupby(way, key=lambda turn: turn.temperature):
                pool = self._pool(before)
                pool.restore(player, now)
                pool.advance(player, [turn.actions for turn in turns])
                now = pool.keep(player)
                pool.drop(player)
            self._pool(temperature).restore(player, now)

        await self.compute(work)

    async def sample(self, player: str, *, temperature: float, seed: int) -> None:
        """Draw otherwise from here on."""

        def work() -> None:
            before = self._pool_of(player)
            copy = before.keep(player)
            before.drop(player)
            pool = self._pool(temperature)
            pool.restore(player, copy)
            pool.reseed(player, seed)

        await self.compute(work)

    async def copy(self, player: str) -> Kept:
        """A copy of a player's world."""
        return await self.compute(lambda: self._pool_of(player).keep(player))

    async def drop(self, player: str) -> None:
        """Free a player's world, if it has one."""
        await self.compute(lambda: self._drop(player))

    async def players(self) -> set[str]:
        """Names of the players that have a world."""
        return await self.compute(
            lambda: {name for pool in self._pools.values() for name in pool.players}
        )

    async def ask(self, question: Callable[[Simulator], Result]) -> Result:
        """Something that the simulator is asked in its thread."""
        return await self.compute(lambda: question(self._pool(0.0).simulator))

    def another(self) -> LearnedSimulator:
        """One more simulator of the same imagined worlds; to be called in their thread.

        Raises:
            TypeError: these worlds are not imagined.
        """
        simulator = self._pool(0.0).simulator
        if not isinstance(simulator, LearnedSimulator):
            raise TypeError(f"expected imagined worlds, got those of {type(simulator).__name__}")
        return LearnedSimulator(
            simulator.bundle,
            cameras=tuple(camera.name for camera in self.spec.cameras),
            task=self.spec.task,
            decode="none",
        )

    def close(self) -> None:
        """Close all simulators, and end the thread."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    async def compute(self, work: Callable[[], Result]) -> Result:
        """The result of a work in the worlds' thread, the only one that uses their device."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _step(self, turns: Mapping[str, Turn]) -> dict[str, Seen]:
        found: dict[str, Seen] = {}
        for temperature in {turn.temperature for turn in turns.values()}:
            pool = self._pool(temperature)
            together = {
                player: turn.actions
                for player, turn in turns.items()
                if turn.temperature == temperature
            }
            for player, seen in pool.step(together).items():
                copy = pool.keep(player) if turns[player].copies else None
                found[player] = Seen(pictures=Pictures.of(seen, self._codec), copy=copy)
        return found

    def _pool(self, temperature: float) -> WorldPool:
        if temperature not in TEMPERATURES:
            raise UserError(
                f"expected a temperature of {', '.join(map(str, TEMPERATURES))}, got {temperature}"
            )
        if temperature not in self._pools:
            if self._make_single is not None and self._single is None:
                self._single = self._make_single()
            self._pools[temperature] = WorldPool(self._make(temperature), single=self._single)
        return self._pools[temperature]

    def _pool_of(self, player: str) -> WorldPool:
        for pool in self._pools.values():
            if player in pool.players:
                return pool
        raise UserError("this world has not begun; choose a start first")

    def _drop(self, player: str) -> None:
        for pool in self._pools.values():
            pool.drop(player)

    def _close(self) -> None:
        for pool in self._pools.values():
            pool.close()


def imagined_worlds(bundle: Bundle, *, cameras: tuple[str, ...], task: str) -> Worlds:
    """Worlds that a bundle imagines.

    Args:
        bundle: Prepared for a device.
        cameras: Names of its views.
        task: What is to be done, in words, for models of many tasks.
    """

    def make(temperature: float) -> LearnedSimulator:
        sampling = Sampling(temperature=temperature)
        return LearnedSimulator(bundle, cameras=cameras, sampling=sampling, task=task)

    def make_single() -> LearnedSimulator:
        return LearnedSimulator(bundle, cameras=cameras, task=task, decode="none")

    return Worlds(
        make,
        codec=codec_of(bundle),
        make_single=make_single,
        name="imagined",
    )


def codec_of(bundle: Bundle) -> DepthCodec:
    """The codec of a bundle's depth, over the range of its tokenizer."""
    config = bundle.tokenizer.config
    return DepthCodec(minimum_m=config.depth_min_m, maximum_m=config.depth_max_m)
