"""Futures of candidate actions, imagined from what a policy is shown now.

Axes: b world, k candidate of a world, n candidate of all worlds (b times k), f frame, c native
action, a action dimension, s state dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from einops import rearrange
from jaxtyping import Float, Int

from roboscape.core.errors import UserError
from roboscape.policies.protocol import PolicyInput, PolicySpec
from roboscape.rollout.videos import Videos, encode_videos, first_objects
from roboscape.simulators.learned import Decode, LearnedSimulator
from roboscape.simulators.protocol import FrameStart, Observation

Reads = Literal["states", "tokens", "rgb", "all"]
"""The parts of a future that are needed, each with those before it: the robot's states, for which
the arm model is enough and no frame is imagined; tokens; RGB of the last frame; depth as well."""
DECODED: dict[Reads, Decode] = {"tokens": "none", "rgb": "rgb", "all": "all"}
"""The pixels of the last frame that go with it."""


@dataclass(frozen=True, kw_only=True)
class Futures:
    """The futures of candidate actions. Candidates of one world follow each other."""

    given: Observation
    """The present frame of every world, as it is."""
    seeds: Sequence[int]
    """Of the worlds' episodes."""
    world: Int[np.ndarray, " n"]
    """The world of each candidate, as its place in `given`."""
    last: Observation
    """The last imagined frame of every candidate; pixels only where they were asked for."""
    states: Float[np.ndarray, "n f s"]
    """Of the robot, after every imagined frame."""
    confidence: Float[np.ndarray, " n"] | None = None
    """Mean probability of the chosen tokens, over all frames; None where none were imagined."""
    tokens: Int[np.ndarray, "m n t"] | None = None
    """Of the last frame: m RGB, then depth; None where none were imagined."""

    def __len__(self) -> int:
        """Number of candidates."""
        return len(self.world)


