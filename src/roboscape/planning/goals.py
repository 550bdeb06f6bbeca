"""Goals of episodes: what the true simulator shows after an expert has acted for a while."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from roboscape.dataset.cameras import hand_columns
from roboscape.planning.costs import Goal
from roboscape.policies.episodes import NONE
from roboscape.policies.protocol import PolicyInput
from roboscape.policies.scripted import ScriptedPolicy
from roboscape.policies.worlds import EXPERT, WorldChoice
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.protocol import Mask, Observation, SeedStart, WorldSpec


def expert_goals(
    choice: WorldChoice, seeds: Sequence[int], *, seconds: float, action_hz: float
) -> dict[int, Goal]:
    """The frame that an expert reaches from each start, by seed.

    What the start leads to can be reached from there: the cube lies where it lies.

    Args:
        choice: the true simulator's task, cameras and image size.
        seeds: of the starts.
        seconds: how long the expert acts.
        action_hz: actions a second of the task.
    """
    simulator = MujocoSimulator(
        choice.task,
        cameras=choice.cameras,
        image_size=choice.image_size,
        # A script sees what every single action did.
        frame_hz=action_hz,
        proportions=EXPERT,
    )
    try:
        script = ScriptedPolicy(simulator)
        return {seed: _reached(simulator, script, seed, seconds=seconds) for seed in seeds}
    finally:
        simulator.close()


def _reached(
    simulator: MujocoSimulator, script: ScriptedPolicy, seed: int, *, seconds: float
) -> Goal:
    """The frame that the expert reaches from one start."""
    seen = simulator.reset([SeedStart(seed=seed)])
    script.reset([seed])
    nothing = PolicyInput(rgb={}, depth_m={}, state=np.zeros((1, 1, 0), np.float32))
    for _ in range(max(1, round(seconds * simulator.spec.frame_hz))):
        seen = simulator.step(script.act(nothing, worlds=np.zeros(1, int)))
    return Goal(
        rgb={name: images[0] for name, images in seen.rgb.items()},
        depth_m={name: depth_m[0] for name, depth_m in seen.depth_m.items()},
        state=seen.state[0],
    )


class Never:
    """A `Success` that never comes: episodes last as long as they may."""

    def reset(self, observation: Observation, *, where: Mask) -> None:
        """Nothing to remember."""

    def __call__(self, observation: Observation) -> Bool[np.ndarray, " b"]:
        """False everywhere."""
        return np.zeros(len(observation.state), bool)


class GoalDistance:
    """A `Watch` of `run_episodes` that keeps how far the hand is from the goal, in metres."""

    def __init__(
        self, goals: Mapping[int, Goal], *, seeds: Sequence[int], world: WorldSpec
    ) -> None:
        """Measure.

        Args:
            goals: by seed.
            seeds: of the episodes, by number.
            world: of the simulator.
        """
        self._columns = hand_columns(world.state_names)
        self._goals = [goals[seed].state[self._columns] for seed in seeds]
        self.metres: dict[int, list[float]] = {}
        """Of every frame of every episode, by number."""

    def __call__(self, observation: Observation, numbers: Int[np.ndarray, " b"]) -> None:
        """Measure in every world that has an episode."""
        for world in np.flatnonzero(numbers != NONE).tolist():
            number = int(numbers[world])
            away = observation.state[world, self._columns] - self._goals[number]
            self.metres.setdefault(number, []).append(float(np.linalg.norm(away)))
