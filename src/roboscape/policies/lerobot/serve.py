"""Serve a checkpoint of lerobot's, from lerobot's environment.

`roboscape serve-policy` starts it: `python -m roboscape.policies.lerobot.serve FOLDER`. It imports
nothing of roboscape but what needs no more than NumPy, msgpack and websockets.
"""

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from roboscape.core.errors import UserError
from roboscape.policies.remote.server import Answer, PolicyServer, ServerLimits, serve_forever

log = logging.getLogger(__name__)

DESCRIPTION = "policy_spec.json"
METADATA = "roboscape"
SEED = "roboscape/seed"
"""As in `policies/lerobot/train.py` and `policies/remote/description.py`, which lerobot's
environment cannot import."""

Chunk = Callable[[dict[str, Any], int], np.ndarray]
"""From lerobot's observations of one world and a seed to actions (executed, a)."""


def read_description(folder: Path) -> dict[str, Any]:
    """The description that training left above a checkpoint.

    Raises:
        ValueError: there is none.
    """
    folder = folder.resolve()
    found = [place / DESCRIPTION for place in (folder, *folder.parents)]
    file = next((place for place in found if place.is_file()), None)
    if file is None:
        raise UserError(
            f"expected {DESCRIPTION} in {folder} or above: what the checkpoint's actions mean. "
            "`roboscape train policy ...` writes it; for another checkpoint, write it by hand "
            "(docs/policy-servers.md)"
        )
    return json.loads(file.read_text())


def load_chunk(folder: Path, *, device: str, spec: dict[str, Any]) -> Chunk:
    """The policy of a checkpoint, as a function of an observation and a seed.

    Args:
        folder: the checkpoint's `pretrained_model`.
        device: where it computes.
        spec: of the policy, with the convention of its native actions.

    Raises:
        ValueError: fewer actions a chunk than the description takes, or other ones.
    """
    import torch
    from lerobot.configs import PreTrainedConfig  # pyright: ignore[reportMissingImports]
    from lerobot.policies import make_pre_post_processors  # pyright: ignore[reportMissingImports]
    from lerobot.policies.factory import get_policy_class  # pyright: ignore[reportMissingImports]

    config = PreTrainedConfig.from_pretrained(str(folder))
    config.device = device
    rows, size = rows_of_chunk(config, spec), len(spec["action"]["names"])
    policy = get_policy_class(config.type).from_pretrained(str(folder), config=config)
    policy.to(device).eval()
    before, after = make_pre_post_processors(
        config,
        pretrained_path=str(folder),
        preprocessor_overrides={"device_processor": {"device": device}},
    )

    @torch.no_grad()
    def chunk(observation: dict[str, Any], seed: int) -> np.ndarray:
        # The queues of the last request, maybe another episode's, are emptied; then one draw fills
        # the queue of actions, from which the further ones are taken.
        policy.reset()
        torch.manual_seed(seed)
        batch = before(
            {
                name: torch.from_numpy(value)[None] if isinstance(value, np.ndarray) else [value]
                for name, value in observation.items()
            }
        )
        taken = [after(policy.select_action(dict(batch))) for _ in range(rows)]
        return torch.cat(taken).float().cpu().numpy().reshape(-1, size)

    return chunk


def rows_of_chunk(config: Any, spec: dict[str, Any]) -> int:
    """Rows of actions that are taken of each chunk of a checkpoint.

    A row of a policy of recordings is a native action; one of a policy of a dataset at a learned
    world's rate is all native actions of a frame.

    Raises:
        ValueError: the checkpoint gives fewer, or its rows do not hold whole native actions.
    """
    size, width = len(spec["action"]["names"]), config.output_features["action"].shape[0]
    rows, left = divmod(spec["chunk"] * size, width)
    if left or width % size:
        raise UserError(
            f"the description takes {spec['chunk']} actions of {size} numbers of each chunk, and a "
            f"row of the checkpoint's actions has {width} numbers"
        )
    if rows > config.n_action_steps:
        raise UserError(
            f"the description takes {rows} rows of actions of each chunk, the checkpoint gives "
            f"{config.n_action_steps}"
        )
    return rows


class Episodes:
    """Answers the observations of one connection; each draw has a seed of its own."""

    def __init__(self, description: dict[str, Any], chunk: Chunk) -> None:
        self._description, self._chunk = description, chunk
        self._seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._drawn = 0

    def __call__(self, observation: dict[Any, Any]) -> dict[str, Any]:
        """The actions for an observation."""
        seed = observation.get(SEED)
        if seed is not None:
            if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
                raise UserError(f"expected a whole number >= 0 at {SEED!r}, got {seed!r}")
            self._seed, self._drawn = seed, 0
        content = self._content(observation)
        drawn = np.random.SeedSequence([self._seed, self._drawn]).generate_state(1, np.uint64)
        self._drawn += 1
        return {"actions": self._chunk(content, int(drawn[0]) % 2**63)}

    def _content(self, observation: dict[Any, Any]) -> dict[str, Any]:
        """The observation under lerobot's names: images (3, h, w) in 0-1, states (s,)."""
        description, spec = self._description, self._description["spec"]
        size = spec["image_size"]
        content: dict[str, Any] = {}
        for camera, key in description["image_keys"].items():
            image = _array(observation, key, (size, size, 3), "u")
            scaled = image.transpose(2, 0, 1).astype(np.float32) / 255
            content[f"observation.images.{camera}"] = np.ascontiguousarray(scaled)
        state = _array(observation, description["state_key"], (len(spec["state_names"]),), "f")
        content["observation.state"] = state.astype(np.float32)
        task = observation.get(description["prompt_key"], "")
        if not isinstance(task, str):
            raise UserError(f"expected a text at {description['prompt_key']!r}")
        content["task"] = task
        return content


def _array(observation: dict[Any, Any], key: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """An array of an observation, if it is as the policy needs it."""
    found = observation.get(key)
    if not isinstance(found, np.ndarray):
        raise UserError(
            f"expected an array at {key!r}, got {type(found).__name__}; the observation has "
            f"{', '.join(sorted(map(str, observation))) or 'no keys'}"
        )
    if found.shape != shape or found.dtype.kind != kind:
        raise UserError(
            f"expected an array of shape {shape} at {key!r}, got {found.dtype} of {found.shape}"
        )
    return found


def lerobot_server(
    description: dict[str, Any], chunk: Chunk, *, limits: ServerLimits | None = None
) -> PolicyServer:
    """A server of a policy of lerobot's."""

    @contextlib.contextmanager
    def connect() -> Iterator[Answer]:
        yield Episodes(description, chunk)

    return PolicyServer(connect, metadata={METADATA: description}, limits=limits)


def main(words: list[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve a checkpoint of lerobot's.")
    parser.add_argument("folder", type=Path, help="a checkpoint's pretrained_model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--max-connections", type=int, default=64)
    parser.add_argument("--max-message-mib", type=int, default=64)
    given = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        description = read_description(given.folder)
        chunk = load_chunk(given.folder, device=given.device, spec=description["spec"])
        limits = ServerLimits(
            message_bytes=given.max_message_mib * 2**20, connections=given.max_connections
        )
        server = lerobot_server(description, chunk, limits=limits)
        serve_forever(server, host=given.host, port=given.port)
    except UserError as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