class Imaginer:
    """A learned simulator that starts, again and again, from what a policy is shown."""

    def __init__(self, simulator: LearnedSimulator, *, task: str = "") -> None:
        """Use a simulator, whose worlds are replaced by those that are imagined.

        Args:
            simulator: of the bundle.
            task: what is to be done, in words.

        Raises:
            ValueError: nothing in the bundle says where the arm is, so its state has no names.
        """
        if not simulator.spec.state_names:
            raise UserError(
                "planning starts from the robot's state, and this bundle has no arm model that "
                "names it; train one (`roboscape train proprioception`)"
            )
        self.simulator, self._task = simulator, task
        # Pixels are decoded for the last frame alone.
        simulator.decode = "none"

    def spec(self, *, executed: int, chunk: int, frames: int = 2) -> PolicySpec:
        """The observations and actions of a policy that plans here; lengths in native actions."""
        world = self.simulator.spec
        return PolicySpec(
            cameras=tuple(camera.name for camera in world.cameras),
            depth_cameras=tuple(camera.name for camera in world.cameras if camera.has_depth),
            image_size=world.cameras[0].height,
            state_names=world.state_names,
            # Two frames say how fast the arm is.
            frames=max(2, frames),
            frame_hz=world.frame_hz,
            action=world.action,
            chunk=chunk,
            executed=executed,
        )

    def imagine(
        self,
        observed: PolicyInput,
        actions: Float[np.ndarray, "b k c a"],
        *,
        seeds: Sequence[int],
        reads: Reads = "tokens",
    ) -> Futures:
        """The futures of several candidates of every world.

        Args:
            observed: the worlds now, as `spec` says; two frames at least.
            actions: native ones, whole frames of them.
            seeds: of the worlds' episodes.
            reads: what is needed of them.
        """
        worlds, candidates, length, _ = actions.shape
        simulator, stride = self.simulator, self.simulator.spec.stride
        if length % stride or not length:
            raise UserError(
                f"expected whole frames of {stride} native actions, got {length} actions"
            )
        index = np.repeat(np.arange(worlds), candidates)
        if reads == "states":
            states = self._states(observed, actions)
            return Futures(
                given=present(observed),
                seeds=seeds,
                world=index,
                last=Observation(rgb={}, depth_m={}, state=states[:, -1]),
                states=states,
            )
        self._begin(observed)
        simulator.restore(simulator.snapshot(), index=index)
        steps = rearrange(actions, "b k (f stride) a -> f (b k) stride a", stride=stride)
        states, confidence = [], []
        for native in steps:
            seen = simulator.step(native.astype(np.float32))
            states.append(seen.state)
            confidence.append(
                np.mean([grid.mean(axis=(1, 2)) for grid in seen.confidence.values()], axis=0)
            )
        return Futures(
            given=present(observed),
            seeds=seeds,
            world=index,
            last=simulator.observe(DECODED[reads]),
            states=np.stack(states, axis=1),
            confidence=np.mean(confidence, axis=0),
            tokens=simulator.tokens.cpu().numpy(),
        )

    def _states(
        self, observed: PolicyInput, actions: Float[np.ndarray, "b k c a"]
    ) -> Float[np.ndarray, "n f s"]:
        """States of the arm after every frame of every candidate, as the arm model has them."""
        stream, stride = self.simulator.bundle.controls.stream(), self.simulator.spec.stride
        stream.reset(
            observed.state[:, -1],
            state_before=self._row_before(observed),
            objects=self._objects(observed),
        )
        index = np.repeat(np.arange(len(observed)), actions.shape[1])
        stream.restore(stream.snapshot().take(index.tolist()))
        states = []
        for native in rearrange(actions, "b k (f stride) a -> f (b k) stride a", stride=stride):
            stream.step(native.astype(np.float32))
            assert stream.state is not None, "a planner's bundle has an arm model"
            states.append(stream.state)
        return np.stack(states, axis=1)

    def _objects(self, observed: PolicyInput) -> Float[np.ndarray, "b o"] | None:
        """Positions of the objects in the present frames, for an arm model that takes them."""
        bundle, cameras = self.simulator.bundle, self.simulator.cameras
        if bundle.object_reader is None:
            return None
        rgb = np.concatenate([observed.rgb[name][:, -1] for name in cameras], axis=1)
        depth_m = [observed.depth_m[name][:, -1] for name in cameras if name in observed.depth_m]
        codes = encode_videos(
            bundle.tokenizer,
            Videos(
                rgb=rgb[:, None],
                depth_m=np.concatenate(depth_m, axis=1)[:, None] if depth_m else None,
            ),
        )
        return first_objects(bundle, codes)

    def _row_before(self, observed: PolicyInput) -> Float[np.ndarray, "b s"]:
        """The state a native row ago, of an arm that has kept its speed since the last frame."""
        now, before = observed.state[:, -1], observed.state[:, -2]
        return now - (now - before) / self.simulator.spec.stride

    def _begin(self, observed: PolicyInput) -> None:
        """Start a world from each of the present frames."""
        simulator, batch = self.simulator, len(observed)
        if simulator.batch != batch:
            simulator.restore(simulator.snapshot(), index=np.zeros(batch, int))
        now, row_before = observed.state[:, -1], self._row_before(observed)
        simulator.reset(
            [
                FrameStart(
                    rgb={name: images[world, -1] for name, images in observed.rgb.items()},
                    depth_m={name: depth[world, -1] for name, depth in observed.depth_m.items()},
                    state=now[world],
                    state_before=row_before[world],
                    task=self._task,
                )
                for world in range(batch)
            ]
        )


def present(observed: PolicyInput) -> Observation:
    """The newest frame that a policy is shown."""
    return Observation(
        rgb={name: images[:, -1] for name, images in observed.rgb.items()},
        depth_m={name: depth_m[:, -1] for name, depth_m in observed.depth_m.items()},
        state=observed.state[:, -1],
    )
