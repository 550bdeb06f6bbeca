"""The loop of a policy and a simulator: frames are kept, chunks are used up, rates converted."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.dataset.action_math import slow_down, speed_up
from roboscape.policies.protocol import (
    Policy,
    PolicyInput,
    PolicySpec,
    check_policy_fits,
    reads_tokens_of,
)
from roboscape.simulators.protocol import Index, Mask, Observation, WorldSpec


class PolicyDriver:
    """Acts in the worlds of one simulator by a policy.

    Each world has its own age: it may begin anew while the others are in the middle of a chunk.
    """

    def __init__(self, policy: Policy, world: WorldSpec) -> None:
        """Check that the policy fits.

        Raises:
            ValueError: it does not (`check_policy_fits`), or the actions that are taken of a chunk
                do not fill whole frames.
        """
        check_policy_fits(policy.spec, world)
        self.policy, self._world = policy, world
        self._by_tokens = reads_tokens_of(policy.spec, world)
        self._executed = native_length(policy.spec.executed, policy.spec, world)
        if self._executed % world.stride:
            raise UserError(
                f"{policy.spec.executed} actions of each chunk are taken, {self._executed} at the "
                f"simulator's rate; expected a multiple of the {world.stride} of a frame"
            )
        self._history: list[Observation] = []
        self._plans: list[Float[np.ndarray, "n a"]] = []

    def reset(
        self, observation: Observation, *, seeds: Sequence[int], where: Mask | None = None
    ) -> None:
        """Begin episodes anew with what is to be seen first.

        Args:
            observation: of all worlds.
            seeds: of the policy's random numbers, one for each chosen world.
            where: worlds that begin; all where not given.
        """
        self.policy.reset(seeds, where=where)
        batch = len(observation.state)
        if where is None:
            self._plans = [self._nothing() for _ in range(batch)]
            self._history = [self._seen(observation)] * self.policy.spec.frames
            return
        for world in np.flatnonzero(where):
            self._plans[world] = self._nothing()
        new = self._seen(observation)
        self._history = [_replaced(old, new, where) for old in self._history]

    def actions(self) -> Float[np.ndarray, "b stride a"]:
        """The native actions that lead from the newest frame to the next."""
        if not self._plans:
            raise UserError("no episode has begun: call reset first")
        stride = self._world.stride
        due = np.array([world for world, plan in enumerate(self._plans) if len(plan) < stride])
        if len(due):
            chunks = self.policy.act(self._observed(due), worlds=due)
            for world, chunk in zip(due, chunks, strict=True):
                native = native_actions(chunk, self.policy.spec, self._world)
                self._plans[world] = native[: self._executed]
        taken = np.stack([plan[:stride] for plan in self._plans])
        self._plans = [plan[stride:] for plan in self._plans]
        return taken

    def observe(self, observation: Observation) -> None:
        """Show the policy the frame that the actions led to."""
        self._history = [*self._history[1:], self._seen(observation)]

    def _observed(self, worlds: Index) -> PolicyInput:
        """The frames of some worlds, oldest first."""
        frames, spec = self._history, self.policy.spec
        tokens = _stacked([frame.tokens for frame in frames], worlds)
        return PolicyInput(
            rgb=_stacked([frame.rgb for frame in frames], worlds),
            depth_m=_stacked([frame.depth_m for frame in frames], worlds),
            # Those of RGB; depth's come after them.
            tokens={name: kinds[:, :, 0] for name, kinds in tokens.items()},
            state=np.stack([frame.state[worlds] for frame in frames], axis=1),
            task=self._world.task if spec.reads_task else "",
        )

    def _seen(self, observation: Observation) -> Observation:
        """The part of an observation that the policy is shown."""
        spec, tokens = self.policy.spec, self._by_tokens
        columns = [self._world.state_names.index(name) for name in spec.state_names]
        return Observation(
            rgb={} if tokens else {name: observation.rgb[name] for name in spec.cameras},
            depth_m={name: observation.depth_m[name] for name in spec.depth_cameras},
            state=np.asarray(observation.state[:, columns], np.float32),
            tokens={name: observation.tokens[name] for name in spec.cameras} if tokens else {},
        )

    def _nothing(self) -> Float[np.ndarray, "n a"]:
        return np.zeros((0, len(self._world.action.names)), np.float32)


def _stacked(frames: Sequence[dict[str, np.ndarray]], worlds: Index) -> dict[str, np.ndarray]:
    """What some worlds showed by camera name, frames along the second axis."""
    return {name: np.stack([one[name][worlds] for one in frames], axis=1) for name in frames[0]}


def _replaced(old: Observation, new: Observation, where: Mask) -> Observation:
    """A frame with some worlds replaced by those of another."""

    def mixed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        chosen = np.asarray(where).reshape(-1, *[1] * (before.ndim - 1))
        return np.where(chosen, after, before)

    return Observation(
        rgb={name: mixed(old.rgb[name], new.rgb[name]) for name in old.rgb},
        depth_m={name: mixed(old.depth_m[name], new.depth_m[name]) for name in old.depth_m},
        state=mixed(old.state, new.state),
        tokens={name: mixed(old.tokens[name], new.tokens[name]) for name in old.tokens},
    )


def native_length(actions: int, policy: PolicySpec, world: WorldSpec) -> int:
    """The number of the simulator's actions that some of a policy's take the time of."""
    exact = actions * world.action.action_hz / policy.action.action_hz
    if exact != round(exact):
        raise UserError(
            f"{actions} actions at {policy.action.action_hz:g} a second are no whole number at "
            f"{world.action.action_hz:g}; change how many of a chunk are taken"
        )
    return round(exact)


def native_actions(
    chunk: Float[np.ndarray, "c a"], policy: PolicySpec, world: WorldSpec
) -> Float[np.ndarray, "n a"]:
    """A chunk at the simulator's rate: deltas are shared out or summed, the others held."""
    own_hz, native_hz = policy.action.action_hz, world.action.action_hz
    if native_hz > own_hz:
        return speed_up(chunk, convention=policy.action, factor=round(native_hz / own_hz))
    if native_hz < own_hz:
        return slow_down(chunk, convention=policy.action, factor=round(own_hz / native_hz))
    return chunk
