"""A policy as a driver: it is shown what the world imagines, and its actions are taken."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from roboscape.core.errors import UserError
from roboscape.dataset.depth_codec import DepthCodec
from roboscape.play.drivers.protocol import Actions, Mark, Surroundings
from roboscape.play.frames import Frame, Pictures
from roboscape.play.history import Future
from roboscape.policies.driver import PolicyDriver
from roboscape.policies.opening import is_address
from roboscape.simulators.protocol import Observation

Compute = Callable[[Callable[[], Actions]], Awaitable[Actions]]


class ActingDriver:
    """Actions of a policy, which is shown the imagined frames and nothing else."""

    thinks = True
    ending = "The policy has no more actions."
    mark: Mark | None = None

    def __init__(
        self, driver: PolicyDriver, *, seed: int, codec: DepthCodec, compute: Compute, words: str
    ) -> None:
        """Drive by a policy.

        Args:
            driver: Of one world, checked against it.
            seed: Of the policy's random numbers.
            codec: How depth is kept.
            compute: Runs the policy where it may compute, and waits for it.
            words: Who drives.
        """
        self.words = words
        self._driver, self._seed, self._codec, self._compute = driver, seed, codec, compute
        self._acted_on: Frame | None = None
        self._busy = self._closed = False

    async def actions(self, future: Future) -> Actions | None:
        """The policy's actions; it begins anew where the world is not where they led."""
        self._busy = True
        try:
            return await self._compute(lambda: self._act(future.frames[-2:]))
        finally:
            self._busy = False
            if self._closed:
                self._driver.policy.close()

    def close(self) -> None:
        """Free the policy, after its present decision."""
        self._closed = True
        if not self._busy:
            self._driver.policy.close()

    def _act(self, frames: list[Frame]) -> Actions:
        *before, now = frames
        seen = observation_of(now.imagined, self._codec)
        if before and before[0] is self._acted_on:
            self._driver.observe(seen)
        else:
            self._driver.reset(seen, seeds=[self._seed])
        self._acted_on = now
        return self._driver.actions()[0]


def observation_of(pictures: Pictures, codec: DepthCodec) -> Observation:
    """The observation of one world that some pictures were made of; inverse of `Pictures.of`."""
    return Observation(
        rgb={name: rgb[None] for name, rgb in pictures.rgb.items()},
        depth_m={name: codec.decode(codes)[None] for name, codes in pictures.depth_codes.items()},
        state=pictures.state[None],
    )


async def of_policy(around: Surroundings, settings: Mapping[str, int]) -> ActingDriver:
    """One of the server's policies, by its place in the list, with a seed."""
    stage = around.stage
    number, seed = settings.get("policy", 0), settings.get("seed", 0)
    if not 0 <= number < len(stage.policies):
        raise UserError(
            f"there is no policy {number}; the server has {len(stage.policies)}. Start "
            "`roboscape play` with --policies"
        )
    if seed < 0:
        raise UserError(f"expected a seed of 0 or more, got {seed}")
    name = stage.policies[number]
    compute = asyncio.to_thread if is_address(name) else stage.imagined.compute
    driver = await compute(lambda: stage.policy(name))
    return ActingDriver(
        driver, seed=seed, codec=stage.codec, compute=compute, words=f"The policy {name} drives"
    )
