"""A policy server as a `Policy`: observations go out, chunks of actions come back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.policies.protocol import PolicyInput, PolicySpec
from roboscape.policies.remote.description import (
    OPENPI_LIBERO,
    SEED,
    description_in,
    observation_of,
    read_description,
)
from roboscape.policies.remote.link import Link, Patience
from roboscape.policies.remote.wire import msgpack
from roboscape.simulators.protocol import Index, Mask


class RemotePolicy:
    """A `Policy` that asks a server which speaks openpi's protocol; each world has a connection.

    All worlds that are due are sent before the first answer is awaited.
    """

    def __init__(
        self, address: str, *, described: Path | None = None, patience: Patience | None = None
    ) -> None:
        """Connect, and find out what the server wants to be shown.

        Args:
            address: `ws://host:port`.
            described: JSON file of a `ServerDescription`; without it, a server of ours describes
                itself and another one is taken to be openpi's for LIBERO.
            patience: how long to wait for it.

        Raises:
            ValueError: there is no policy server.
        """
        msgpack()
        self._address, self._patience = address, patience or Patience()
        first = Link(address, patience=self._patience, remembers=False)
        try:
            own = description_in(first.open())
        finally:
            first.close()
        if own is not None and described is not None:
            raise UserError(f"{address} describes itself; leave --described away")
        usual = OPENPI_LIBERO if described is None else read_description(described)
        self._description = own or usual
        self._links: list[Link] = []
        self._seeds: dict[int, int] = {}

    @property
    def spec(self) -> PolicySpec:
        """The observations and actions of the policy at the other end."""
        return self._description.spec

    def reset(self, seeds: Sequence[int], *, where: Mask | None = None) -> None:
        """Begin episodes; a server of ours is sent their seeds with their first observation."""
        if where is None:
            self.close()
            self._links = [
                Link(self._address, patience=self._patience, remembers=self._description.seeded)
                for _ in seeds
            ]
        worlds = np.flatnonzero(np.ones(len(self._links), bool) if where is None else where)
        for world, seed in zip(worlds.tolist(), seeds, strict=True):
            self._links[world].begin(reconnect=not self._description.seeded)
            self._seeds[world] = int(seed)

    def act(self, observed: PolicyInput, *, worlds: Index) -> Float[np.ndarray, "b c a"]:
        """A chunk for each of some worlds.

        Raises:
            ValueError: the server refused an observation, answered with other actions than it
                should, or is gone.
        """
        links = [self._links[world] for world in worlds]
        for row, (world, link) in enumerate(zip(worlds.tolist(), links, strict=True)):
            observation = observation_of(self._description, observed, row)
            if self._description.seeded and world in self._seeds:
                observation[SEED] = self._seeds.pop(world)
            link.send(observation)
        return np.stack([self._chunk(link.receive()) for link in links])

    def close(self) -> None:
        """Leave the server; it goes on."""
        for link in self._links:
            link.close()
        self._links = []

    def _chunk(self, answer: dict[str, Any]) -> Float[np.ndarray, "c a"]:
        """The actions of an answer, as many as the policy is said to give."""
        actions, spec = answer["actions"], self.spec
        width = len(spec.action.names)
        if actions.ndim != 2 or len(actions) < spec.chunk or actions.shape[1] != width:
            raise UserError(
                f"expected actions of shape ({spec.chunk} or more, {width}) from {self._address}, "
                f"got {actions.shape}; describe its actions in a JSON file (docs/policy-servers.md)"
            )
        if not np.isfinite(actions).all():
            raise UserError(f"{self._address} answered with actions that are not finite")
        return actions[: spec.chunk].astype(np.float32)
