"""Scripted behaviours for robosuite's Lift: grasping well, with noise, beside the cube, and play.

A behaviour is a generator: it yields an action and is sent the observation that followed.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.sources.noise import SmoothNoise

POSITION_SCALE_M = 0.05
ROTATION_SCALE_RAD = 0.5
OPEN, CLOSED = -1.0, 1.0
APPROACH_SHARE = 0.6
"""Share of the episodes that start with the hand at a random place over the table."""
NOISE_SHARES = np.array([1.0, 1.0, 1.0, 0.4, 0.4, 0.4])
"""Disturbance of each motion command, relative to that of the translation."""
TABLE_HEIGHT_M = 0.8
WORKSPACE_LOW_M = np.array([-0.16, -0.22, TABLE_HEIGHT_M + 0.012])
WORKSPACE_HIGH_M = np.array([0.16, 0.22, TABLE_HEIGHT_M + 0.20])

Action = Float[np.ndarray, "7"]
Point = Float[np.ndarray, "3"]


@dataclass(frozen=True, kw_only=True)
class LiftObservation:
    """The observation of a script; scripts alone know the cube's pose, which is never recorded."""

    hand_position_m: Point
    hand_to_world: Float[np.ndarray, "3 3"]
    """Rotation of the hand; its third column points out of the fingers."""
    cube_position_m: Point
    cube_yaw_rad: float


Script = Generator[Action, LiftObservation, None]
Phase = Generator[Action, LiftObservation, LiftObservation]


@dataclass(frozen=True, kw_only=True)
class Manner:
    """The manner in which an episode's script moves."""

    speed: float
    """Largest commanded translation, as a share of the controller's limit."""
    gain: float
    """Commanded translation per remaining distance."""
    aligns_yaw: bool
    """Whether the fingers turn to the cube's sides before they close."""
    miss_probability: float
    """Share of attempts that aim beside or above the cube."""
    misses_by_m: tuple[float, float] = (0.055, 0.085)
    """Least and largest distance of such an aim from the cube's middle."""
    noise: float
    """Size of the smooth random disturbance added to every motion command."""


def sample_manner(behaviour: str, *, generator: np.random.Generator) -> Manner:
    """Draw one episode's manner of moving for a behaviour."""
    noise_range, miss_probability = {
        "expert": ((0.0, 0.0), 0.0),
        "noisy_expert": ((0.1, 0.4), 0.35),
        "miss": ((0.0, 0.15), 1.0),
        "random": ((0.05, 0.35), 0.3),
        "recovery": ((0.0, 0.0), 0.0),
        "near_miss": ((0.0, 0.15), 1.0),
    }[behaviour]
    return Manner(
        speed=generator.uniform(0.5, 1.0),
        gain=generator.uniform(0.8, 1.6),
        aligns_yaw=bool(generator.random() < 0.6),
        miss_probability=miss_probability,
        noise=generator.uniform(*noise_range),
        misses_by_m=(0.01, 0.055) if behaviour == "near_miss" else (0.055, 0.085),
    )


def move(
    observation: LiftObservation,
    target: Callable[[LiftObservation], Point],
    *,
    manner: Manner,
    gripper: float,
    yaw_rad: float = 0.0,
    tolerance_m: float = 0.012,
    steps: tuple[int, int] = (1, 40),
) -> Phase:
    """Move the hand towards a target that may itself move; ends when near, or after `steps[1]`."""
    fewest, most = steps
    for step in range(most):
        error_m = target(observation) - observation.hand_position_m
        if step >= fewest and np.linalg.norm(error_m) < tolerance_m:
            break
        translation = manner.gain * error_m / POSITION_SCALE_M
        translation /= max(1.0, float(np.abs(translation).max()) / manner.speed)
        rotation = rotation_error(observation.hand_to_world, yaw_rad) / ROTATION_SCALE_RAD
        rotation = np.clip(0.5 * rotation, -0.5, 0.5)
        observation = yield np.concatenate([translation, rotation, [gripper]])
    return observation


def rotation_error(hand_to_world: Float[np.ndarray, "3 3"], yaw_rad: float) -> Point:
    """Rotation vector, to first order, that turns the hand to point down at a yaw."""
    cosine, sine = np.cos(yaw_rad), np.sin(yaw_rad)
    wanted = np.array([[cosine, sine, 0.0], [sine, -cosine, 0.0], [0.0, 0.0, -1.0]])
    return 0.5 * np.cross(hand_to_world.T, wanted.T).sum(axis=0)


