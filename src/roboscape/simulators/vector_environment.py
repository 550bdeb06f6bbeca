"""The batch of environments over a simulator, which gymnasium calls a vector environment."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.records import FIRST_VALIDATION_SEED
from roboscape.simulators.protocol import Mask, Observation, Simulator, WorldSpec
from roboscape.simulators.starts import StartOfSeed, TrueStarts
from roboscape.simulators.success import Success

EPISODE_FRAMES = 50
"""Frames after which an episode is truncated: ten seconds at five a second."""


def observation_space(spec: WorldSpec, *, depth: bool) -> spaces.Dict:
    """The space of one world's observations.

    Raises:
        ValueError: depth is asked for, and a camera gives none.
    """
    pixels = {
        camera.name: spaces.Box(0, 255, (camera.height, camera.width, 3), np.uint8)
        for camera in spec.cameras
    }
    parts: dict[str, spaces.Space] = {
        "pixels": _by_camera(pixels),
        "agent_pos": spaces.Box(-np.inf, np.inf, (len(spec.state_names),), np.float32),
    }
    if depth:
        without = [camera.name for camera in spec.cameras if not camera.has_depth]
        if without:
            raise UserError(f"depth=True needs depth, and {', '.join(without)} gives none")
        depths = {
            camera.name: spaces.Box(0.0, np.inf, (camera.height, camera.width), np.float32)
            for camera in spec.cameras
        }
        parts["depth"] = _by_camera(depths)
    return spaces.Dict(parts)


def action_space(spec: WorldSpec, *, action_repeat: bool) -> spaces.Box:
    """The space of the actions that command one world in a frame."""
    size = len(spec.action.names) * (1 if action_repeat else spec.stride)
    return spaces.Box(-1.0, 1.0, (size,), np.float32)


class SimulatorVectorEnv(VectorEnv):
    """All worlds of a simulator as one batch of environments, stepped together.

    `metadata["autoreset_mode"]` says what happens to a world whose episode ended:

    - SAME_STEP, the default, since no frame is then imagined in vain and lerobot expects it: it is
      reset at once. The observation is its new first frame; the last one is in
      `info["final_obs"]`, its information in `info["final_info"]`.
    - NEXT_STEP: the next step resets it, takes no notice of its action and gives no reward.
    - DISABLED: `reset` with `options["reset_mask"]` does, before the next step.

    `reset(seed=s)` begins world i with seed s + i, and a list of seeds begins each with its own. A
    world that is reset without a seed draws one, from what its last given seed decides, among those
    of training episodes: never one of validation or test.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        start_of_seed: StartOfSeed,
        success: Success,
        max_episode_steps: int = EPISODE_FRAMES,
        action_repeat: bool = True,
        depth: bool = False,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Wrap a simulator, which closes with the environments.

        Args:
            simulator: a batch of worlds, each an environment.
            start_of_seed: where the world of a seed begins.
            success: decides reward and end.
            max_episode_steps: frames after which an episode is truncated.
            action_repeat: one native action a frame, held, or all of them.
            depth: whether to observe it.
            autoreset_mode: see the class.
            render_mode: `rgb_array`, or None: nothing is rendered.
        """
        if max_episode_steps < 1:
            raise UserError(f"max_episode_steps must be at least 1, got {max_episode_steps}")
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"expected the render mode rgb_array, got {render_mode!r}")
        self.simulator, self.num_envs = simulator, simulator.batch
        self._start_of_seed, self._success = start_of_seed, success
        self._max_episode_steps = max_episode_steps
        self._action_repeat = action_repeat
        self._mode = AutoresetMode(autoreset_mode)
        self.task_description = simulator.spec.task
        self.render_mode = render_mode
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": simulator.spec.frame_hz,
            "autoreset_mode": self._mode,
        }
        self._depth = depth
        self._define_spaces()
        # Without any seed the first ones differ from run to run.
        self._generators = np.random.default_rng().spawn(self.num_envs)
        self._seeds = np.zeros(self.num_envs, np.int64)
        self._frames = np.zeros(self.num_envs, np.int64)
        self._ended = np.ones(self.num_envs, bool)
        self._seen: Observation | None = None

    def _define_spaces(self) -> None:
        """Describe observations and actions, of one environment and of all."""
        spec = self.simulator.spec
        self.single_observation_space = observation_space(spec, depth=self._depth)
        self.single_action_space = action_space(spec, action_repeat=self._action_repeat)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin new episodes, in all worlds or in those of `options["reset_mask"]`.

        Raises:
            ValueError: another number of seeds than of worlds, or a mask of another kind.
        """
        where = self._reset_mask(options or {})
        if isinstance(seed, (int, np.integer)):
            seed = [int(seed) + i for i in range(self.num_envs)]
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise UserError(f"expected {self.num_envs} seeds, got {len(seeds)}")
        for world, given in enumerate(seeds):
            if where[world] and given is not None:
                self._generators[world] = numpy_generator_for(given)
        self._begin(where, seeds)
        return self._observation(), self._infos(np.zeros(self.num_envs, bool), where)

    def step(
        self, actions: Float[np.ndarray, "b action"]
    ) -> tuple[
        dict[str, Any],
        Float[np.ndarray, " b"],
        Bool[np.ndarray, " b"],
        Bool[np.ndarray, " b"],
        dict[str, Any],
    ]:
        """Take one frame in all worlds.

        Raises:
            ResetNeeded: before the first reset; with DISABLED, when an episode ended.
        """
        if self._seen is None or (self._mode is AutoresetMode.DISABLED and self._ended.any()):
            raise gymnasium.error.ResetNeeded(
                "an episode has not begun or has ended: call reset, with "
                "options={'reset_mask': terminated | truncated} under AutoresetMode.DISABLED"
            )
        began = self._ended.copy()
        self._seen = self.simulator.step(self._native(actions))
        self._frames += 1
        if began.any():
            self._begin(began, [None] * self.num_envs)
        solved = np.asarray(self._success(self._seen), bool) & ~began
        truncated = (self._frames >= self._max_episode_steps) & ~solved & ~began
        ended = solved | truncated
        everywhere = np.ones(self.num_envs, bool)
        infos = self._infos(solved, everywhere)
        if self._mode is AutoresetMode.SAME_STEP and ended.any():
            infos = self._final_infos(ended, solved)
            self._begin(ended, [None] * self.num_envs)
            infos |= self._infos(solved, everywhere)
        else:
            self._ended = ended
        return self._observation(), solved.astype(np.float64), solved, truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The first camera's present image of every world; None without a render mode."""
        if self.render_mode is None:
            return None
        if self._seen is None:
            raise gymnasium.error.ResetNeeded("call reset before render")
        camera = self.simulator.spec.cameras[0].name
        return tuple(image.copy() for image in self._seen.rgb[camera])

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The values of each environment's attribute or method of this name, as lerobot asks."""
        if name == "render":
            return self.render() or (None,) * self.num_envs
        value = getattr(self, name)
        return (value(*args, **kwargs) if callable(value) else value,) * self.num_envs

    def close_extras(self, **_: Any) -> None:
        """Close the simulator."""
        self.simulator.close()
        if isinstance(self._start_of_seed, TrueStarts):
            self._start_of_seed.close()

    def _reset_mask(self, options: Mapping[str, Any]) -> Mask:
        """The worlds to reset; all without a mask."""
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise UserError(
                f"options['reset_mask'] must be {self.num_envs} truth values, one of them true; "
                f"got {mask.dtype} of shape {mask.shape}"
            )
        return mask

    def _begin(self, where: Mask, seeds: Sequence[int | None]) -> None:
        """Begin episodes in some worlds; where no seed is given, with a drawn one."""
        for world in np.flatnonzero(where):
            seed = seeds[world]
            drawn = self._generators[world].integers(FIRST_VALIDATION_SEED)
            self._seeds[world] = drawn if seed is None else seed
        starts = [self._start_of_seed(int(seed)) for seed in self._seeds[where]]
        self._seen = self.simulator.reset(starts, where=None if where.all() else where)
        self._success.reset(self._seen, where=where)
        self._frames[where], self._ended[where] = 0, False

    def _native(self, actions: Float[np.ndarray, "b action"]) -> Float[np.ndarray, "b stride a"]:
        """All native actions of the frame, in stored units."""
        actions = np.asarray(actions, np.float32)
        if actions.shape != self.action_space.shape:
            raise UserError(
                f"expected actions of shape {self.action_space.shape}, got {actions.shape}"
            )
        spec = self.simulator.spec
        if self._action_repeat:
            return np.repeat(actions[:, None], spec.stride, axis=1)
        return actions.reshape(self.num_envs, spec.stride, len(spec.action.names))

    def _observation(self) -> dict[str, Any]:
        """The present frame of all worlds, as a copy."""
        seen = self._seen
        assert seen is not None
        cameras = [camera.name for camera in self.simulator.spec.cameras]
        shown: dict[str, Any] = {
            "pixels": _by_camera({name: seen.rgb[name].copy() for name in cameras}),
            "agent_pos": np.array(seen.state, np.float32),
        }
        if self._depth:
            shown["depth"] = _by_camera({name: seen.depth_m[name].copy() for name in cameras})
        return shown

    def _infos(self, solved: Bool[np.ndarray, " b"], where: Mask) -> dict[str, Any]:
        """Success and seed of the chosen worlds, with gymnasium's masks."""
        return {
            "is_success": solved.copy(),
            "_is_success": where.copy(),
            "seed": self._seeds.copy(),
            "_seed": where.copy(),
        }

    def _final_infos(self, ended: Mask, solved: Bool[np.ndarray, " b"]) -> dict[str, Any]:
        """The last frame of episodes that end in this step, and what is to be said of them."""
        frames = self._observation()
        last = np.full(self.num_envs, None, dtype=object)
        for world in np.flatnonzero(ended):
            last[world] = world_of(frames, int(world))
        return {
            "final_obs": last,
            "_final_obs": ended.copy(),
            "final_info": self._infos(solved & ended, ended),
            "_final_info": ended.copy(),
        }


def _by_camera(parts: dict[str, Any]) -> Any:
    """One camera's part alone, or a dictionary of several."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    return spaces.Dict(parts) if isinstance(next(iter(parts.values())), spaces.Space) else parts


def world_of(observation: dict[str, Any], world: int) -> dict[str, Any]:
    """One world's part of a batch, as a copy."""
    return {
        key: world_of(value, world) if isinstance(value, dict) else value[world].copy()
        for key, value in observation.items()
    }
