"""Serve a policy to clients of openpi's protocol: `roboscape serve-policy`."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.policies.lerobot.environment import become, lerobot_checkpoint, lerobot_python
from roboscape.policies.opening import open_policy
from roboscape.policies.protocol import Policy, PolicyInput
from roboscape.policies.remote.description import METADATA, SEED, ServerDescription, description_of
from roboscape.policies.remote.server import Answer, PolicyServer, ServerLimits, serve_forever

LEROBOT_SERVER = "roboscape.policies.lerobot.serve"
"""Module that serves a checkpoint of lerobot's, in its environment."""

History = Literal["sent", "repeated", "remembered"]
"""Where a policy of several frames has them from, see `ServePolicy.history`."""


@dataclass(frozen=True, kw_only=True)
class ServePolicy:
    """Serve a policy at a port, to `run-policy --policy ws://...` and to openpi's clients."""

    policy: str
    """Folder of a trained policy: ours, or a run or a checkpoint of lerobot's."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 lets other machines in, and there is no password."""
    port: int = 8000
    """Port to listen at."""
    history: History = "sent"
    """For a policy of several frames. `sent`: a client sends all of them, (frames, height, width,
    3). Clients that send one image: `repeated` shows it as all frames, `remembered` puts it behind
    those of the requests before, which must then be one a frame."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    max_connections: int = 64
    """Clients at a time; each is an episode of its own."""
    max_message_mib: int = 64
    """Largest message in MiB."""
    python: Path | None = None
    """Python that has lerobot, for a checkpoint of lerobot's; that of .venv-lerobot by default."""

    def limits(self) -> ServerLimits:
        """The limits of the server."""
        return ServerLimits(
            message_bytes=self.max_message_mib * 2**20, connections=self.max_connections
        )


def run(config: ServePolicy) -> None:
    """Serve until interrupted; a checkpoint of lerobot's from lerobot's environment."""
    limits = config.limits()
    checkpoint = lerobot_checkpoint(Path(config.policy))
    if checkpoint is not None:
        words = [str(checkpoint), "--host", config.host, "--port", str(config.port)]
        words += ["--device", resolve_device(config.device)]
        words += ["--max-connections", str(config.max_connections)]
        words += ["--max-message-mib", str(config.max_message_mib)]
        become(lerobot_python(config.python), [LEROBOT_SERVER, *words])
    policy = open_policy(config.policy, device=config.device)
    server = policy_server(policy, history=config.history, limits=limits)
    serve_forever(server, host=config.host, port=config.port)


def policy_server(
    policy: Policy, *, history: History = "sent", limits: ServerLimits | None = None
) -> PolicyServer:
    """A server of one of our policies.

    Args:
        policy: is acted with from one thread at a time.
        history: where a policy of several frames has them from.
        limits: what is accepted.
    """
    limits = limits or ServerLimits()
    description = description_of(policy.spec)
    policy.reset([0] * limits.connections)
    free = list(range(limits.connections))

    @contextlib.contextmanager
    def connect() -> Iterator[Answer]:
        world = free.pop()
        try:
            yield _Episodes(
                policy, description, world=world, of=limits.connections, history=history
            )
        finally:
            free.append(world)

    return PolicyServer(connect, metadata={METADATA: asdict(description)}, limits=limits)


class _Episodes:
    """Answers the observations of one connection, which is one world of the policy."""

    def __init__(
        self,
        policy: Policy,
        description: ServerDescription,
        *,
        world: int,
        of: int,
        history: History,
    ) -> None:
        self._policy, self._description, self._history = policy, description, history
        self._world, self._where = world, np.arange(of) == world
        self._begun = False
        self._earlier: dict[str, np.ndarray] = {}

    def __call__(self, observation: dict[Any, Any]) -> dict[str, Any]:
        """The actions of a policy that is shown an observation."""
        seed = observation.get(SEED)
        if seed is not None or not self._begun:
            self._begin(seed)
        observed = self._input(observation)
        chunk = self._policy.act(observed, worlds=np.array([self._world]))
        return {"actions": chunk[0]}

    def _begin(self, seed: Any) -> None:
        """Begin an episode; a client that sends no seed gets fresh noise."""
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"expected a whole number >= 0 at {SEED!r}, got {seed!r}")
        self._policy.reset([seed], where=self._where)
        self._earlier, self._begun = {}, True

    def _input(self, observation: dict[Any, Any]) -> PolicyInput:
        """An observation as the policy is shown it: a batch of one."""
        spec, description = self._description.spec, self._description
        size = spec.image_size or None
        rgb = {
            name: self._frames(observation, key, (size, size, 3), np.dtype(np.uint8))
            for name, key in description.image_keys.items()
        }
        depth_m = {
            name: self._frames(observation, key, (size, size), np.dtype(np.float32))
            for name, key in description.depth_keys.items()
        }
        if spec.state_names:
            shape = (len(spec.state_names),)
            state = self._frames(observation, description.state_key, shape, np.dtype(np.float32))
        else:
            state = np.zeros((1, spec.frames, 0), np.float32)
        task = observation.get(description.prompt_key, "") if spec.reads_task else ""
        if not isinstance(task, str):
            raise UserError(f"expected a text at {description.prompt_key!r}")
        return PolicyInput(rgb=rgb, depth_m=depth_m, state=state, task=task)

    def _frames(
        self, observation: dict[Any, Any], key: str, shape: tuple[int | None, ...], kind: np.dtype
    ) -> np.ndarray:
        """The frames at a key, (1, t, *shape)."""
        frames = self._description.spec.frames
        found = observation.get(key)
        wanted = "x".join("any" if size is None else str(size) for size in shape)
        if not isinstance(found, np.ndarray):
            raise UserError(
                f"expected an array at {key!r}, got {type(found).__name__}; the observation has "
                f"{', '.join(sorted(map(str, observation))) or 'no keys'}"
            )
        if found.dtype.kind != kind.kind:
            raise UserError(f"expected {kind} at {key!r}, got {found.dtype}")
        if found.ndim == len(shape) and (frames == 1 or self._history != "sent"):
            found = self._with_history(key, found)
        if found.ndim != len(shape) + 1 or len(found) != frames or not _matches(found, shape):
            raise UserError(
                f"expected {frames} frames of {wanted} at {key!r}, got an array of shape "
                f"{found.shape}; a client that sends one frame needs --history repeated or "
                "remembered at the server"
            )
        return found[None].astype(kind, copy=False)

    def _with_history(self, key: str, frame: np.ndarray) -> np.ndarray:
        """A single frame and those before it."""
        frames = self._description.spec.frames
        earlier = self._earlier.get(key)
        if earlier is None or self._history != "remembered" or earlier.shape[1:] != frame.shape:
            earlier = np.stack([frame] * frames)
        self._earlier[key] = np.concatenate([earlier[1:], frame[None]])
        return self._earlier[key]


def _matches(found: np.ndarray, shape: tuple[int | None, ...]) -> bool:
    """True if frames (t, *) have a shape, where None fits all."""
    sizes = zip(found.shape[1:], shape, strict=True)
    return all(wanted in (None, size) for size, wanted in sizes)
