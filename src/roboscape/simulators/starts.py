"""The starts of environments: the frame in which the world of a seed begins."""

from collections.abc import Callable

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.reader import LeRobotDataset
from roboscape.simulators.protocol import EpisodeStart, FrameStart, SeedStart, Start
from roboscape.sources.proportions import Proportions

StartOfSeed = Callable[[int], Start]
"""Returns where the world of a seed begins."""


class TrueStarts:
    """The first frame that the true simulator shows of a seed, for one that imagines.

    A learned and a true environment thereby begin alike at equal seeds. The arm is taken to be at
    rest, as at row 0 of the episode that is recorded of the seed.
    """

    def __init__(
        self,
        task: str,
        *,
        cameras: tuple[str, ...] = (),
        image_size: int,
        proportions: Proportions | None = None,
    ) -> None:
        """Open the true simulator of a task.

        Args:
            task: `Lift`, or `metaworld/` and a name.
            cameras: those that are shown; the task's usual one where none is named.
            image_size: height and width in pixels.
            proportions: decide which behaviour's episode a seed begins; those of recordings where
                not given.
        """
        # MuJoCo is imported only where it is needed.
        from roboscape.simulators.mujoco import MujocoSimulator

        self._true = MujocoSimulator(
            task, cameras=cameras, image_size=image_size, proportions=proportions
        )
        spec = self._true.spec
        self.camera, self.action, self.task = spec.cameras[0].name, spec.action, spec.task
        self.is_lift = task == "Lift"

    def __call__(self, seed: int) -> FrameStart:
        """Place the scene of a seed and look at it."""
        seen = self._true.reset([SeedStart(seed=seed)])
        return FrameStart(
            rgb={name: images[0] for name, images in seen.rgb.items()},
            depth_m={name: depth_m[0] for name, depth_m in seen.depth_m.items()},
            state=seen.state[0],
        )

    def close(self) -> None:
        """Close the true simulator."""
        self._true.close()


class DatasetStarts:
    """Any row of any episode of a dataset, drawn by the seed."""

    def __init__(self, dataset: LeRobotDataset, *, camera: str | None = None) -> None:
        """Start from a dataset's frames; its camera need not be named where it is the only one.

        Raises:
            ValueError: several cameras, and none is named.
        """
        names = [each.name for each in dataset.spec.cameras]
        if camera is None and len(names) > 1:
            raise UserError(f"choose one of the cameras {', '.join(names)}: camera=...")
        self._dataset = dataset
        self.camera, self.action = camera or names[0], dataset.spec.action
        self.task = dataset.episode_info(0).task
        self.is_lift = dataset.spec.source.endswith("Lift")

    def __call__(self, seed: int) -> EpisodeStart:
        """Draw an episode, then one of its rows."""
        generator = numpy_generator_for(seed)
        episode = int(generator.integers(self._dataset.num_episodes))
        row = int(generator.integers(self._dataset.episode_info(episode).length))
        return EpisodeStart(dataset=self._dataset, episode=episode, row=row)
