"""The compact policy as a `Policy`: a trained network that acts in a batch of worlds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from roboscape.core.device import AUTO, resolve_device
from roboscape.core.seeding import numpy_generator_for
from roboscape.policies.compact.model import CompactPolicyNetwork
from roboscape.policies.protocol import PolicyInput, PolicySpec, begun_anew
from roboscape.simulators.protocol import Index, Mask


class CompactPolicy:
    """A `Policy` that draws chunks from a trained network; each world has its own noise."""

    def __init__(self, network: CompactPolicyNetwork, *, device: str = AUTO) -> None:
        self._device = torch.device(resolve_device(device))
        self._network = network.eval().to(self._device)
        self._noise: list[np.random.Generator] = []

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str = AUTO) -> "CompactPolicy":
        """Read a trained policy.

        Raises:
            ValueError: there is none of this name, or it is broken.
        """
        return cls(CompactPolicyNetwork.from_pretrained(name), device=device)

    @property
    def spec(self) -> PolicySpec:
        """Its observations and actions."""
        return self._network.config.spec

    def reset(self, seeds: Sequence[int], *, where: Mask | None = None) -> None:
        """Begin episodes with the noise of their seeds."""
        new = [numpy_generator_for(seed, 5) for seed in seeds]
        self._noise = begun_anew(self._noise, new, where=where)

    @torch.no_grad()
    def act(self, observed: PolicyInput, *, worlds: Index) -> Float[np.ndarray, "b c a"]:
        """A chunk for each of some worlds."""
        config = self._network.config
        shape = config.chunk, len(config.convention.names)
        noise = np.stack([self._noise[world].standard_normal(shape) for world in worlds])
        images = np.stack([observed.rgb[name] for name in config.cameras], axis=2)
        condition = self._network.encode(self._tensor(images), self._tensor(observed.state))
        return self._network.draw(condition, noise=self._tensor(noise).float()).cpu().numpy()

    def close(self) -> None:
        """Nothing to free."""

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
