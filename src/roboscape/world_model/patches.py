"""Squares of tokens that the transformer treats as one position, as ViTs do with pixels.

Attention and MLP run over the positions; a position's input is the sum of its tokens' embeddings,
and its head predicts all of them. Outside the model everything stays one token a place.
"""

from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor

from roboscape.world_model.config import WorldModelConfig


def fold(
    tokens: Shaped[Tensor, "*b n"], config: WorldModelConfig
) -> Shaped[Tensor, "*b positions slots"]:
    """Values of a frame's tokens, row by row, as the slots of its positions."""
    height, width = config.grid
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
    slots: Shaped[Tensor, "b positions slots f s"], config: WorldModelConfig
) -> Shaped[Tensor, "b n f s"]:
    """Inverse of `fold`, for logits."""
    height, side = config.grid[0], config.patch
    return rearrange(
        slots, "b (h w) (y x) f s -> b (h y w x) f s", h=height // side, y=side, x=side
    )


def position_of(
    cells: Shaped[Tensor, "*b"], config: WorldModelConfig
) -> tuple[Shaped[Tensor, "*b"], Shaped[Tensor, "*b"]]:
    """Position and slot of token numbers."""
    width, side = config.grid[1], config.patch
    row, column = cells // width, cells % width
    position = (row // side) * (width // side) + column // side
    return position, (row % side) * side + column % side
