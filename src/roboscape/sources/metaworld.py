"""Meta-World: a Sawyer arm, fifty tasks, acted on by the scripts that come with it, and by play."""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.records import ActionConvention, CameraSpec, DatasetSpec, Episode
from roboscape.sources.collect import collect
from roboscape.sources.graphics import mujoco
from roboscape.sources.metaworld_tasks import TASK_TEXTS, choose_tasks
from roboscape.sources.noise import SmoothNoise
from roboscape.sources.proportions import Proportions, behaviour_of
from roboscape.sources.recording import Recording
from roboscape.sources.simulation import SceneRenderer, set_camera_upright

CONTROL_HZ = 80.0
LONGEST_HORIZON = 500
"""Meta-World refuses to step further."""
GEOM_GROUPS = (0, 1, 2)
CUSTOMARY_CAMERA_POSITIONS_M = {"corner2": (0.75, 0.075, 0.7)}
"""Nearer than in Meta-World's own files, as nearly everybody who learns from its images has it."""
HAND, OBJECTS, EARLIER_OBJECTS, GOAL = slice(0, 3), slice(4, 7), slice(22, 25), slice(36, 39)
"""Where Meta-World's observation holds the hand, the object now and before, and the goal."""
STATE_NAMES = ("hand_x", "hand_y", "hand_z", "gripper_opening_share")
ACTION_CONVENTION = ActionConvention(
    mode="delta",
    names=("hand_x", "hand_y", "hand_z", "gripper"),
    units=("m", "m", "m", "1"),
    scale=(0.01, 0.01, 0.01, 1.0),
    frame="world",
    rotation="none",
    gripper="-1 opens, +1 closes",
    action_hz=CONTROL_HZ,
)

Action = Float[np.ndarray, "4"]
Observation = Float[np.ndarray, "39"]
Script = Callable[[Observation], Action]


@dataclass(frozen=True, kw_only=True)
class CollectMetaworld:
    """Record Meta-World as a LeRobot dataset: RGB, depth, actions, proprioception, tracks."""

    output: Path
    """Folder of the dataset; collecting into an existing one continues it."""
    episodes: int
    """Number of episodes; episode i has the seed `seed` + i, and the tasks take turns."""
    tasks: tuple[str, ...] = ("all",)
    """Meta-World's names of the tasks, e.g. `door-open pick-place`; `all` are fifty."""
    seed: int = 0
    """Seed of the first episode: 800000 and above is validation, 900000 and above is test."""
    workers: int = 2
    """Simulating processes."""
    horizon: int = 200
    """Control steps (rows) of an episode, at 80 Hz."""
    camera: str = "corner2"
    """Meta-World's name of the camera."""
    image_size: int = 128
    """Height and width of the images in pixels."""
    supersampling: int = 2
    """Drawn so many times as large and averaged, so that edges do not alias; 1 draws once."""
    proportions: Proportions = field(default_factory=Proportions)
    """Shares of the behaviours."""


def task_of(seed: int, tasks: tuple[str, ...]) -> str:
    """The task of an episode: the tasks take turns by seed."""
    return tasks[seed % len(tasks)]


def metaworld_spec(config: CollectMetaworld) -> DatasetSpec:
    """What all episodes of a Meta-World dataset have in common."""
    size = config.image_size
    return DatasetSpec(
        fps=CONTROL_HZ,
        robot_type="sawyer",
        cameras=(
            CameraSpec(
                name=config.camera,
                height=size,
                width=size,
                has_depth=True,
                supersampling=config.supersampling,
            ),
        ),
        state_names=STATE_NAMES,
        action=ACTION_CONVENTION,
        depth_min_m=0.1,
        depth_max_m=6.0,
        source="metaworld 3.1.1",
    )


class MetaworldSimulator:
    """Simulates and renders Meta-World episodes; each depends on its seed and task alone."""

    def __init__(self, config: CollectMetaworld) -> None:
        if not 1 <= config.horizon <= LONGEST_HORIZON:
            raise ValueError(
                f"the horizon must be between 1 and {LONGEST_HORIZON}, got {config.horizon}"
            )
        self._config = config
        self._tasks = choose_tasks(config.tasks)

    def simulate(self, seed: int) -> Episode:
        """Record the episode of a seed; rows in which Meta-World reports success show it solved."""
        task = task_of(seed, self._tasks)
        behaviour = behaviour_of(seed, self._config.proportions)
        # A fresh simulation each time: Meta-World carries state from one episode to the next.
        environment = make_environment(task, seed=seed)
        model, data = environment.model, environment.data
        size, camera = self._config.image_size, self._config.camera
        place_camera(model, data, camera)
        renderer = SceneRenderer(
            model,
            camera=camera,
            height=size,
            width=size,
            geom_groups=GEOM_GROUPS,
            supersampling=self._config.supersampling,
        )
        recording = Recording(
            model, renderer=renderer, camera=camera, generator=numpy_generator_for(seed, 3)
        )
        script = make_script(task, behaviour, generator=numpy_generator_for(seed, 1))
        observation: Observation = environment.reset()[0]
        solved = False
        for _ in range(self._config.horizon):
            action = script(observation)
            recording.add(data, action=action, state=observation[:4], solved=solved)
            observation, _, _, _, info = environment.step(action)
            solved = bool(info["success"])
        renderer.close()
        return recording.episode(task=TASK_TEXTS[task], seed=seed, behaviour=behaviour)

    def close(self) -> None:
        """Nothing outlives an episode."""


