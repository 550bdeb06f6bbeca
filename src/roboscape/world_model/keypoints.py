"""Adaptively sampled keypoints: the tracks that move most, and where they pass (section 2.3)."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Keypoints:
    """The K most active tracks of every clip, on the token grid; T_sample in the paper."""

    cells: Int[Tensor, "b t k"]
    """Token that the point lies in, row by row; 0 where it is not valid."""
    valid: Bool[Tensor, "b t k"]
    """The point is visible, inside the image, and was so in the first frame."""


def select_keypoints(
    tracks: Float[Tensor, "b t k0 2"],
    visible: Bool[Tensor, "b t k0"],
    *,
    count: int,
    grid: tuple[int, int],
) -> Keypoints:
    """The `count` most active of the N0 tracks; fewer where a clip has fewer that start visible."""
    tracks = torch.where(visible.unsqueeze(-1), tracks.float(), -1.0)
    cells, inside = cells_of(tracks, grid=grid)
    valid = inside & inside[:, :1]
    activity = path_lengths(tracks, inside).masked_fill(~inside[:, 0], -1.0)
    # A stable sort: equally active points are taken in their own order on every machine.
    order = activity.argsort(dim=-1, descending=True, stable=True)[:, :count]
    chosen = rearrange(order, "b k -> b 1 k").expand(-1, tracks.shape[1], -1)
    return Keypoints(cells=cells.gather(2, chosen), valid=valid.gather(2, chosen))


def path_lengths(
    tracks: Float[Tensor, "b t k 2"], visible: Bool[Tensor, "b t k"]
) -> Float[Tensor, "b k"]:
    """Motion magnitude M_i: the sum of a track's steps between visible ends (section 2.3)."""
    steps = (tracks[:, 1:] - tracks[:, :-1]).norm(dim=-1)
    return (steps * (visible[:, 1:] & visible[:, :-1])).sum(dim=1)


def cells_of(
    tracks: Float[Tensor, "*b 2"], *, grid: tuple[int, int]
) -> tuple[Int[Tensor, "*b"], Bool[Tensor, "*b"]]:
    """The token under every point (x right, y down, in tokens), and whether there is one."""
    height, width = grid
    x, y = tracks.floor().long().unbind(dim=-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return torch.where(inside, y * width + x, 0), inside


def attention_map(keypoints: Keypoints, *, tokens: int, gamma: float) -> Float[Tensor, "b t n"]:
    """A of Eq. 6: `gamma` on tokens that a sampled track passes through at that time, else 1."""
    b, t, _ = keypoints.cells.shape
    hits = torch.zeros(b, t, tokens, device=keypoints.cells.device)
    hits.scatter_add_(2, keypoints.cells, keypoints.valid.float())
    return torch.where(hits > 0, gamma, 1.0)
