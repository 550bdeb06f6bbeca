"""True tracks: points on the surfaces of a simulation, carried along by the bodies they lie on."""

from typing import Any

import numpy as np
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int

from roboscape.dataset.cameras import project, unproject
from roboscape.dataset.records import Tracks
from roboscape.sources.simulation import SceneRenderer

DEPTH_TOLERANCE_M = 0.02
"""A point is hidden when the image shows something nearer than it by more than this."""


class TrackRecorder:
    """Samples points in an episode's first frame and follows them through the following frames.

    `grid` × `grid` points are spread evenly over the image; `on_moving` further ones lie on bodies
    that can move, so that a small moving thing has points too.
    """

    def __init__(
        self, model: Any, renderer: SceneRenderer, *, grid: int = 16, on_moving: int = 64
    ) -> None:
        self._renderer = renderer
        self._grid = grid
        self._on_moving = on_moving
        self._body_moves = model.body_weldid > 0
        self._xy_px: list[Float[np.ndarray, "k 2"]] = []
        self._visible: list[Bool[np.ndarray, " k"]] = []

    def start(
        self, data: Any, depth_m: Float[np.ndarray, "h w"], *, generator: np.random.Generator
    ) -> None:
        """Sample the points in the first frame and attach each to the body that it lies on."""
        bodies = self._renderer.render_bodies(data)
        camera = self._renderer.camera_pose(data)
        pixels = np.concatenate(
            [
                grid_pixels(camera.height, camera.width, side=self._grid),
                sample_pixels(self._body_moves[bodies], count=self._on_moving, generator=generator),
            ]
        )
        x_px, y_px = pixels.T
        points_m = unproject(np.stack([x_px, y_px, depth_m[y_px, x_px]], axis=1), camera)
        self._body = bodies[y_px, x_px]
        self._local_m = einsum(
            points_m - data.xpos[self._body],
            rearrange(data.xmat[self._body], "k (i j) -> k i j", i=3),
            "k i, k i j -> k j",
        )
        self._xy_px, self._visible = [], []
        self.record(data, depth_m)

    def record(self, data: Any, depth_m: Float[np.ndarray, "h w"]) -> None:
        """Follow the points into the frame that was just rendered."""
        rotations = rearrange(data.xmat[self._body], "k (i j) -> k i j", i=3)
        points_m = einsum(self._local_m, rotations, "k j, k i j -> k i") + data.xpos[self._body]
        projected = project(points_m, self._renderer.camera_pose(data))
        self._xy_px.append(projected[:, :2].astype(np.float32))
        self._visible.append(is_visible(projected, depth_m))

    def finish(self) -> Tracks:
        """The tracks of all recorded frames."""
        return Tracks(
            xy_px=np.stack(self._xy_px),
            visible=np.stack(self._visible),
            on_moving_body=self._body_moves[self._body],
        )


def grid_pixels(height: int, width: int, *, side: int) -> Int[np.ndarray, "k 2"]:
    """Pixels (x, y) in the middle of each cell of a `side` × `side` grid, row by row."""
    y_px = ((np.arange(side) + 0.5) * height / side).astype(np.int64)
    x_px = ((np.arange(side) + 0.5) * width / side).astype(np.int64)
    return rearrange(np.stack(np.meshgrid(x_px, y_px)), "c y x -> (y x) c")


def sample_pixels(
    mask: Bool[np.ndarray, "h w"], *, count: int, generator: np.random.Generator
) -> Int[np.ndarray, "count 2"]:
    """Random pixels (x, y) of a mask; of the whole image where the mask is empty.

    Pixels repeat only where the mask has fewer than `count`.
    """
    candidates = np.argwhere(mask if mask.any() else np.ones_like(mask))
    chosen = generator.choice(len(candidates), size=count, replace=len(candidates) < count)
    return candidates[chosen][:, ::-1]


def is_visible(
    projected: Float[np.ndarray, "k 3"], depth_m: Float[np.ndarray, "h w"]
) -> Bool[np.ndarray, " k"]:
    """True for points (x px, y px, depth m) in the image and not behind something."""
    height, width = depth_m.shape
    x_px, y_px = np.rint(projected[:, :2]).T
    inside = (x_px >= 0) & (x_px < width) & (y_px >= 0) & (y_px < height) & (projected[:, 2] > 0)
    seen_m = depth_m[
        np.where(inside, y_px, 0).astype(np.int64), np.where(inside, x_px, 0).astype(np.int64)
    ]
    return inside & (projected[:, 2] < seen_m + DEPTH_TOLERANCE_M)
