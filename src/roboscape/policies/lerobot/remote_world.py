"""Worlds of `roboscape serve-world` as a vector environment of gymnasium, for lerobot.

It needs gymnasium, NumPy, msgpack and websockets, as it runs in lerobot's environment.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from roboscape.core.errors import UserError
from roboscape.policies.remote.wire import pack, unpack

METADATA = "roboscape/world"
"""As in `policies/lerobot/world_server.py`, which lerobot's environment cannot import."""
FIRST_SEED = 800_000
"""Of worlds that are reset without a seed: validation's first."""


def connected(address: str) -> tuple[Any, dict[str, Any]]:
    """The connection to a world server, and what it says of its worlds.

    Raises:
        ValueError: there is none, or it serves something else.
    """
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    try:
        socket = connect(address, compression=None, max_size=None, ping_interval=None)
        metadata = unpack(socket.recv(timeout=60))
    except (OSError, EOFError, WebSocketException) as error:
        raise UserError(
            f"no world is served at {address} ({error}); start it with `roboscape serve-world`"
        ) from error
    if not isinstance(metadata, dict) or METADATA not in metadata:
        raise UserError(f"{address} serves no world; start it with `roboscape serve-world`")
    return socket, metadata


class RemoteWorlds(VectorEnv):
    """Takes one native action a step, or one frame's.

    The picture changes when a frame's actions are complete.

    A policy that takes a multiple of `stride` actions of each chunk therefore acts on new frames,
    as `roboscape run-policy` lets it. A world whose episode has ended goes on unheeded until the
    next reset, which is lerobot's.
    """

    def __init__(self, address: str, *, frame_actions: bool = False) -> None:
        """Connect to a world server.

        Args:
            address: of `roboscape serve-world`.
            frame_actions: a step is a frame and takes its native actions one after the other in one
                vector, as the rows of an imagined dataset have them.

        Raises:
            ValueError: there is none.
        """
        self._socket, metadata = connected(address)
        about = metadata[METADATA]
        self.num_envs, self.stride = about["batch"], about["stride"]
        self.task = self.task_description = about["task"]
        self._steps_a_frame = 1 if frame_actions else self.stride
        self._max_episode_steps = about["frames"] * self._steps_a_frame
        self.cameras: dict[str, list[int]] = about["cameras"]
        self.state_size, self.action_size = about["state_size"], about["action_size"]
        self.action_size *= self.stride // self._steps_a_frame
        self.render_mode = "rgb_array"
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": about["action_hz"] * self._steps_a_frame / self.stride,
            "autoreset_mode": AutoresetMode.DISABLED,
        }
        pixels: dict[str, spaces.Space] = {
            name: spaces.Box(0, 255, (height, width, 3), np.uint8)
            for name, (height, width) in self.cameras.items()
        }
        state = spaces.Box(-np.inf, np.inf, (self.state_size,), np.float32)
        self.single_observation_space = spaces.Dict(
            {"pixels": spaces.Dict(pixels), "agent_pos": state}
        )
        self.single_action_space = spaces.Box(-1.0, 1.0, (self.action_size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._pending: list[np.ndarray] = []
        self._frame: dict[str, Any] | None = None
        self._steps = 0

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin new episodes in all worlds: seed s in the first, s + 1 in the second, ..."""
        if seed is None:
            seed = FIRST_SEED
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed
        self._frame = self._ask({"reset": [int(one) for one in seeds]})
        self._pending, self._steps = [], 0
        return self._observation(), {"is_success": self._frame["is_success"]}

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one native action in each world, (b, a), or with `frame_actions` (b, stride * a)."""
        if self._frame is None:
            raise UserError("no episode has begun: call reset first")
        actions = np.asarray(actions, np.float32)
        if actions.shape != self.action_space.shape:
            raise UserError(
                f"expected actions of shape {self.action_space.shape}, got {actions.shape}; a "
                "policy of an imagined dataset, whose rows are frames, needs "
                "--env.frame_actions=true, and one of a recording needs it false"
            )
        self._pending.append(actions)
        self._steps += 1
        solved = np.zeros(self.num_envs, bool)
        if len(self._pending) == self._steps_a_frame:
            actions = np.stack(self._pending, axis=1).reshape(self.num_envs, self.stride, -1)
            self._frame = self._ask({"actions": actions})
            self._pending = []
            solved = self._frame["is_success"]
        over = np.full(self.num_envs, self._steps >= self._max_episode_steps)
        truncated = over & ~solved
        return self._observation(), solved.astype(float), solved, truncated, {"is_success": solved}

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The value of an attribute, or the result of a method, for each world."""
        if name == "render":
            return self.render()
        value = getattr(self, name)
        return (value(*args, **kwargs) if callable(value) else value,) * self.num_envs

    def render(self) -> tuple[np.ndarray, ...]:
        """The first camera's present image of each world."""
        if self._frame is None:
            raise UserError("no episode has begun: call reset before render")
        return tuple(self._frame["pixels"][next(iter(self.cameras))])

    def close_extras(self, **_: Any) -> None:
        """Leave the server; it goes on."""
        self._socket.close()

    def _observation(self) -> dict[str, Any]:
        assert self._frame is not None
        pixels = {name: images.copy() for name, images in self._frame["pixels"].items()}
        return {"pixels": pixels, "agent_pos": self._frame["agent_pos"].copy()}

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """The server's answer."""
        self._socket.send(pack(message))
        answer = self._socket.recv()
        if isinstance(answer, str):
            raise UserError(f"the world server could not answer:\n{answer.strip()}")
        return unpack(answer)
