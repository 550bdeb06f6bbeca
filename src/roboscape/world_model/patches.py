"""Tokens of a frame in squares (patches), which attention treats as one."""

from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor

from roboscape.world_model.config import WorldModelConfig


def fold(tokens: Shaped[Tensor, "*b n"], config: WorldModelConfig) -> Shaped[Tensor, "*b p k"]:
    """The tokens of a frame, patch by patch; a patch is a square of tokens, row by row."""
    height, width = config.frame_grid
    side = config.patch
    return rearrange(
        tokens,
        "... (h y w x) -> ... (h w) (y x)",
        h=height // side,
        y=side,
        w=width // side,
        x=side,
    )


def unfold(
    patches: Shaped[Tensor, "b p k *v"], config: WorldModelConfig
) -> Shaped[Tensor, "b n *v"]:
    """Inverse of `fold`: the tokens of a frame, row by row, with whatever belongs to each."""
    height, side = config.frame_grid[0], config.patch
    return rearrange(
        patches, "b (h w) (y x) ... -> b (h y w x) ...", h=height // side, y=side, x=side
    )


def patch_of(
    tokens: Shaped[Tensor, "*b"], config: WorldModelConfig
) -> tuple[Shaped[Tensor, "*b"], Shaped[Tensor, "*b"]]:
    """The patches in which tokens of given numbers lie, and their places there."""
    width, side = config.grid[1], config.patch
    y, x = tokens // width, tokens % width
    patch = (y // side) * (width // side) + x // side
    return patch, (y % side) * side + x % side
