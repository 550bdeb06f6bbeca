"""Timesteps of temporal attention: which ones each sees, and their positions as rotations."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from roboscape.core.errors import UserError
from roboscape.world_model.cache import Cache
from roboscape.world_model.config import WorldModelConfig


@dataclass(frozen=True, kw_only=True)
class Time:
    """The parts that all temporal attentions of one pass share."""

    positions: Int[Tensor, "*w q"]
    """Numbers of the timesteps; with an axis of worlds where their ages may differ."""
    bias: Float[Tensor, "*b q k"]
    """0 where timestep q sees timestep k, minus infinity elsewhere; a world's own: b 1 q k."""
    rotation: Float[Tensor, "2 *b q d"] | None
    """Argument of `rotate`; a world's own: 2 b 1 q d. None with a learned time table."""


def causal_bias(count: int, *, window: int, device: torch.device) -> Float[Tensor, "q k"]:
    """Lets every timestep see itself and the `window` - 1 timesteps before it."""
    index = torch.arange(count, device=device)
    age = index[:, None] - index[None, :]
    return visibility_bias((age >= 0) & (age < window))


def visibility_bias(visible: Bool[Tensor, "*b q k"]) -> Float[Tensor, "*b q k"]:
    """Zero where visible, minus infinity where not."""
    return torch.zeros(visible.shape, device=visible.device).masked_fill(~visible, -torch.inf)


def rotation_at(
    positions: Int[Tensor, "*b t"], *, head_size: int, base: float
) -> Float[Tensor, "2 *b t d"]:
    """Rotary angles (Su et al. 2021, Eq. 34) at integer positions, ready for `rotate`.

    The cosines of all channels, and the sines, negative for the first half of the channels.
    """
    # In double precision: a rollout may be very long.
    exponents = torch.arange(0, head_size, 2, device=positions.device).double() / head_size
    angles = positions.double().unsqueeze(-1) * base**-exponents
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))).float()


def rotate(
    x: Float[Tensor, "*b t d"], rotation: Float[Tensor, "2 *c t d"]
) -> Float[Tensor, "*b t d"]:
    """Turn every pair of channels (i, i + d / 2) by its timestep's angles."""
    cos, sin = rotation.to(x.dtype)
    # Whole vectors, not halves: on CPUs half the time (`docs/decisions.md`).
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def time_of(
    config: WorldModelConfig, count: int, *, cache: Cache | None, device: torch.device
) -> Time:
    """Positions and visibility of the pass under way, over `count` timesteps of every world.

    Raises:
        ValueError: a rollout is longer than a learned table of times.
    """
    if cache is None or cache.is_prompt:
        first = 0
        positions = torch.arange(count, device=device)
        bias = causal_bias(count, window=config.window, device=device)
    else:
        first = max(cache.positions)
        positions = torch.tensor(cache.positions).to(device)
        bias = visibility_bias(cache.visible().to(device))
        if cache.slot is None:
            positions = positions.unsqueeze(1)
            bias = rearrange(bias, "b k -> b 1 1 k")
    check_horizon(config, timesteps=first + count)
    if config.time_position == "learned":
        return Time(positions=positions, bias=bias, rotation=None)
    rotation = rotation_at(positions, head_size=config.head_size, base=config.rotary_base)
    if positions.ndim > 1:
        rotation = rearrange(rotation, "two b t d -> two b 1 t d")
    return Time(positions=positions, bias=bias, rotation=rotation)


def check_horizon(config: WorldModelConfig, *, timesteps: int) -> None:
    """Raise `UserError` where a rollout is longer than a learned table of times."""
    if config.time_position == "learned" and timesteps > config.window:
        raise UserError(
            f"this model has a learned table of {config.window} timesteps and was asked "
            f"for {timesteps}; shorten the rollout to {config.max_frames} frames, or "
            "train with time_position `rotary`, which has no end"
        )