def attempt(
    observation: LiftObservation, *, manner: Manner, generator: np.random.Generator
) -> Phase:
    """One grasp: above the cube, down, close, lift; then hold, carry, or put down again."""
    offset_m = 0.0
    if generator.random() < manner.miss_probability:
        offset_m = sample_miss(manner.misses_by_m, generator=generator)
    quarter_turn = np.pi / 2
    cube_yaw = observation.cube_yaw_rad
    cube_yaw -= quarter_turn * np.round(cube_yaw / quarter_turn)
    yaw_rad = cube_yaw if manner.aligns_yaw else generator.uniform(-0.25, 0.25)
    above_m = np.array([0.0, 0.0, generator.uniform(0.06, 0.12)])
    grasp_m = observation.cube_position_m + offset_m

    def over_cube(seen: LiftObservation) -> Point:
        return seen.cube_position_m + offset_m + above_m

    observation = yield from move(
        observation, over_cube, manner=manner, gripper=OPEN, yaw_rad=yaw_rad, tolerance_m=0.02
    )
    grasp_m = observation.cube_position_m + offset_m
    observation = yield from move(
        observation, lambda _: grasp_m, manner=manner, gripper=OPEN, yaw_rad=yaw_rad, steps=(1, 30)
    )
    closing = int(generator.integers(7, 12))
    observation = yield from move(
        observation,
        lambda _: grasp_m,
        manner=manner,
        gripper=CLOSED,
        yaw_rad=yaw_rad,
        steps=(closing, closing),
    )
    lifted_m = grasp_m + np.array([0.0, 0.0, generator.uniform(0.08, 0.16)])
    observation = yield from move(
        observation, lambda _: lifted_m, manner=manner, gripper=CLOSED, yaw_rad=yaw_rad
    )
    return (
        yield from after_lift(observation, lifted_m, yaw_rad, manner=manner, generator=generator)
    )


def after_lift(
    observation: LiftObservation,
    lifted_m: Point,
    yaw_rad: float,
    *,
    manner: Manner,
    generator: np.random.Generator,
) -> Phase:
    """Hold still, or carry to another place, and perhaps put down there and let go."""
    pause = int(generator.integers(2, 15))
    carries, puts_down = generator.random(2) < (0.65, 0.5)
    place_m = generator.uniform([-0.1, -0.15, lifted_m[2]], [0.1, 0.15, lifted_m[2]])
    if not carries:
        place_m = lifted_m
    observation = yield from move(
        observation,
        lambda _: place_m,
        manner=manner,
        gripper=CLOSED,
        yaw_rad=yaw_rad,
        steps=(pause, pause + 30),
    )
    if not puts_down:
        return observation
    down_m = np.array([place_m[0], place_m[1], TABLE_HEIGHT_M + 0.024])
    observation = yield from move(
        observation, lambda _: down_m, manner=manner, gripper=CLOSED, yaw_rad=yaw_rad
    )
    up_m = down_m + np.array([0.0, 0.0, generator.uniform(0.08, 0.18)])
    for goal_m, steps in ((down_m, (5, 5)), (up_m, (5, 25))):
        observation = yield from move(
            observation,
            lambda _, goal_m=goal_m: goal_m,
            manner=manner,
            gripper=OPEN,
            yaw_rad=yaw_rad,
            steps=steps,
        )
    return observation


@dataclass(frozen=True, kw_only=True)
class Approach:
    """A random place above the table, where a recording starts."""

    manner: Manner
    place_m: Point
    gripper: float
    yaw_rad: float
    from_cube: bool = False
    """Whether the place is given from the cube's, not from the world's origin."""

    def script(self, observation: LiftObservation) -> Phase:
        """Move there, unrecorded."""
        origin_m = observation.cube_position_m if self.from_cube else np.zeros(3)
        place_m = origin_m + self.place_m
        return move(
            observation,
            lambda _: place_m,
            manner=self.manner,
            gripper=self.gripper,
            yaw_rad=self.yaw_rad,
            tolerance_m=0.015 if self.from_cube else 0.03,
            steps=(1, 40 if self.from_cube else 25),
        )


def sample_approach(manner: Manner, *, generator: np.random.Generator) -> Approach:
    """Draw where a recording starts."""
    low_m = np.array([*WORKSPACE_LOW_M[:2], TABLE_HEIGHT_M + 0.07])
    return Approach(
        manner=manner,
        place_m=generator.uniform(low_m, WORKSPACE_HIGH_M),
        gripper=generator.choice([OPEN, CLOSED]),
        yaw_rad=generator.uniform(-0.5, 0.5),
    )


