"""Policies without a network: the scripts that made the recordings, and recorded actions."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.dataset.conventions import is_gripper
from roboscape.dataset.records import ActionConvention
from roboscape.policies.protocol import PolicyInput, PolicySpec, begun_anew
from roboscape.simulators.mujoco import MujocoSimulator
from roboscape.simulators.protocol import Index, Mask, WorldSpec


class ScriptedPolicy:
    """The script of a behaviour, acting in true worlds.

    A script reads the pose of every object, which no image gives: it acts in the simulator that it
    was made for, and nowhere else. The simulator must show a frame for every native action, so that
    the script sees what each action did.
    """

    def __init__(self, simulator: MujocoSimulator, *, behaviour: str = "expert") -> None:
        """Act in the worlds of a true simulator.

        Raises:
            ValueError: frames lie several actions apart.
        """
        world = simulator.spec
        if world.stride != 1:
            raise UserError(
                f"a script acts {world.action.action_hz:g} times a second, and this simulator "
                f"shows {world.frame_hz:g} frames; make it with frame_hz={world.action.action_hz:g}"
            )
        self._simulator, self._behaviour = simulator, behaviour
        self._scripts: list = []
        self._spec = PolicySpec(
            cameras=(), frame_hz=world.frame_hz, action=world.action, chunk=1, executed=1
        )

    @property
    def spec(self) -> PolicySpec:
        """Its observations and actions: no observation, one action."""
        return self._spec

    def reset(self, seeds: Sequence[int], *, where: Mask | None = None) -> None:
        """Begin the script of each seed."""
        # A script follows from its seed and the task, which all worlds share.
        scene = self._simulator.worlds[0].scene
        new = [scene.script(seed, behaviour=self._behaviour) for seed in seeds]
        self._scripts = begun_anew(self._scripts, new, where=where)

    def act(self, observed: PolicyInput, *, worlds: Index) -> Float[np.ndarray, "b 1 a"]:
        """The next action of the scripts of some worlds."""
        del observed
        views = [self._simulator.worlds[world].scene.view() for world in worlds]
        acts = [self._scripts[world](view) for world, view in zip(worlds, views, strict=True)]
        return np.stack(acts)[:, None].astype(np.float32)

    def close(self) -> None:
        """Nothing to free: the simulator is not its own."""


class RecordedPolicy:
    """Recorded actions, whatever is to be seen (open loop); after the last one the arm rests."""

    def __init__(self, actions: Mapping[int, Float[np.ndarray, "n a"]], world: WorldSpec) -> None:
        """Replay actions.

        Args:
            actions: by the seed that `reset` is given, at the simulator's rate and convention.
            world: of the simulator.

        Raises:
            ValueError: a sequence without actions, or of another size.
        """
        size = len(world.action.names)
        for seed, sequence in actions.items():
            if sequence.ndim != 2 or not len(sequence) or sequence.shape[1] != size:
                raise UserError(
                    f"expected the actions of seed {seed} to be rows of {size} numbers, got shape "
                    f"{sequence.shape}"
                )
        self._actions = dict(actions)
        self._left: list[Float[np.ndarray, "n a"]] = []
        self._spec = PolicySpec(
            cameras=(),
            frame_hz=world.frame_hz,
            action=world.action,
            chunk=world.stride,
            executed=world.stride,
        )

    @property
    def spec(self) -> PolicySpec:
        """Its observations and actions: no observation, the actions of one frame."""
        return self._spec

    def reset(self, seeds: Sequence[int], *, where: Mask | None = None) -> None:
        """Begin the actions that were recorded of each seed.

        Raises:
            ValueError: a seed without actions.
        """
        if unknown := [seed for seed in seeds if seed not in self._actions]:
            raise UserError(f"no actions were recorded of seeds {unknown}")
        new = [self._actions[seed] for seed in seeds]
        self._left = begun_anew(self._left, new, where=where)

    def act(self, observed: PolicyInput, *, worlds: Index) -> Float[np.ndarray, "b c a"]:
        """The recorded actions of the next frame in some worlds."""
        del observed
        return np.stack([self._next(int(world)) for world in worlds])

    def _next(self, world: int) -> Float[np.ndarray, "c a"]:
        left, count = self._left[world], self._spec.chunk
        padded = np.concatenate([left, np.repeat(resting(left[-1:], self._spec.action), count, 0)])
        self._left[world] = padded[count:][: max(1, len(left) - count)]
        return padded[:count].astype(np.float32)

    def close(self) -> None:
        """Nothing to free."""


def resting(
    last: Float[np.ndarray, "1 a"], convention: ActionConvention
) -> Float[np.ndarray, "1 a"]:
    """The action that keeps an arm where it is: no motion, the last pose, the gripper as it was."""
    if convention.mode == "absolute":
        return last
    return np.where([is_gripper(name) for name in convention.names], last, 0.0)
