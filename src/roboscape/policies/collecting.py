"""Recordings of policies in the true simulator: `roboscape collect policy`.

A world model that is to judge policies must have seen how policies fail, and a script fails in
other ways. Checkpoints of one training, from useless to good, show it.
"""

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from roboscape.collect.collect import collect
from roboscape.collect.recording import numbers_of, record_episode
from roboscape.core.errors import UserError
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.policies.driver import PolicyDriver
from roboscape.policies.opening import open_policy
from roboscape.policies.protocol import Policy
from roboscape.policies.worlds import EXPERT
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.protocol import Observation, SeedStart, WorldSpec
from roboscape.simulators.recording_spec import dataset_spec, measured_cameras


@dataclass(frozen=True, kw_only=True)
class CollectPolicy:
    """Record what policies do in the true simulator, as a LeRobot dataset like `collect lift`'s."""

    policies: tuple[str, ...]
    """Folders of trained policies, bundled names, RUN@STEP or addresses of policy servers; they
    take turns by seed."""
    output: Path
    """Folder of the dataset; collecting into an existing one continues it."""
    episodes: int
    """Number of episodes; episode i has the seed `seed` + i, which is the policy's too."""
    task: str = "Lift"
    """`Lift`, or `metaworld/` and a name. Episodes begin where those of an expert do."""
    seed: int = 0
    """Seed of the first episode: 800000 and above is validation, 900000 and above is test."""
    workers: int = 2
    """Simulating processes."""
    horizon: int = 100
    """Control steps (rows) of an episode; it goes on after success."""
    cameras: tuple[str, ...] = ()
    """Names of the cameras; the task's usual one where none is named."""
    image_size: int = 128
    """Height and width of the images in pixels; policies must have been trained with it."""
    supersampling: int = 2
    """Factor by which images are drawn larger and averaged, so that edges do not alias."""
    objects: bool = False
    """Record where objects are too (`observation.environment_state`), for an arm model that takes
    it; of a task whose objects' places are known."""
    pictures: bool = True
    """Without, only what policies look at is drawn, and numbers alone are kept, with objects'
    places: several times as quick, and all that an arm model learns from."""

    def __post_init__(self) -> None:
        """Raise `UserError` without a policy or rows."""
        if not self.policies or self.horizon < 1:
            raise UserError(
                f"expected policies and horizon >= 1, got {len(self.policies)} policies, horizon "
                f"{self.horizon}"
            )


class PolicyActor:
    """A policy in an episode of rows: it sees those frames that are its own."""

    def __init__(self, policy: Policy, world: WorldSpec, *, seed: int) -> None:
        """Begin an episode.

        Args:
            policy: one that fits the world at the policy's own frame rate.
            world: the simulator's, a frame a native action.
            seed: of the policy's random numbers.

        Raises:
            UserError: the policy does not fit, or its frames lie no whole number of rows apart.
        """
        rows = world.frame_hz / policy.spec.frame_hz
        if rows != round(rows):
            raise UserError(
                f"the policy sees {policy.spec.frame_hz:g} frames a second, and the simulator has "
                f"{world.frame_hz:g} rows; expected a whole number of rows a frame"
            )
        self._stride, self._seed = round(rows), seed
        framed = replace(world, frame_hz=policy.spec.frame_hz, stride=self._stride)
        self._driver = PolicyDriver(policy, framed)
        self._left: deque[np.ndarray] = deque()
        self._begun = False

    def __call__(self, look: Callable[[], Observation]) -> Float[np.ndarray, " a"]:
        """The native action of a row.

        Args:
            look: draws what is to be seen before it; called in rows that show a frame.
        """
        if not self._left:
            observation = look()
            if self._begun:
                self._driver.observe(observation)
            else:
                self._driver.reset(observation, seeds=[self._seed])
                self._begun = True
            (actions,) = self._driver.actions()
            self._left.extend(actions)
        return self._left.popleft()


class PolicyRecorder:
    """Records one episode after another; each depends on its seed and its policy alone."""

    def __init__(self, config: CollectPolicy) -> None:
        self._config = config
        self._policies = [open_policy(name, device="cpu") for name in config.policies]
        kind, _ = measured_cameras(config.task, (), config.image_size)
        self._simulator = MujocoSimulator(
            config.task,
            cameras=config.cameras,
            image_size=config.image_size,
            supersampling=config.supersampling,
            frame_hz=kind.action.action_hz,
            proportions=EXPERT,
        )
        # Each is refused here if it does not fit, before any episode.
        for policy in self._policies:
            PolicyActor(policy, self._simulator.spec, seed=config.seed)

    def dataset_spec(self) -> DatasetSpec:
        """The specification of the dataset, common to all its episodes."""
        return dataset_spec(
            self._config.task,
            cameras=tuple(camera.name for camera in self._simulator.spec.cameras)
            if self._config.pictures
            else (),
            image_size=self._config.image_size,
            supersampling=self._config.supersampling,
            objects=self._config.objects or not self._config.pictures,
        )

    def simulate(self, seed: int) -> Episode:
        """Record the episode of a seed."""
        turn, simulator = seed % len(self._policies), self._simulator
        actor = PolicyActor(self._policies[turn], simulator.spec, seed=seed)
        behaviour = "policy:" + "/".join(Path(self._config.policies[turn]).parts[-2:])
        rows = self._config.horizon
        if self._config.pictures:
            return record_episode(
                simulator,
                seed=seed,
                rows=rows,
                actor=lambda observation: actor(lambda: observation),
                behaviour=behaviour,
                objects=self._config.objects,
            )
        simulator.reset([SeedStart(seed=seed)])
        (world,) = simulator.worlds
        return numbers_of(
            world.scene,
            lambda: actor(simulator.look),
            seed=seed,
            behaviour=behaviour,
            rows=rows,
        )

    def close(self) -> None:
        """Free the graphics context, and what the policies hold."""
        self._simulator.close()
        for policy in self._policies:
            policy.close()


def run(config: CollectPolicy) -> None:
    """Collect the episodes; an interrupted run continues where it stopped."""
    # A policy that does not fit is refused here, before anything of the dataset is made.
    recorder = PolicyRecorder(config)
    try:
        spec = recorder.dataset_spec()
    finally:
        recorder.close()
    collect(config, make_simulator=functools.partial(PolicyRecorder, config), spec=spec)
