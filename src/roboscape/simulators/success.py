"""Rules that say when a task is solved: functions of observations, for all environments."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from roboscape.core.errors import UserError
from roboscape.simulators.lift_cube import RISE_HEIGHT, table_inverse_depth, watch_cube
from roboscape.simulators.protocol import Mask, Observation


@runtime_checkable
class Success(Protocol):
    """Follows a batch of worlds; each has a state of its own here, begun by `reset`."""

    def reset(self, observation: Observation, *, where: Mask) -> None:
        """The chosen worlds began anew, and this is their first frame."""
        ...

    def __call__(self, observation: Observation) -> Bool[np.ndarray, " b"]:
        """In which worlds the task is solved in this frame."""
        ...


class TrueSuccess:
    """The success that the simulator itself reports; only a true one does."""

    def reset(self, observation: Observation, *, where: Mask) -> None:
        """Nothing to remember."""

    def __call__(self, observation: Observation) -> Bool[np.ndarray, " b"]:
        """In which worlds the simulator counts the task as solved.

        Raises:
            ValueError: the simulator does not say.
        """
        if observation.success is None:
            raise UserError(
                "this simulator does not say whether the task is solved; give the environment a "
                "success function of observations, such as roboscape.simulators.success.CubeRaised"
            )
        return observation.success


class CubeRaised:
    """Lift, read off RGB and depth: the cube is above the table (`lift_cube` has the rule)."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._tables: dict[int, Float[np.ndarray, "h w"]] = {}

    def reset(self, observation: Observation, *, where: Mask) -> None:
        """Find the table in the first frame of the chosen worlds.

        Raises:
            ValueError: no depth, or no table in it.
        """
        if self._camera not in observation.depth_m:
            raise UserError(
                f"the cube's height needs the depth of camera {self._camera!r}, and the simulator "
                f"gives that of {', '.join(observation.depth_m) or 'none'}"
            )
        for world in np.flatnonzero(where):
            depth_m = observation.depth_m[self._camera][world]
            self._tables[int(world)] = table_inverse_depth(depth_m)

    def __call__(self, observation: Observation) -> Bool[np.ndarray, " b"]:
        """True where the cube is seen higher than a resting one can be."""
        return self.heights(observation) > RISE_HEIGHT

    def heights(self, observation: Observation) -> Float[np.ndarray, " b"]:
        """The cube's height in every world, as a fraction of the camera's own; NaN where unseen.

        Raises:
            ValueError: a world that was never reset.
        """
        frames = zip(observation.rgb[self._camera], observation.depth_m[self._camera], strict=True)
        return np.array(
            [self._height(world, rgb, depth_m) for world, (rgb, depth_m) in enumerate(frames)]
        )

    def _height(self, world: int, rgb: np.ndarray, depth_m: np.ndarray) -> float:
        if world not in self._tables:
            raise UserError(
                f"world {world} was never reset, so its table is not known; call `reset` with its "
                "first frame"
            )
        found = watch_cube(rgb[None], depth_m[None], table=self._tables[world])
        return float(found.height[0])