def sample_failure(manner: Manner, *, generator: np.random.Generator) -> Approach:
    """Draw where a failed grasp has left the hand: low beside the cube or above it, mostly shut.

    Episodes that begin there show how to recover, without showing how to fail.
    """
    angle, distance_m = generator.uniform(0, 2 * np.pi), generator.uniform(0.0, 0.09)
    lowest_m = 0.0 if distance_m > 0.05 else 0.04
    offset_m = [distance_m * np.cos(angle), distance_m * np.sin(angle)]
    return Approach(
        manner=manner,
        place_m=np.array([*offset_m, generator.uniform(lowest_m, 0.08)]),
        gripper=CLOSED if generator.random() < 0.7 else OPEN,
        yaw_rad=generator.uniform(-0.5, 0.5),
        from_cube=True,
    )


def sample_miss(by_m: tuple[float, float], *, generator: np.random.Generator) -> Point:
    """An offset from the cube: beside it, between two distances, or above it."""
    if generator.random() < 0.25:
        return np.array([*generator.uniform(-0.02, 0.02, 2), generator.uniform(0.05, 0.08)])
    angle, distance_m = generator.uniform(0, 2 * np.pi), generator.uniform(*by_m)
    return np.array([distance_m * np.cos(angle), distance_m * np.sin(angle), 0.0])


def keep_attempting(
    observation: LiftObservation, *, manner: Manner, generator: np.random.Generator
) -> Script:
    """Grasp again and again until the episode ends."""
    while True:
        observation = yield from attempt(observation, manner=manner, generator=generator)


def play(observation: LiftObservation, *, manner: Manner, generator: np.random.Generator) -> Script:
    """Move between random places of the workspace, often low at the cube; sometimes grasp first."""
    if generator.random() < 0.2:
        observation = yield from attempt(observation, manner=manner, generator=generator)
    gripper = generator.choice([OPEN, CLOSED])
    while True:
        place_m = generator.uniform(WORKSPACE_LOW_M, WORKSPACE_HIGH_M)
        if generator.random() < 0.45:
            place_m = observation.cube_position_m + generator.normal(0, 0.03, 3)
            place_m[2] = TABLE_HEIGHT_M + generator.uniform(0.015, 0.06)
        place_m = np.clip(place_m, WORKSPACE_LOW_M, WORKSPACE_HIGH_M)
        if generator.random() < 0.35:
            gripper = -gripper
        observation = yield from move(
            observation,
            lambda _, place_m=place_m: place_m,
            manner=manner,
            gripper=gripper,
            yaw_rad=generator.uniform(-0.7, 0.7),
            steps=(3, int(generator.integers(8, 35))),
        )


BEHAVIOURS: dict[str, Callable[..., Script]] = {
    "expert": keep_attempting,
    "noisy_expert": keep_attempting,
    "miss": keep_attempting,
    "random": play,
    "recovery": keep_attempting,
    "near_miss": keep_attempting,
}


class LiftScript:
    """Acts in the episode of a seed: called with what is to be seen, it gives the next action.

    All its random choices follow from the seed, so that a second one acts the same.
    """

    def __init__(self, seed: int, *, behaviour: str) -> None:
        if behaviour not in BEHAVIOURS:
            raise UserError(
                f"Lift has no behaviour {behaviour!r}; choose one of {', '.join(BEHAVIOURS)}"
            )
        generator = numpy_generator_for(seed, 1)
        manner = sample_manner(behaviour, generator=generator)
        begins_elsewhere = generator.random() < APPROACH_SHARE
        if behaviour == "recovery":
            self.approach = sample_failure(manner, generator=generator)
        else:
            self.approach = (
                sample_approach(manner, generator=generator) if begins_elsewhere else None
            )
        """How the arm gets to where the episode starts; None where it starts at rest."""
        self._noise = SmoothNoise(
            manner.noise * NOISE_SHARES, generator=numpy_generator_for(seed, 2)
        )
        self._begin = partial(BEHAVIOURS[behaviour], manner=manner, generator=generator)
        self._script: Script | None = None

    def __call__(self, view: LiftObservation) -> Action:
        """The next native action, each between -1 and 1."""
        if self._script is None:
            self._script = self._begin(view)
            command = next(self._script)
        else:
            command = self._script.send(view)
        return self._noise.disturb(command).astype(np.float32)
