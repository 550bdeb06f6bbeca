"""The Lift cube test as a task metric: does the cube rise when, and only when, it does in truth?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from roboscape.dataset.depth_choice import RECORDED
from roboscape.evaluate.clips import ClipSet
from roboscape.evaluate.protocol import PredictorSpec
from roboscape.evaluate.tasks import Outcome, TaskName
from roboscape.rollout.videos import Videos
from roboscape.simulators.lift_cube import RISE_HEIGHT, table_inverse_depth, watch_cube

NAME = TaskName(
    key="lift_cube",
    title="Cube test",
    question="Does the cube rise when it should?",
    event="cube rises",
    item="cube",
    rule=(
        "The cube is the largest red patch that fills a quarter of a percent of the image.",
        "The table is the plane in the given frame's depth; a plane's inverse depth is linear in "
        "pixels, so no camera parameters are needed.",
        "The cube's height is the lower quartile over its pixels of 1 − depth / depth of the table "
        "behind it, as a fraction of the camera's height above the table.",
        f"It rises if that exceeds {RISE_HEIGHT:g} in any frame, about 5 cm: resting cubes read up "
        "to 0.09, lifted ones mostly 0.16 and more. RGB and depth must agree for a lift to count.",
    ),
    aim="≥ 90 %",
)


@dataclass(frozen=True)
class LiftCube:
    """For recordings of robosuite's Lift with recorded depth."""

    name: TaskName = NAME

    def missing(self, clips: ClipSet, subject: PredictorSpec) -> str:
        """The reason why it cannot be measured here; empty where it can."""
        if "Lift" not in clips.dataset.spec.source:
            return f"made for robosuite's Lift; this dataset is `{clips.dataset.spec.source}`"
        if clips.depth != RECORDED or not subject.predicts_depth:
            return "needs recorded depth and a model that predicts depth"
        if clips.still_view is None:
            return "needs a camera that stands still, and this one is on the hand"
        return ""

    def read(self, truth: Videos, shown: Videos) -> list[Outcome]:
        """Tell whether the cube rises in each video, above the table of the true first frame."""
        assert truth.depth_m is not None
        assert shown.depth_m is not None
        outcomes = []
        for first_m, rgb, depth_m in zip(
            truth.depth_m[:, 0], shown.rgb, shown.depth_m, strict=True
        ):
            sighting = watch_cube(rgb, depth_m, table=table_inverse_depth(first_m))
            outcomes.append(Outcome(happened=sighting.rose, visible=sighting.seen))
        return outcomes

    def recorded(self, clips: ClipSet) -> Bool[np.ndarray, " b"] | None:
        """True if the simulator rewarded a lift in any frame of a clip."""
        return clips.rewarded()
