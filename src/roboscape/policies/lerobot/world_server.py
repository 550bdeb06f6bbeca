"""Serve a world to lerobot, which runs in another environment: `roboscape serve-world`.

The wire is that of policy servers. The client sends `{"reset": [seed, ...]}`, one for each world,
and then `{"actions": (b, stride, a)}` frame by frame; every answer is the frame that follows.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roboscape.core.errors import UserError
from roboscape.policies.remote.server import Answer, PolicyServer, ServerLimits, serve_forever
from roboscape.policies.worlds import WorldChoice, open_world, starts_of
from roboscape.simulators.protocol import Observation, Simulator
from roboscape.simulators.success import Success

METADATA = "roboscape/world"
"""Key of the server's metadata that says what is simulated."""


@dataclass(frozen=True, kw_only=True)
class ServeWorld:
    """Serve a simulated world, learned or true, to `lerobot-eval --env.type=roboscape`."""

    world: WorldChoice = field(default_factory=WorldChoice)
    """The world, and how many of it at a time."""
    seconds: float = 10.0
    """Simulated time after which an episode counts as failed."""
    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = 8001
    """Port to listen at."""

    def __post_init__(self) -> None:
        """Refuse episodes of nothing."""
        if self.seconds <= 0 or self.world.batch < 1:
            raise UserError(
                f"expected seconds > 0 and batch >= 1, got {self.seconds:g}, {self.world.batch}"
            )


def run(config: ServeWorld) -> None:
    """Serve until interrupted."""
    simulator, success = open_world(config.world)
    worlds = ServedWorlds(simulator, success, lambda seeds: starts_of(config.world, seeds))
    frames = round(config.seconds * config.world.frame_hz)
    try:
        serve_forever(world_server(worlds, frames=frames), host=config.host, port=config.port)
    finally:
        simulator.close()


class ServedWorlds:
    """Answers a client's resets and actions with frames."""

    def __init__(self, simulator: Simulator, success: Success, starts_of_seeds: Any) -> None:
        """Take a simulator.

        Args:
            simulator: all its worlds belong to one client.
            success: decides which frames show the task solved.
            starts_of_seeds: from a list of seeds to as many starts.
        """
        self.simulator, self._success, self._starts = simulator, success, starts_of_seeds

    def __call__(self, message: dict[Any, Any]) -> dict[str, Any]:
        """The frame after a reset or a frame's actions, under lerobot's names."""
        if "reset" in message:
            return self._reset(message["reset"])
        spec, batch = self.simulator.spec, self.simulator.batch
        actions, wanted = message.get("actions"), (batch, spec.stride, len(spec.action.names))
        if not isinstance(actions, np.ndarray) or actions.shape != wanted:
            found = getattr(actions, "shape", type(actions).__name__)
            raise UserError(f"expected `reset`, or `actions` of shape {wanted}, got {found}")
        if not np.isfinite(actions).all():
            raise UserError("expected actions that are finite")
        seen = self.simulator.step(actions.astype(np.float32))
        return self._frame(seen, np.asarray(self._success(seen), bool))

    def _reset(self, seeds: Any) -> dict[str, Any]:
        batch = self.simulator.batch
        if not isinstance(seeds, list) or len(seeds) != batch:
            raise UserError(f"expected a list of {batch} seeds at `reset`, got {seeds!r}")
        if any(isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in seeds):
            raise UserError(f"expected seeds that are whole numbers >= 0, got {seeds}")
        seen = self.simulator.reset(self._starts(seeds))
        self._success.reset(seen, where=np.ones(batch, bool))
        return self._frame(seen, np.zeros(batch, bool))

    def _frame(self, seen: Observation, solved: np.ndarray) -> dict[str, Any]:
        names = [camera.name for camera in self.simulator.spec.cameras]
        return {
            "pixels": {name: seen.rgb[name] for name in names},
            "agent_pos": np.asarray(seen.state, np.float32),
            "is_success": solved,
        }


def world_server(worlds: ServedWorlds, *, frames: int) -> PolicyServer:
    """A server of worlds to one client at a time.

    Args:
        worlds: answer it.
        frames: after which an episode counts as failed.
    """
    spec = worlds.simulator.spec
    metadata = {
        "batch": worlds.simulator.batch,
        "cameras": {camera.name: [camera.height, camera.width] for camera in spec.cameras},
        "state_size": len(spec.state_names),
        "action_size": len(spec.action.names),
        "action_hz": spec.action.action_hz,
        "stride": spec.stride,
        "frames": frames,
        "task": spec.task,
    }

    @contextlib.contextmanager
    def connect() -> Iterator[Answer]:
        yield worlds

    return PolicyServer(connect, metadata={METADATA: metadata}, limits=ServerLimits(connections=1))
