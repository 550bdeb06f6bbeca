"""The newest frame of every imagined world."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from roboscape.tokenizer.codes import code_to_vectors
from roboscape.tokenizer.model import SoftCodes


@dataclass(frozen=True, kw_only=True)
class NewestFrames:
    """Tokens of every world's newest frame, and of the true frame that it was given at its reset.

    Axes: m modality, b world, n token.
    """

    codes: Int[Tensor, "m b n"]
    """The prompt's last frame, then the chosen tokens."""
    given: Int[Tensor, "m b n"]
    """The prompt's last frame."""
    soft: SoftCodes
    """What the model believed when it chose `codes`; of a true frame there is no doubt."""

    @classmethod
    def of_given(cls, codes: Int[Tensor, "m b n"], *, code_bits: int) -> "NewestFrames":
        """Worlds that are in their given frame."""
        soft = SoftCodes(
            vectors=code_to_vectors(codes, code_bits=code_bits),
            unchanged=torch.ones(codes.shape, device=codes.device),
        )
        return cls(codes=codes.clone(), given=codes.clone(), soft=soft)

    def take(self, worlds: Sequence[int]) -> "NewestFrames":
        """Those of some worlds, repeats allowed."""
        chosen = list(worlds)
        return NewestFrames(
            codes=self.codes[:, chosen],
            given=self.given[:, chosen],
            soft=self.soft.map(lambda x: x[:, chosen]),
        )

    def replaced(self, worlds: Sequence[int], new: "NewestFrames") -> "NewestFrames":
        """A copy with other frames for some worlds; snapshots keep the old ones."""
        return NewestFrames(
            codes=put(self.codes, worlds, new.codes),
            given=put(self.given, worlds, new.given),
            soft=SoftCodes(
                vectors=put(self.soft.vectors, worlds, new.soft.vectors),
                unchanged=put(self.soft.unchanged, worlds, new.soft.unchanged),
            ),
        )


def put(old: Tensor, worlds: Sequence[int], new: Tensor) -> Tensor:
    """A copy of `old` (m b ...) with some worlds' entries replaced."""
    changed = old.clone()
    changed[:, list(worlds)] = new
    return changed
