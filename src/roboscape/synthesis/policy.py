"""A policy that acts in imagined worlds, closed loop."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.policies.driver import PolicyDriver
from roboscape.policies.protocol import Policy
from roboscape.simulators.protocol import Observation, WorldSpec


class PolicyActions:
    """The actions of a policy that sees every frame; a `FrameActions`.

    It sees what a `PolicyDriver` shows it, and acts on after the task is solved: the frames after a
    success are what a policy must learn to hold.
    """

    def __init__(self, policy: Policy, world: WorldSpec, *, seeds: Sequence[int]) -> None:
        """Check that the policy fits.

        Args:
            policy: Any.
            world: The simulator's specification.
            seeds: Of the policy's random numbers, one for each world.

        Raises:
            ValueError: another camera, image size, rate or action convention than the policy's.
        """
        self._driver, self._seeds = PolicyDriver(policy, world), list(seeds)

    def reset(self, observation: Observation) -> None:
        """All worlds began, and this is their first frame.

        Raises:
            ValueError: another number of worlds than of seeds.
        """
        if len(observation.state) != len(self._seeds):
            raise UserError(
                f"expected a seed for each of {len(observation.state)} worlds, got "
                f"{len(self._seeds)}"
            )
        self._driver.reset(observation, seeds=self._seeds)

    def __call__(self, observation: Observation, frame: int) -> Float[np.ndarray, "b stride a"]:
        """The actions that follow a frame."""
        if frame:
            self._driver.observe(observation)
        return self._driver.actions()
