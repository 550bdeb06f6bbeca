"""Robosuite's Lift: a Panda arm and a cube on a table, acted on by scripts of four kinds."""

import logging
from collections import OrderedDict
from typing import Any

import numpy as np
from jaxtyping import Float

from roboscape.core.seeding import numpy_generator_for
from roboscape.sources.capture import (
    capture_objects,
    capture_physics,
    restore_objects,
    restore_physics,
)
from roboscape.sources.graphics import mujoco
from roboscape.sources.lift_behaviours import LiftObservation, LiftScript
from roboscape.sources.osc_pose import OSC_POSE_ACTION
from roboscape.sources.random_scenes import Workspace
from roboscape.sources.scene import SceneKind
from roboscape.sources.simulation import VISUAL_GEOM_GROUP

Observed = OrderedDict[str, Any]
"""robosuite's own observation: arrays by name."""

TASK = "lift the red cube"
CONTROL_HZ = 20.0
STATE_NAMES = (
    *(f"eef_{axis}" for axis in "xyz"),
    *(f"eef_quaternion_{axis}" for axis in "xyzw"),
    *(f"gripper_finger_{finger}" for finger in (1, 2)),
    *(f"joint_{joint}" for joint in range(1, 8)),
)
OBJECT_NAMES = ("cube_x", "cube_y", "cube_z")
SETTLING_STEPS = 8
"""Native steps in which the arm comes to rest before a recording starts."""


LIFT = SceneKind(
    source="robosuite 1.5.2 Lift",
    robot_type="panda",
    action=OSC_POSE_ACTION,
    state_names=STATE_NAMES,
    object_names=OBJECT_NAMES,
    camera="agentview",
    wrist="robot0_eye_in_hand",
    depth_range_m=(0.25, 4.0),
    workspace=Workspace(centre_m=(-0.05, 0.0, 0.92), front_deg=0.0),
    geom_groups=(VISUAL_GEOM_GROUP,),
    one_model=True,
)


class LiftScene:
    """One Lift world; what happens in it depends on the seed, the behaviour and the actions."""

    kind = LIFT
    task = TASK

    def __init__(self) -> None:
        self._environment = make_environment()
        self._observed: Observed = OrderedDict()

    @property
    def model(self) -> Any:
        """MuJoCo's model; robosuite keeps it from one episode to the next."""
        return self._environment.sim.model._model

    @property
    def data(self) -> Any:
        """MuJoCo's state."""
        return self._environment.sim.data._data

    def state(self) -> Float[np.ndarray, " s"]:
        """The robot's own state, in the order of `STATE_NAMES`."""
        names = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "robot0_joint_pos")
        return np.concatenate([self._observed[name] for name in names]).astype(np.float32)

    def objects(self) -> Float[np.ndarray, " o"]:
        """Position of the cube's middle, in metres."""
        return np.array(self._observed["cube_pos"], np.float32)

    def solved(self) -> bool:
        """True if the cube is more than 4 cm above the table."""
        return bool(self._environment._check_success())

    def view(self) -> LiftObservation:
        """A script's observation: the hand and the cube."""
        observed = self._observed
        x, y, z, w = observed["cube_quat"]
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, observed["robot0_eef_quat"][[3, 0, 1, 2]].astype(np.float64))
        return LiftObservation(
            hand_position_m=observed["robot0_eef_pos"],
            hand_to_world=rotation.reshape(3, 3),
            cube_position_m=observed["cube_pos"],
            cube_yaw_rad=float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))),
        )

    def reset(self, seed: int, *, behaviour: str) -> None:
        """Place cube and arm by the seed, then take the arm to where the recording starts."""
        generator = numpy_generator_for(seed, 4)
        # All random choices inside robosuite are drawn from these.
        self._environment.rng = generator
        self._environment.placement_initializer.rng = generator
        robot = self._environment.robots[0]
        robot.initialization_noise = {
            "type": "uniform",
            "magnitude": generator.uniform(0.02, 0.15),
        }
        self._observed = self._environment.reset()
        start = LiftScript(seed, behaviour=behaviour).approach
        if start is not None:
            script = start.script(self.view())
            action = next(script)
            while True:
                self.step(action)
                try:
                    action = script.send(self.view())
                except StopIteration:
                    break
            # At rest, as recordings of real robots begin: one frame does not show any speed.
            for _ in range(SETTLING_STEPS):
                self.step(np.array([*np.zeros(6), action[-1]], np.float32))

    def script(self, seed: int, *, behaviour: str) -> LiftScript:
        """The script that acts in the recorded episode of this seed and behaviour."""
        return LiftScript(seed, behaviour=behaviour)

    def step(self, action: Float[np.ndarray, "7"]) -> None:
        """Take one native action."""
        self._observed = self._environment.step(np.asarray(action, np.float64))[0]

    def capture(self) -> Any:
        """Copy everything that the scene's future depends on, the controllers' state included."""
        objects = capture_objects([self._environment, self._observed])
        return objects, capture_physics(self.model, self.data)

    def restore(self, captured: Any) -> None:
        """Be as another scene was when it was captured."""
        objects, physics = captured
        restore_objects([self._environment, self._observed], objects)
        restore_physics(self.model, self.data, physics)


def make_environment() -> Any:
    """Robosuite's Lift without its own rendering, reset without rebuilding the simulation."""
    # robosuite installs its own handlers when it is imported, and warns about optional extras.
    logging.getLogger("robosuite_logs").addFilter(lambda record: record.levelno >= logging.ERROR)
    import robosuite
    from robosuite.utils.placement_samplers import UniformRandomSampler

    placement = UniformRandomSampler(
        name="ObjectSampler",
        x_range=(-0.07, 0.07),
        y_range=(-0.10, 0.10),
        ensure_object_boundary_in_range=False,
        reference_pos=np.array((0.0, 0.0, 0.8)),
        z_offset=0.01,
    )
    return robosuite.make(
        "Lift",
        robots="Panda",
        placement_initializer=placement,
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        control_freq=CONTROL_HZ,
        hard_reset=False,
        ignore_done=True,
        seed=0,
    )
