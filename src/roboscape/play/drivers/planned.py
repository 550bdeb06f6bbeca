"""Planning towards a point of the picture: the hand goes to what the player clicked on."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.dataset.cameras import camera_pose, hand_columns, unproject
from roboscape.planning.costs import Goal, GoalStateCost
from roboscape.planning.imagining import Imaginer
from roboscape.planning.sampling import SamplingConfig, SamplingPlanner
from roboscape.play.drivers.acting import ActingDriver
from roboscape.play.drivers.protocol import Actions, Driver, Mark, Surroundings
from roboscape.play.frames import Frame
from roboscape.play.history import Future
from roboscape.play.stage import Stage
from roboscape.policies.driver import PolicyDriver

NEAR_M = 0.02
"""The hand has reached its goal within this distance of it."""
MOST_FRAMES = 60
"""Frames after which planning ends where the goal is not reached."""


class GoalDriver:
    """A planner that brings the imagined hand to a point; it ends there."""

    thinks = True

    def __init__(
        self,
        planner: Driver,
        *,
        goal_m: Float[np.ndarray, "3"],
        columns: list[int],
        mark: Mark,
    ) -> None:
        """Drive to a point.

        Args:
            planner: Whose cost is the distance to it.
            goal_m: In the frame of the states.
            columns: Of the state, that hold the hand's position.
            mark: Where it was clicked.
        """
        self._planner, self._columns = planner, columns
        self.goal_m = goal_m
        self._frames = 0
        self.mark: Mark | None = mark
        self.ending = ""

    @property
    def words(self) -> str:
        """The driver's name and its goal, for the player."""
        return self._planner.words

    async def actions(self, future: Future) -> Actions | None:
        """The best actions that were found; None at the goal, or after too many frames."""
        away_m = float(
            np.linalg.norm(future.frames[-1].imagined.state[self._columns] - self.goal_m)
        )
        if away_m <= NEAR_M or self._frames >= MOST_FRAMES:
            verb = "reached its goal" if away_m <= NEAR_M else "did not reach its goal"
            self.ending = (
                f"The imagined hand {verb}: {100 * away_m:.1f} cm are left after {self._frames} "
                "frames."
            )
            return None
        self._frames += 1
        return await self._planner.actions(future)

    def close(self) -> None:
        """Free the planner."""
        self._planner.close()


async def of_goal(around: Surroundings, settings: Mapping[str, int]) -> GoalDriver:
    """A planner towards the point that is seen at a pixel, or above it.

    Settings: `camera`, its place among the page's cameras; `x_px`, `y_px`; `above_mm`, how far
    above the point; `seed` of the search.

    Raises:
        ValueError: no such pixel, or the model does not say where what it shows is.
    """
    stage = around.stage
    columns = hand_columns(stage.spec.state_names)
    mark = _mark(stage, settings)
    goal_m = point_at(mark, frame=around.shown, stage=stage)
    goal_m[2] += settings.get("above_mm", 0) / 1000
    state = np.zeros(len(stage.spec.state_names))
    state[columns] = goal_m
    seed = settings.get("seed", 0)
    goals = {seed: Goal(rgb={}, depth_m={}, state=state)}

    def make() -> PolicyDriver:
        imaginer = Imaginer(stage.imagined.another(), task=stage.spec.task)
        planner = SamplingPlanner(imaginer, GoalStateCost(goals, columns=columns), SamplingConfig())
        return PolicyDriver(planner, stage.spec)

    where = ", ".join(f"{value:.2f}" for value in goal_m)
    planner = ActingDriver(
        await stage.imagined.compute(make),
        seed=seed,
        codec=stage.codec,
        compute=stage.imagined.compute,
        words=f"A planner drives the hand to ({where}) m",
    )
    return GoalDriver(planner, goal_m=goal_m, columns=columns, mark=mark)


def _mark(stage: Stage, settings: Mapping[str, int]) -> Mark:
    """The pixel that was clicked."""
    views, size = stage.views(), stage.side_px
    number, x_px, y_px = (settings.get(name, -1) for name in ("camera", "x_px", "y_px"))
    if not 0 <= number < len(views) or not 0 <= x_px < size or not 0 <= y_px < size:
        raise UserError(
            f"expected a pixel of 0 to {size - 1} in each direction, of camera 0 to "
            f"{len(views) - 1}, got ({x_px}, {y_px}) of camera {number}"
        )
    return Mark(camera=views[number].name, x_px=x_px, y_px=y_px)


def point_at(mark: Mark, *, frame: Frame, stage: Stage) -> Float[np.ndarray, "3"]:
    """The point in the world, in metres, that a pixel of an imagined frame shows.

    Raises:
        ValueError: the model imagines no depth, or nothing says where the camera is.
    """
    pictures = frame.imagined
    if mark.camera not in pictures.depth_codes:
        raise UserError(
            f"this model imagines no depth of camera {mark.camera!r}, so nothing says how far away "
            "a pixel is"
        )
    pose = camera_pose(stage.recordings, mark.camera, pictures.state)
    depth_m = stage.codec.decode(pictures.depth_codes[mark.camera])[mark.y_px, mark.x_px]
    return unproject(np.array([[mark.x_px, mark.y_px, depth_m]], np.float64), pose)[0]
