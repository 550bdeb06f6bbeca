"""The judge by rule: Lift's cube, read off RGB and depth."""

import numpy as np
from jaxtyping import Bool

from roboscape.core.errors import UserError
from roboscape.judge.protocol import Verdict, VerdictCounts
from roboscape.simulators.lift_cube import RISE_HEIGHT
from roboscape.simulators.protocol import Mask, Observation
from roboscape.simulators.success import CubeRaised


class RuleJudge:
    """`CubeRaised`, with frames in which no cube is seen counted as unknown; a `Judge`."""

    def __init__(self, camera: str) -> None:
        self.camera = camera
        self.counts = VerdictCounts()
        self._rule = CubeRaised(camera)

    def reset(self, observation: Observation, *, where: Mask) -> None:
        """Find the table in the first frame of the chosen worlds.

        Raises:
            ValueError: no such camera, no depth, or no table in it.
        """
        check_camera(self.camera, observation, needs_depth=True)
        self._rule.reset(observation, where=where)

    def verdict(self, observation: Observation) -> Verdict:
        """Success where the cube is higher than a resting one can be.

        Raises:
            ValueError: no such camera or depth, or a world that was never reset.
        """
        check_camera(self.camera, observation, needs_depth=True)
        heights = self._rule.heights(observation)
        unknown = ~np.isfinite(heights)
        success = np.where(unknown, 0.0, heights) > RISE_HEIGHT
        probability = np.where(unknown, np.nan, success.astype(np.float64))
        return self.counts.add(Verdict(success=success, unknown=unknown, probability=probability))

    def __call__(self, observation: Observation) -> Bool[np.ndarray, " b"]:
        """In which worlds the task is solved in this frame."""
        return self.verdict(observation).success


def check_camera(camera: str, observation: Observation, *, needs_depth: bool) -> None:
    """Refuse observations without the images that a judge reads.

    Raises:
        ValueError: no RGB of the camera, or no depth where it is needed.
    """
    missing = [
        what
        for what, images, needed in (
            ("RGB", observation.rgb, True),
            ("depth", observation.depth_m, needs_depth),
        )
        if needed and camera not in images
    ]
    if missing:
        raise UserError(
            f"the judge reads {' and '.join(missing)} of camera {camera!r}, and the observation "
            f"has RGB of {', '.join(observation.rgb) or 'none'} and depth of "
            f"{', '.join(observation.depth_m) or 'none'}; use a judge of one of these cameras"
        )
