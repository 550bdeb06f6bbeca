"""Adaptively sampled keypoints: the tracks that move most in a clip, and where they pass.

RoboScape, section 2.3. Motion is what is left when the camera's own is taken out.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

FEWEST_POINTS = 12
"""With fewer visible points no camera motion is estimated; the camera counts as still."""
AGREES = 0.1
"""A point agrees with the camera when its step is predicted this well, in tokens."""
RESTS_SHARE = 0.6
"""Share of resting points from which on the camera counts as resting."""
REFINEMENTS = 5
"""Weighted fits of the camera's motion, each forgiving less than the one before."""


@dataclass(frozen=True, kw_only=True)
class Keypoints:
    """The K most active tracks of every clip, on the token grid; T_sample in the paper."""

    cells: Int[Tensor, "b t k"]
    """Number of the token that the point lies in; 0 where it is not valid."""
    valid: Bool[Tensor, "b t k"]
    """The point is visible, inside the image, and was so in the first frame."""


def select_keypoints(
    tracks: Float[Tensor, "b t k0 2"],
    visible: Bool[Tensor, "b t k0"],
    *,
    count: int,
    grid: tuple[int, int],
    cameras: int = 1,
) -> Keypoints:
    """The `count` most active of a clip's N0 tracks; fewer where fewer are visible at its start.

    Args:
        tracks: Points (x, y) in tokens, of several cameras one camera after the other, in a frame
            whose views lie below each other.
        visible: Whether a point is seen.
        count: K.
        grid: Rows and columns of tokens in a view.
        cameras: Number of views, each with as many tracks and a motion of its own.
    """
    tracks = torch.where(visible.unsqueeze(-1), tracks.float(), -1.0)
    cells, inside = cells_of(tracks, grid=(cameras * grid[0], grid[1]))
    valid = inside & inside[:, :1]
    activity = rearrange(
        path_lengths(
            rearrange(tracks, "b t (v k) x -> (b v) t k x", v=cameras),
            rearrange(inside, "b t (v k) -> (b v) t k", v=cameras),
        ),
        "(b v) k -> b (v k)",
        v=cameras,
    ).masked_fill(~inside[:, 0], -1.0)
    # A stable sort: equally active points are taken in their own order on every machine.
    order = activity.argsort(dim=-1, descending=True, stable=True)[:, :count]
    chosen = rearrange(order, "b k -> b 1 k").expand(-1, tracks.shape[1], -1)
    return Keypoints(cells=cells.gather(2, chosen), valid=valid.gather(2, chosen))


def path_lengths(
    tracks: Float[Tensor, "b t k 2"], visible: Bool[Tensor, "b t k"]
) -> Float[Tensor, "b k"]:
    """Motion magnitude M_i (section 2.3): the sum of a track's own steps between visible ends."""
    seen = visible[:, 1:] & visible[:, :-1]
    return (own_steps(tracks[:, :-1], tracks[:, 1:], seen) * seen).sum(dim=1)


def own_steps(
    before: Float[Tensor, "*b k 2"], after: Float[Tensor, "*b k 2"], seen: Bool[Tensor, "*b k"]
) -> Float[Tensor, "*b k"]:
    """The motion of points beyond what the camera's motion explains, in tokens."""
    steps = (after - before).norm(dim=-1)
    points, resting = seen.sum(dim=-1), (seen & (steps <= AGREES)).sum(dim=-1)
    moves = (points >= FEWEST_POINTS) & (resting < RESTS_SHARE * points)
    if moves.any():
        steps[moves] = camera_residuals(before[moves], after[moves], seen[moves])
    return steps


def camera_residuals(
    before: Float[Tensor, "b k 2"], after: Float[Tensor, "b k 2"], seen: Bool[Tensor, "b k"]
) -> Float[Tensor, "b k"]:
    """Distances of points from where the shift, turn and zoom that most of them share takes them.

    A least-squares fit whose weights forget what does not fit (Geman-McClure), from the median
    step on. Points are complex numbers here, and the motion is `z -> turn * z + shift`.
    """
    start, end = (torch.view_as_complex(x.contiguous()) for x in (before, after))
    hidden = ~seen
    step = torch.view_as_real(end - start).masked_fill(hidden.unsqueeze(-1), torch.nan)
    turn = torch.ones(len(start), 1, dtype=start.dtype, device=start.device)
    shift = torch.view_as_complex(step.nanmedian(dim=1, keepdim=True).values)
    for _ in range(REFINEMENTS):
        residuals = (turn * start + shift - end).abs()
        spread = residuals.masked_fill(hidden, torch.nan).nanmedian(dim=-1, keepdim=True).values
        scale = (2 * spread).clamp(min=AGREES)
        weights = (seen / (1 + (residuals / scale).square()).square()).to(start.dtype)
        total = weights.sum(dim=-1, keepdim=True)
        middle, target = ((weights * x).sum(dim=-1, keepdim=True) / total for x in (start, end))
        spokes = start - middle
        size = (weights * spokes.abs().square()).sum(dim=-1, keepdim=True)
        product = (weights * spokes.conj() * (end - target)).sum(dim=-1, keepdim=True)
        # Points that all lie in one place say nothing of a turn.
        turn = torch.where(size.abs() > 1e-9, product / size, torch.ones_like(turn))
        shift = target - turn * middle
    return (turn * start + shift - end).abs()


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
