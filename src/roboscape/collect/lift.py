"""Recording robosuite's Lift: a Panda arm and a cube on a table."""

import functools
from dataclasses import dataclass, field
from pathlib import Path

from roboscape.collect.collect import collect
from roboscape.collect.recording import record_episode, record_numbers
from roboscape.dataset.records import DatasetSpec, Episode, RandomScenes
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.recording_spec import dataset_spec
from roboscape.sources.lift import CONTROL_HZ
from roboscape.sources.proportions import Proportions, behaviour_of
from roboscape.sources.scene import make_scene


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
    cameras: tuple[str, ...] = ("agentview",)
    """Names of the cameras: robosuite's, or `wrist` for the one on the hand."""
    image_size: int = 128
    """Height and width of the images in pixels."""
    supersampling: int = 2
    """Factor by which images are drawn larger and averaged, so that edges do not alias."""
    random_scenes: RandomScenes = "none"
    """Drawn anew for every episode, from its seed: `colours` and lights under the usual cameras, or
    `all`, camera poses and fields of view too."""
    objects: bool = False
    """Record the cube's position too (`observation.environment_state`), for an arm model that takes
    it."""
    pictures: bool = True
    """Without, cameras show nothing and an episode takes a third of the time: numbers alone, with
    the cube's place, from which an arm model learns."""
    proportions: Proportions = field(default_factory=Proportions)
    """Shares of the behaviours."""


def lift_spec(config: CollectLift) -> DatasetSpec:
    """The specification of a Lift dataset, common to all its episodes."""
    return dataset_spec(
        "Lift",
        cameras=config.cameras if config.pictures else (),
        image_size=config.image_size,
        supersampling=config.supersampling,
        random_scenes=config.random_scenes,
        objects=config.objects or not config.pictures,
    )


class NumbersRecorder:
    """Records Lift without pictures; each episode depends on its seed alone."""

    def __init__(self, config: CollectLift) -> None:
        self._rows, self._proportions = config.horizon, config.proportions
        self._scene = make_scene("Lift")

    def simulate(self, seed: int) -> Episode:
        """Record the episode of a seed."""
        behaviour = behaviour_of(seed, self._proportions)
        return record_numbers(self._scene, seed=seed, behaviour=behaviour, rows=self._rows)

    def close(self) -> None:
        """Nothing is held."""


class LiftRecorder:
    """Records one Lift episode after another; each depends on its seed alone."""

    def __init__(self, config: CollectLift) -> None:
        self._rows, self._objects = config.horizon, config.objects
        self.simulator = MujocoSimulator(
            "Lift",
            cameras=config.cameras,
            image_size=config.image_size,
            supersampling=config.supersampling,
            frame_hz=CONTROL_HZ,
            proportions=config.proportions,
            random_scenes=config.random_scenes,
        )

    def simulate(self, seed: int) -> Episode:
        """Record the episode of a seed."""
        return record_episode(self.simulator, seed=seed, rows=self._rows, objects=self._objects)

    def close(self) -> None:
        """Free the graphics context."""
        self.simulator.close()


def run(config: CollectLift) -> None:
    """Collect the episodes; an interrupted run continues where it stopped."""
    collect(
        config,
        make_simulator=functools.partial(
            LiftRecorder if config.pictures else NumbersRecorder, config
        ),
        spec=lift_spec(config),
    )
