"""The compact policy as a `Policy`: a trained network that acts in a batch of worlds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.core.pretrained import resolve
from roboscape.core.seeding import numpy_generator_for
from roboscape.policies.compact.model import CompactPolicyNetwork
from roboscape.policies.compact.tokens import encoded, kept_tokenizer
from roboscape.policies.protocol import PolicyInput, PolicySpec, begun_anew
from roboscape.simulators.protocol import Index, Mask
from roboscape.tokenizer.model import Tokenizer


class CompactPolicy:
    """A `Policy` that draws chunks from a trained network; each world has its own noise."""

    def __init__(
        self,
        network: CompactPolicyNetwork,
        *,
        tokenizer: Tokenizer | None = None,
        device: str = AUTO,
    ) -> None:
        """Take a trained network.

        Args:
            network: of the policy.
            tokenizer: that of a network that reads tokens, for worlds that show pixels.
            device: where it computes.

        Raises:
            ValueError: the network reads tokens, and there is no tokenizer.
        """
        if network.config.tokens.encoder_sha256 and tokenizer is None:
            raise UserError("this policy reads tokens; give it the tokenizer that makes them")
        self._device = torch.device(resolve_device(device))
        self._network = network.eval().to(self._device)
        self._tokenizer = None if tokenizer is None else tokenizer.to(self._device)
        self._noise: list[np.random.Generator] = []

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str = AUTO) -> "CompactPolicy":
        """Read a trained policy.

        Raises:
            ValueError: there is none of this name, or it is broken.
        """
        folder = resolve(name)
        network = CompactPolicyNetwork.from_pretrained(folder)
        tokenizer = kept_tokenizer(folder, network.config.tokens)
        return cls(network, tokenizer=tokenizer, device=device)

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
        frames = np.stack([self._shown(observed, name) for name in config.cameras], axis=2)
        condition = self._network.encode(self._tensor(frames), self._tensor(observed.state))
        return self._network.draw(condition, noise=self._tensor(noise).float()).cpu().numpy()

    def close(self) -> None:
        """Nothing to free."""

    def _shown(self, observed: PolicyInput, camera: str) -> np.ndarray:
        """Frames of a camera as the network reads them: pixels (b t h w 3) or tokens (b t y x)."""
        if self._tokenizer is None:
            return observed.rgb[camera]
        if observed.tokens:
            return observed.tokens[camera]
        return encoded(self._tokenizer, observed.rgb[camera])

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
