"""Rows in time: who may look at whom, and how positions turn queries and keys."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Time:
    """What every temporal attention of one pass shares."""

    bias: Float[Tensor, "q k"]
    """0 where row q may look at row k, minus infinity elsewhere."""
    rotation: Float[Tensor, "2 q d"] | None
    """What `rotate` takes, for every row; none with a learned time table."""


def causal_bias(rows: int, *, window: int, device: torch.device) -> Float[Tensor, "q k"]:
    """Row q looks at itself and the `window` - 1 rows before it."""
    index = torch.arange(rows, device=device)
    age = index[:, None] - index[None, :]
    return visibility_bias((age >= 0) & (age < window))


def visibility_bias(visible: Bool[Tensor, "q k"]) -> Float[Tensor, "q k"]:
    """Zero where visible, minus infinity where not."""
    return torch.zeros(visible.shape, device=visible.device).masked_fill(~visible, -torch.inf)


def rotation_at(
    positions: Int[Tensor, " t"], *, head_size: int, base: float
) -> Float[Tensor, "2 t d"]:
    """Rotary angles (Su et al. 2021, Eq. 34) at integer positions, ready for `rotate`.

    The cosines of all channels, and the sines, negative for the first half of the channels.
    """
    # In double precision: a rollout may be very long.
    exponents = torch.arange(0, head_size, 2, device=positions.device).double() / head_size
    angles = positions.double()[:, None] * base**-exponents
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))).float()


def rotate(x: Float[Tensor, "*b t d"], rotation: Float[Tensor, "2 t d"]) -> Float[Tensor, "*b t d"]:
    """Turn every pair of channels (i, i + d / 2) by its row's angles."""
    cos, sin = rotation.to(x.dtype)
    # Whole vectors, not halves: on CPUs half the time (`docs/decisions.md`).
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
