"""Recording Meta-World: a Sawyer arm and fifty tasks."""

import functools
from dataclasses import dataclass, field
from pathlib import Path

from roboscape.collect.collect import collect
from roboscape.collect.recording import record_episode
from roboscape.core.errors import UserError
from roboscape.dataset.records import DatasetSpec, Episode, RandomScenes
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.recording_spec import dataset_spec
from roboscape.sources.metaworld import CONTROL_HZ, LONGEST_HORIZON
from roboscape.sources.metaworld_tasks import choose_tasks
from roboscape.sources.proportions import Proportions


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
    cameras: tuple[str, ...] = ("corner2",)
    """Names of the cameras: Meta-World's, or `wrist` for the one on the hand."""
    image_size: int = 128
    """Height and width of the images in pixels."""
    supersampling: int = 2
    """Factor by which images are drawn larger and averaged, so that edges do not alias."""
    random_scenes: RandomScenes = "none"
    """Drawn anew for every episode, from its seed: `colours` and lights under the usual cameras, or
    `all`, camera poses and fields of view too."""
    proportions: Proportions = field(default_factory=Proportions)
    """Shares of the behaviours."""


def task_of(seed: int, tasks: tuple[str, ...]) -> str:
    """The task of an episode: the tasks take turns by seed."""
    return tasks[seed % len(tasks)]


def metaworld_spec(config: CollectMetaworld) -> DatasetSpec:
    """The specification of a Meta-World dataset, common to all its episodes."""
    return dataset_spec(
        # All tasks have the same cameras.
        f"metaworld/{choose_tasks(config.tasks)[0]}",
        cameras=config.cameras,
        image_size=config.image_size,
        supersampling=config.supersampling,
        random_scenes=config.random_scenes,
    )


class MetaworldRecorder:
    """Records Meta-World episodes; each depends on its seed and task alone."""

    def __init__(self, config: CollectMetaworld) -> None:
        if not 1 <= config.horizon <= LONGEST_HORIZON:
            raise UserError(
                f"the horizon must be between 1 and {LONGEST_HORIZON}, got {config.horizon}"
            )
        self._config = config
        self._tasks = choose_tasks(config.tasks)

    def simulate(self, seed: int) -> Episode:
        """Record the episode of a seed; rows in which Meta-World reports success show it solved."""
        config = self._config
        simulator = MujocoSimulator(
            f"metaworld/{task_of(seed, self._tasks)}",
            cameras=config.cameras,
            image_size=config.image_size,
            supersampling=config.supersampling,
            frame_hz=CONTROL_HZ,
            proportions=config.proportions,
            random_scenes=config.random_scenes,
        )
        try:
            return record_episode(simulator, seed=seed, rows=config.horizon)
        finally:
            simulator.close()

    def close(self) -> None:
        """Nothing outlives an episode."""


def run(config: CollectMetaworld) -> None:
    """Collect the episodes; an interrupted run continues where it stopped."""
    choose_tasks(config.tasks)
    collect(
        config,
        make_simulator=functools.partial(MetaworldRecorder, config),
        spec=metaworld_spec(config),
    )
