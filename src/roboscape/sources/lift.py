"""robosuite's Lift: a Panda arm and a cube on a table, acted on by scripts of four kinds."""

import functools
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.records import ActionConvention, CameraSpec, DatasetSpec, Episode
from roboscape.sources.collect import collect
from roboscape.sources.graphics import mujoco
from roboscape.sources.lift_behaviours import (
    BEHAVIOURS,
    LiftObservation,
    Manner,
    approach,
    sample_manner,
)
from roboscape.sources.noise import SmoothNoise
from roboscape.sources.proportions import Proportions, behaviour_of
from roboscape.sources.recording import Recording
from roboscape.sources.simulation import SceneRenderer

Observed = OrderedDict[str, Any]
"""robosuite's own observation: arrays by name."""

APPROACH_SHARE = 0.6
"""Share of the episodes that start with the hand at a random place over the table."""
NOISE_SHARES = np.array([1.0, 1.0, 1.0, 0.4, 0.4, 0.4])
"""Disturbance of each motion command, relative to that of the translation."""
TASK = "lift the red cube"
CONTROL_HZ = 20.0
STATE_NAMES = (
    *(f"eef_{axis}" for axis in "xyz"),
    *(f"eef_quaternion_{axis}" for axis in "xyzw"),
    *(f"gripper_finger_{finger}" for finger in (1, 2)),
    *(f"joint_{joint}" for joint in range(1, 8)),
)
ACTION_CONVENTION = ActionConvention(
    mode="delta",
    names=("eef_x", "eef_y", "eef_z", "eef_rx", "eef_ry", "eef_rz", "gripper"),
    units=("m", "m", "m", "rad", "rad", "rad", "1"),
    scale=(0.05, 0.05, 0.05, 0.5, 0.5, 0.5, 1.0),
    frame="robot_base",
    rotation="axis_angle",
    gripper="-1 opens, +1 closes",
    action_hz=CONTROL_HZ,
)


@dataclass(frozen=True, kw_only=True)
class CollectLift:
    """Record robosuite's Lift as a LeRobot dataset: RGB, depth, actions, proprioception, tracks."""

    output: Path
    """Folder of the dataset; collecting into an existing one continues it."""
    episodes: int
    """Number of episodes; episode i has the seed `seed` + i."""
    seed: int = 0
    """Seed of the first episode: 800000 and above is validation, 900000 and above is test."""
    workers: int = 2
    """Simulating processes."""
    horizon: int = 100
    """Control steps (rows) of an episode, at 20 Hz."""
    camera: str = "agentview"
    """robosuite's name of the camera."""
    image_size: int = 128
    """Height and width of the images in pixels."""
    supersampling: int = 2
    """Drawn so many times as large and averaged, so that edges do not alias; 1 draws once."""
    proportions: Proportions = field(default_factory=Proportions)
    """Shares of the behaviours."""


def lift_spec(config: CollectLift) -> DatasetSpec:
    """What all episodes of a Lift dataset have in common."""
    size = config.image_size
    return DatasetSpec(
        fps=CONTROL_HZ,
        robot_type="panda",
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
        depth_min_m=0.25,
        depth_max_m=4.0,
        source="robosuite 1.5.2 Lift",
    )


class LiftSimulator:
    """Simulates and renders one Lift episode after another; each depends on its seed alone."""

    def __init__(self, config: CollectLift) -> None:
        self._config = config
        self._environment = make_environment()
        model = self._environment.sim.model._model
        self._renderer = SceneRenderer(
            model,
            camera=config.camera,
            height=config.image_size,
            width=config.image_size,
            supersampling=config.supersampling,
        )

    def simulate(self, seed: int) -> Episode:
        """Record the episode of a seed.

        A row shows the task solved where the cube is more than 4 cm above the table.
        """
        behaviour = behaviour_of(seed, self._config.proportions)
        generator = numpy_generator_for(seed, 1)
        manner = sample_manner(behaviour, generator=generator)
        observed = self._reset(seed)
        if generator.random() < APPROACH_SHARE:
            observed = self._approach(observed, manner, generator)
        noise = SmoothNoise(manner.noise * NOISE_SHARES, generator=numpy_generator_for(seed, 2))
        script = BEHAVIOURS[behaviour](
            self._script_view(observed), manner=manner, generator=generator
        )
        recording = Recording(
            self._environment.sim.model._model,
            renderer=self._renderer,
            camera=self._config.camera,
            generator=numpy_generator_for(seed, 3),
        )
        command = next(script)
        for _ in range(self._config.horizon):
            action = noise.disturb(command).astype(np.float32)
            recording.add(
                self._data,
                action=action,
                state=proprioception(observed),
                solved=bool(self._environment._check_success()),
            )
            observed = self._environment.step(action.astype(np.float64))[0]
            command = script.send(self._script_view(observed))
        return recording.episode(task=TASK, seed=seed, behaviour=behaviour)

    def close(self) -> None:
        """Free the graphics context."""
        self._renderer.close()

    @property
    def _data(self) -> Any:
        """MuJoCo's state; robosuite replaces it when it resets."""
        return self._environment.sim.data._data

    def _reset(self, seed: int) -> Observed:
        """Start the episode of a seed: cube, arm and every random choice inside robosuite."""
        generator = numpy_generator_for(seed, 4)
        self._environment.rng = generator
        self._environment.placement_initializer.rng = generator
        robot = self._environment.robots[0]
        robot.initialization_noise = {
            "type": "uniform",
            "magnitude": generator.uniform(0.02, 0.15),
        }
        return self._environment.reset()

    def _approach(
        self, observed: Observed, manner: Manner, generator: np.random.Generator
    ) -> Observed:
        """Take the arm to the place where the recording starts, unrecorded."""
        script = approach(self._script_view(observed), manner=manner, generator=generator)
        action = next(script)
        while True:
            observed = self._environment.step(action)[0]
            try:
                action = script.send(self._script_view(observed))
            except StopIteration:
                return observed

    def _script_view(self, observed: Observed) -> LiftObservation:
        """What the script sees of robosuite's observation."""
        x, y, z, w = observed["cube_quat"]
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, observed["robot0_eef_quat"][[3, 0, 1, 2]].astype(np.float64))
        return LiftObservation(
            hand_position_m=observed["robot0_eef_pos"],
            hand_to_world=rotation.reshape(3, 3),
            cube_position_m=observed["cube_pos"],
            cube_yaw_rad=float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))),
        )


def proprioception(observed: Observed) -> Float[np.ndarray, " s"]:
    """The robot's own state, in the order of `STATE_NAMES`."""
    names = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "robot0_joint_pos")
    return np.concatenate([observed[name] for name in names]).astype(np.float32)


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


def run(config: CollectLift) -> None:
    """Collect the episodes; an interrupted run continues where it stopped."""
    collect(
        config,
        make_simulator=functools.partial(LiftSimulator, config),
        spec=lift_spec(config),
    )
