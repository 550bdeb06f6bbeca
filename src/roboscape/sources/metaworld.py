"""Meta-World: a Sawyer arm, fifty tasks, acted on by the scripts that come with it, and by play."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.records import ActionConvention
from roboscape.sources.capture import (
    capture_objects,
    capture_physics,
    restore_objects,
    restore_physics,
)
from roboscape.sources.graphics import mujoco
from roboscape.sources.metaworld_tasks import TASK_TEXTS, choose_tasks
from roboscape.sources.noise import SmoothNoise
from roboscape.sources.random_scenes import Workspace
from roboscape.sources.scene import SceneKind
from roboscape.sources.simulation import set_camera_upright

CONTROL_HZ = 80.0
LONGEST_HORIZON = 500
"""Native steps after which Meta-World's own episodes end."""
CUSTOMARY_CAMERA_POSITIONS_M = {"corner2": (0.75, 0.075, 0.7)}
"""Nearer than in Meta-World's own files, as nearly everybody who learns from its images has it."""
HAND, OBJECTS, EARLIER_OBJECTS, GOAL = slice(0, 3), slice(4, 7), slice(22, 25), slice(36, 39)
"""Places in Meta-World's observation of the hand, the object now and before, and the goal."""
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


METAWORLD = SceneKind(
    source="metaworld 3.1.1",
    robot_type="sawyer",
    action=ACTION_CONVENTION,
    state_names=STATE_NAMES,
    camera="corner2",
    wrist="gripperPOV",
    depth_range_m=(0.1, 6.0),
    workspace=Workspace(centre_m=(0.0, 0.6, 0.15), front_deg=90.0),
    geom_groups=(0, 1, 2),
    one_model=False,
)


class MetaworldScene:
    """One world of a Meta-World task; it depends on the task, the seed and the actions alone."""

    kind = METAWORLD

    def __init__(self, task: str, *, cameras: tuple[str, ...] = ()) -> None:
        (self._name,) = choose_tasks((task,))
        self.task = TASK_TEXTS[self._name]
        self._cameras = cameras or (METAWORLD.camera,)
        self._environment: Any = None
        self._observed: Observation = np.zeros(39)
        self._solved = False

    @property
    def model(self) -> Any:
        """MuJoCo's model, another one after every reset; None before the first."""
        return getattr(self._environment, "model", None)

    @property
    def data(self) -> Any:
        """MuJoCo's state."""
        return getattr(self._environment, "data", None)

    def state(self) -> Float[np.ndarray, " s"]:
        """The robot's own state, in the order of `STATE_NAMES`."""
        return self._observed[:4].astype(np.float32)

    def objects(self) -> Float[np.ndarray, " o"]:
        """Nothing: what the observation says of objects differs from task to task."""
        return np.zeros(0, np.float32)

    def solved(self) -> bool:
        """True if Meta-World reported success after the last action."""
        return self._solved

    def view(self) -> Observation:
        """A script's observation: Meta-World's own."""
        return self._observed

    def reset(self, seed: int, *, behaviour: str) -> None:
        """Place object and goal by the seed; all behaviours begin alike."""
        # A fresh simulation each time: Meta-World carries state from one episode to the next.
        self._environment = make_environment(self._name, seed=seed)
        for camera in self._cameras:
            place_camera(self.model, self.data, METAWORLD.model_camera(camera))
        self._observed, self._solved = self._environment.reset()[0], False

    def script(self, seed: int, *, behaviour: str) -> Script:
        """The script that acts in the recorded episode of this seed and behaviour."""
        return make_script(self._name, behaviour, generator=numpy_generator_for(seed, 1))

    def step(self, action: Action) -> None:
        """Take one native action."""
        self._observed, _, _, _, info = self._environment.step(np.asarray(action, np.float32))
        self._solved = bool(info["success"])

    def capture(self) -> Any:
        """Copy everything that the scene's future depends on, Meta-World's own state included."""
        objects = capture_objects(self._environment)
        physics = capture_physics(self.model, self.data)
        return self._name, objects, physics, self._observed.copy(), self._solved

    def restore(self, captured: Any) -> None:
        """Be as another scene of the same task was when it was captured."""
        name, objects, physics, observed, self._solved = captured
        if name != self._name:
            raise UserError(f"this snapshot is of the task {name}, not of {self._name}")
        if self._environment is None:
            self.reset(0, behaviour="")
        restore_objects(self._environment, objects)
        restore_physics(self.model, self.data, physics)
        self._observed = observed.copy()


def make_environment(task: str, *, seed: int) -> Any:
    """One of Meta-World's tasks, its object and goal placed by the seed."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

    # Meta-World makes these classes at run time, so that type checkers do not know their arguments.
    make: Any = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-v3-goal-observable"]
    environment = make(seed=seed)
    # How long an episode lasts is decided by who runs it.
    environment.max_path_length = sys.maxsize
    return environment


def place_camera(model: Any, data: Any, camera: str) -> None:
    """Put a camera where it is customarily put, the right way up: some of Meta-World's hang."""
    if camera in CUSTOMARY_CAMERA_POSITIONS_M:
        model.camera(camera).pos = CUSTOMARY_CAMERA_POSITIONS_M[camera]
        mujoco.mj_forward(model, data)
    set_camera_upright(model, data, camera)


def make_script(task: str, behaviour: str, *, generator: np.random.Generator) -> Script:
    """The script that acts in an episode."""
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
    raise UserError(f"Meta-World has no behaviour {behaviour!r}")


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