def make_environment(task: str, *, seed: int) -> Any:
    """One of Meta-World's tasks, its object and goal placed by the seed."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

    # Meta-World makes these classes at run time, so that type checkers do not know their arguments.
    make: Any = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-v3-goal-observable"]
    return make(seed=seed)


def place_camera(model: Any, data: Any, camera: str) -> None:
    """Put a camera where it is customarily put, the right way up: some of Meta-World's hang."""
    if camera in CUSTOMARY_CAMERA_POSITIONS_M:
        model.camera(camera).pos = CUSTOMARY_CAMERA_POSITIONS_M[camera]
        mujoco.mj_forward(model, data)
    set_camera_upright(model, data, camera)


def make_script(task: str, behaviour: str, *, generator: np.random.Generator) -> Script:
    """What acts in an episode."""
    match behaviour:
        case "random":
            return Play(generator=generator)
        case "expert":
            return Expert(task, noise=0.0, offset_m=np.zeros(3), generator=generator)
        case "noisy_expert":
            noise = generator.uniform(0.3, 1.2)
            return Expert(task, noise=noise, offset_m=np.zeros(3), generator=generator)
        case "miss":
            angle, distance_m = generator.uniform(0, 2 * np.pi), generator.uniform(0.06, 0.12)
            offset_m = distance_m * np.array([np.cos(angle), np.sin(angle), 0.0])
            return Expert(task, noise=0.1, offset_m=offset_m, generator=generator)
    raise ValueError(f"Meta-World episodes know no behaviour {behaviour!r}")


class Expert:
    """Meta-World's own script of a task, with smooth noise, and deceived about where things are."""

    def __init__(
        self,
        task: str,
        *,
        noise: float,
        offset_m: Float[np.ndarray, "3"],
        generator: np.random.Generator,
    ) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        self._policy = ENV_POLICY_MAP[f"{task}-v3"]()
        self._offset_m = offset_m
        self._speed = generator.uniform(0.7, 1.0)
        self._noise = SmoothNoise(np.full(3, noise), generator=generator)

    def __call__(self, observation: Observation) -> Action:
        """Choose an action."""
        believed = observation.copy()
        for part in (OBJECTS, EARLIER_OBJECTS, GOAL):
            believed[part] += self._offset_m
        with warnings.catch_warnings():
            # The scripts warn that their gain is high; the action is clipped here.
            warnings.simplefilter("ignore", UserWarning)
            action = np.clip(self._policy.get_action(believed), -1, 1)
        action[:3] *= self._speed
        return self._noise.disturb(action).astype(np.float32)


class Play:
    """Moves between random places, every other one near the object, opening and closing."""

    low_m = np.array([-0.3, 0.45, 0.06])
    high_m = np.array([0.3, 0.85, 0.35])

    def __init__(self, *, generator: np.random.Generator) -> None:
        self._generator = generator
        self._noise = SmoothNoise(np.full(3, 0.2), generator=generator)
        self._steps_left = 0

    def __call__(self, observation: Observation) -> Action:
        """Choose an action."""
        if self._steps_left == 0:
            self._choose_target(observation)
        self._steps_left -= 1
        motion = np.clip(10 * (self._target_m - observation[HAND]), -self._speed, self._speed)
        action = np.concatenate([motion, [self._gripper]])
        return self._noise.disturb(action).astype(np.float32)

    def _choose_target(self, observation: Observation) -> None:
        """The next place, the speed on the way there, and what the gripper does."""
        generator = self._generator
        self._target_m = generator.uniform(self.low_m, self.high_m)
        if generator.random() < 0.5:
            self._target_m = observation[OBJECTS] + generator.normal(0, 0.04, 3)
        self._target_m = np.clip(self._target_m, self.low_m, self.high_m)
        self._speed = generator.uniform(0.4, 1.0)
        self._gripper = generator.choice([-1.0, 1.0])
        self._steps_left = int(generator.integers(15, 50))


def run(config: CollectMetaworld) -> None:
    """Collect the episodes; an interrupted run continues where it stopped."""
    choose_tasks(config.tasks)
    collect(
        config,
        make_simulator=functools.partial(MetaworldSimulator, config),
        spec=metaworld_spec(config),
    )
