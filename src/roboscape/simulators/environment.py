"""Gymnasium environments over any simulator, learned or true, with equal spaces.

A step is one frame of the simulator. The observation is a dictionary:

- `pixels`: H × W × 3 bytes; with several cameras, a dictionary of them by camera name.
- `agent_pos`: the robot's proprioception, in the units of `WorldSpec.state_names`.
- `depth`, where asked for: metres, like `pixels`.

An action is one native action in stored units, between -1 and 1, held for the `stride` native steps
of a frame: commands of a few numbers, as stock agents expect. With `action_repeat=False` it is all
native actions of the frame, one after the other in a vector of stride × action numbers, which is
what the recordings hold.

The reward is 1 in a frame that shows the task solved, else 0; that frame ends the episode.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError

try:
    import gymnasium
except ModuleNotFoundError as error:
    raise UserError(
        "environments need gymnasium; install it with `pip install 'roboscape[sim]'`"
    ) from error
from roboscape.dataset.reader import LeRobotDataset
from roboscape.simulators.protocol import SeedStart
from roboscape.simulators.starts import DatasetStarts, StartOfSeed, TrueStarts
from roboscape.simulators.success import CubeRaised, Success, TrueSuccess
from roboscape.simulators.vector_environment import (
    EPISODE_FRAMES,
    SimulatorVectorEnv,
    action_space,
    observation_space,
    world_of,
)

__all__ = [
    "EPISODE_FRAMES",
    "DatasetStarts",
    "SimulatorEnv",
    "SimulatorVectorEnv",
    "StartOfSeed",
    "TrueStarts",
    "action_space",
    "make_learned",
    "make_learned_vector",
    "make_true",
    "make_true_vector",
    "observation_space",
]


class SimulatorEnv(gymnasium.Env):
    """One world of a simulator as an environment."""

    def __init__(self, worlds: SimulatorVectorEnv) -> None:
        """Show the only world of a batch of one, whose autoreset is disabled."""
        self._worlds = worlds
        self.metadata = worlds.metadata
        self.render_mode = worlds.render_mode
        self.observation_space = worlds.single_observation_space
        self.action_space = worlds.single_action_space
        self.task_description = worlds.task_description
        self._max_episode_steps = worlds._max_episode_steps

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episode of a seed, or of a drawn one."""
        super().reset(seed=seed)
        observation, infos = self._worlds.reset(seed=[seed])
        return world_of(observation, 0), _info_of(infos)

    def step(
        self, action: Float[np.ndarray, " action"]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Take one frame."""
        # As gymnasium has it, an ended episode may be stepped on; nothing is counted any more.
        self._worlds._ended[:] = False
        observation, reward, terminated, truncated, infos = self._worlds.step(
            np.asarray(action)[None]
        )
        return (
            world_of(observation, 0),
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            _info_of(infos),
        )

    def render(self) -> np.ndarray | None:
        """The first camera's present image; None without a render mode."""
        images = self._worlds.render()
        return None if images is None else images[0]

    def close(self) -> None:
        """Close the simulator."""
        self._worlds.close()


def _info_of(infos: dict[str, Any]) -> dict[str, Any]:
    """The only world's information, without masks."""
    return {key: value[0].item() for key, value in infos.items() if not key.startswith("_")}


def make_true_vector(
    num_envs: int = 1,
    *,
    task: str,
    success: Success | None = None,
    simulator: Mapping[str, Any] | None = None,
    **settings: Any,
) -> SimulatorVectorEnv:
    """True worlds: `roboscape/LiftMujoco-v0`, `roboscape/MetaworldMujoco-v0`.

    Args:
        num_envs: number of worlds.
        task: `Lift`, or `metaworld/` and Meta-World's name of a task.
        success: decides reward and end; the simulator's own where not given.
        simulator: arguments of `MujocoSimulator`: cameras, image_size, frame_hz, ...
        settings: arguments of `SimulatorVectorEnv`: max_episode_steps, action_repeat, ...
    """
    from roboscape.simulators.mujoco import MujocoSimulator

    return SimulatorVectorEnv(
        MujocoSimulator(task, num_envs, **(simulator or {})),
        start_of_seed=lambda seed: SeedStart(seed=seed),
        success=success or TrueSuccess(),
        **settings,
    )


def make_learned_vector(
    num_envs: int = 1,
    *,
    bundle: Any = "lift",
    task: str = "Lift",
    dataset: LeRobotDataset | None = None,
    camera: str | None = None,
    success: Success | None = None,
    simulator: Mapping[str, Any] | None = None,
    **settings: Any,
) -> SimulatorVectorEnv:
    """Worlds that a bundle imagines: `roboscape/Lift-v0`.

    Args:
        num_envs: number of worlds.
        bundle: a `Bundle`, which stays on its device; or a folder or name, which is loaded onto the
            GPU where there is one.
        task: the true simulator's task, whose first frame of a seed is imagined on.
        dataset: start from its frames instead, without the true simulator.
        camera: the one that the bundle was trained on; the task's usual one, or the dataset's only
            one, where not given.
        success: decides reward and end; where not given, whether the cube is seen to have left the
            table (`CubeRaised`), which only Lift has.
        simulator: further arguments of `LearnedSimulator`: sampling, seed.
        settings: arguments of `SimulatorVectorEnv`: max_episode_steps, action_repeat, ...

    Raises:
        ValueError: a task without a rule for success, or whose actions mean other things than the
            bundle's; a dataset of several cameras, and none is chosen.
    """
    # Neither torch nor MuJoCo is imported before something is imagined or simulated.
    from roboscape.simulators.learned import LearnedSimulator

    bundle = loaded(bundle)
    starts = starts_for(bundle, task=task, dataset=dataset, camera=camera)
    if success is None and not starts.is_lift:
        raise UserError(f"no rule says when {starts.task!r} is solved; give success=...")
    if starts.action != bundle.controls.convention:
        raise UserError(
            f"the bundle's actions mean {bundle.controls.convention}, and those of the frames to "
            f"start from {starts.action}; take a bundle of the same task"
        )
    return SimulatorVectorEnv(
        LearnedSimulator(
            bundle, batch=num_envs, cameras=(starts.camera,), task=starts.task, **(simulator or {})
        ),
        start_of_seed=starts,
        success=success or CubeRaised(starts.camera),
        **settings,
    )


def loaded(bundle: Any) -> Any:
    """A `Bundle` as it is, or the one of a folder or name, on the GPU where there is one."""
    from roboscape.core.device import resolve_device
    from roboscape.rollout.bundle import Bundle, Compute

    if isinstance(bundle, Bundle):
        return bundle
    return Bundle.from_pretrained(bundle).for_imagining(Compute(device=resolve_device()))


def starts_for(
    bundle: Any, *, task: str, dataset: LeRobotDataset | None, camera: str | None
) -> TrueStarts | DatasetStarts:
    """A dataset's frames, or where none is given the first ones of a task's true simulator."""
    if dataset is not None:
        return DatasetStarts(dataset, camera=camera)
    side = bundle.tokenizer.config.image_size
    return TrueStarts(task, cameras=(camera,) if camera else (), image_size=side)


def make_true(**settings: Any) -> SimulatorEnv:
    """One world of `make_true_vector`."""
    return SimulatorEnv(make_true_vector(1, autoreset_mode="Disabled", **settings))


def make_learned(**settings: Any) -> SimulatorEnv:
    """One world of `make_learned_vector`."""
    return SimulatorEnv(make_learned_vector(1, autoreset_mode="Disabled", **settings))
