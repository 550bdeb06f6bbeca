"""Consistency of views: points seen by one camera, at the depth shown, where another shows them.

Every second pixel of one view becomes a point in the world and is looked for in the other view. The
point agrees where that view shows a surface at its distance, contradicts where that view looks
through it, and says nothing where that view shows something nearer, which may hide it. A surface
that is shown too near hides points of the other view, but is itself looked through from there: both
directions together see every error.
"""

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Float

from roboscape.dataset.cameras import CameraPose, project, unproject

TOLERANCE_M = 0.02
"""Largest distance between point and surface that agrees: half the side of Lift's cube. Metres, and
no share of the depth, because a point's depth differs from one view to the other."""
EVERY_PX = 2
SMALLEST_COUNT = 20
"""Points that say something, below which a frame has no score."""
RANGE_MARGIN = 0.01
"""Share next to both ends of the stored depth range that may be cut off, and is no surface."""


@dataclass(frozen=True, kw_only=True)
class DepthView:
    """The view of one camera in one frame."""

    depth_m: Float[np.ndarray, "h w"]
    pose: CameraPose


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The fit of one view's points into another view; NaN where too few can be compared."""

    share: float
    """Of the points that agree or contradict, those that agree."""
    median_m: float
    """Median distance between point and surface along the other view's axis."""


def agreement(
    here: DepthView, there: DepthView, *, nearest_m: float, farthest_m: float
) -> Agreement:
    """Look for the points of one view in another.

    Args:
        here: Whose points are looked for.
        there: The other view.
        nearest_m: The depth range that is stored, at whose ends there are no points.
        farthest_m: Its other end.
    """
    depth_m = here.depth_m[::EVERY_PX, ::EVERY_PX].astype(np.float64)
    height, width = here.depth_m.shape
    y_px, x_px = np.mgrid[:height:EVERY_PX, :width:EVERY_PX].astype(np.float64)
    known = (depth_m > nearest_m * (1 + RANGE_MARGIN)) & (depth_m < farthest_m * (1 - RANGE_MARGIN))
    pixels = np.stack([x_px[known], y_px[known], depth_m[known]], axis=1)
    places = project(unproject(pixels, here.pose), there.pose)
    beyond_m = surface_m(there.depth_m, places) - places[:, 2]
    # NaN, outside of the other view, compares as false.
    compared = beyond_m[beyond_m > -TOLERANCE_M]
    if len(compared) < SMALLEST_COUNT:
        return Agreement(share=np.nan, median_m=np.nan)
    distance_m = np.abs(compared)
    return Agreement(
        share=float((distance_m < TOLERANCE_M).mean()), median_m=float(np.median(distance_m))
    )


def surface_m(
    depth_m: Float[np.ndarray, "h w"], places: Float[np.ndarray, "k 3"]
) -> Float[np.ndarray, " k"]:
    """Depth shown at places (x px, y px, depth m) between pixels; NaN outside and behind.

    Inverse depth is interpolated: that of a plane is linear in the pixels, however steep it is.
    """
    height, width = depth_m.shape
    x_px, y_px, ahead_m = places.T
    inside = (x_px >= 0) & (x_px < width - 1) & (y_px >= 0) & (y_px < height - 1) & (ahead_m > 0)
    x_px, y_px = np.where(inside, x_px, 0.0), np.where(inside, y_px, 0.0)
    left, top = np.floor(x_px).astype(np.int64), np.floor(y_px).astype(np.int64)
    across, down = x_px - left, y_px - top
    inverse = 1 / depth_m.astype(np.float64)
    above = (1 - across) * inverse[top, left] + across * inverse[top, left + 1]
    below = (1 - across) * inverse[top + 1, left] + across * inverse[top + 1, left + 1]
    return np.where(inside, 1 / ((1 - down) * above + down * below), np.nan)


def consistency(
    depths_m: dict[str, Float[np.ndarray, "b t h w"]],
    poses: dict[str, list[list[CameraPose]]],
    *,
    nearest_m: float,
    farthest_m: float,
) -> dict[str, tuple[Float[np.ndarray, "b t"], Float[np.ndarray, "b t"]]]:
    """Share and median distance of every frame, by direction as `one → other`.

    Args:
        depths_m: By camera.
        poses: By camera, of every clip's frames.
        nearest_m: As for `agreement`.
        farthest_m: As for `agreement`.
    """
    found = {}
    for here in depths_m:
        for there in depths_m:
            if here == there:
                continue
            clips, frames = depths_m[here].shape[:2]
            scores = [
                agreement(
                    DepthView(depth_m=depths_m[here][clip, t], pose=poses[here][clip][t]),
                    DepthView(depth_m=depths_m[there][clip, t], pose=poses[there][clip][t]),
                    nearest_m=nearest_m,
                    farthest_m=farthest_m,
                )
                for clip in range(clips)
                for t in range(frames)
            ]
            both = np.array([(one.share, one.median_m) for one in scores])
            share, median_m = rearrange(both, "(b t) s -> s b t", b=clips)
            found[f"{here} → {there}"] = (share, median_m)
    return found
