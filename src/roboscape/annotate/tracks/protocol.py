"""Point tracks from video."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float32, UInt8

from roboscape.annotate.backends import Backend, TrackAnnotator
from roboscape.dataset.records import Tracks

Points = Float32[np.ndarray, "k 2"]
Grey = UInt8[np.ndarray, "h w"]


@dataclass(frozen=True, kw_only=True)
class LucasKanade:
    """Pyramidal Lucas-Kanade on a grid of points: runs anywhere, follows textured surfaces.

    From each frame the points are followed to the next and back again. One that does not come back
    to within `largest_return_px` is lost: it stays where it was and is invisible from then on.
    """

    points_per_side: int = 24
    """Points are sampled on a grid."""
    sample_every: int = 30
    """Rows after which the whole grid is sampled anew: a lost point does not come back."""
    follow_rows: int = 90
    """Rows that a point is followed for: `sample_every`, and a clip of 61 rows."""
    window_px: int = 15
    """Side of the square that is compared."""
    pyramid_levels: int = 2
    """Halvings of the image: the more, the faster a motion may be."""
    largest_return_px: float = 1.0
    """Forward-backward error beyond which a point counts as lost."""
    smallest_texture: float = 1e-6
    """Smallest eigenvalue of the image gradients in a window in which a point can be followed."""

    @property
    def name(self) -> str:
        """Name of the annotation folder."""
        return "lucas_kanade"

    @property
    def version(self) -> str:
        """OpenCV's version."""
        return f"opencv {cv2.__version__}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return asdict(self)

    def annotate(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Tracks:
        """Follow a grid of points of the first frame, and of every `sample_every`th after it.

        A point is invisible before it is sampled, and when it is followed no more.
        """
        return follow_grids(self, frames)

    def follow(self, frames: UInt8[np.ndarray, "t h w 3"], *, points_px: Points) -> Tracks:
        """Follow given points of the first frame, pixels (x, y)."""
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        xy_px, visible = [points_px.astype(np.float32)], [np.ones(len(points_px), bool)]
        for earlier, later in pairwise(grey):
            moved_px, found = self._step(earlier, later, xy_px[-1])
            found &= visible[-1] & is_inside(moved_px, later.shape)
            xy_px.append(np.where(found[:, None], moved_px, xy_px[-1]))
            visible.append(found)
        return Tracks(xy_px=np.stack(xy_px), visible=np.stack(visible))

    def _step(
        self, earlier: Grey, later: Grey, points_px: Points
    ) -> tuple[Points, Bool[np.ndarray, " k"]]:
        """Follow points to the next frame; also whether following them back leads home."""
        there_px, was_found = self._flow(earlier, later, points_px)
        back_px, came_back = self._flow(later, earlier, there_px)
        return_px = np.linalg.norm(back_px - points_px, axis=1)
        return there_px, was_found & came_back & (return_px <= self.largest_return_px)

    def _flow(
        self, earlier: Grey, later: Grey, points_px: Points
    ) -> tuple[Points, Bool[np.ndarray, " k"]]:
        """One call of OpenCV's pyramidal Lucas-Kanade."""
        moved_px, status, _ = cv2.calcOpticalFlowPyrLK(
            earlier,
            later,
            rearrange(points_px, "k c -> k 1 c"),
            np.zeros((len(points_px), 1, 2), np.float32),
            winSize=(self.window_px, self.window_px),
            maxLevel=self.pyramid_levels,
            minEigThreshold=self.smallest_texture,
        )
        return rearrange(moved_px, "k 1 c -> k c"), status[:, 0].astype(bool)


@runtime_checkable
class GridFollower(Protocol):
    """A tracker that follows grids of points, sampled again and again."""

    @property
    def points_per_side(self) -> int:
        """Points are sampled on a grid."""
        ...

    @property
    def sample_every(self) -> int:
        """Rows after which the whole grid is sampled anew."""
        ...

    @property
    def follow_rows(self) -> int:
        """Rows that a point is followed for."""
        ...

    def follow(self, frames: UInt8[np.ndarray, "t h w 3"], *, points_px: Points) -> Tracks:
        """Follow given points of the first frame, pixels (x, y)."""
        ...


def follow_grids(tracker: GridFollower, frames: UInt8[np.ndarray, "t h w 3"]) -> Tracks:
    """Tracks of a grid of points of the first frame, and of every `sample_every`th after it.

    So a clip that starts late has points too. A point is invisible before it is sampled, and when
    it is followed no more.
    """
    rows, height, width, _ = frames.shape
    grid = grid_points(height, width, side=tracker.points_per_side)
    xy_px, visible = [], []
    # There is nowhere to follow points of the last frame to.
    for first in range(0, max(1, rows - 1), tracker.sample_every):
        part = tracker.follow(frames[first : first + tracker.follow_rows], points_px=grid)
        around = (first, rows - first - len(part.visible))
        xy_px.append(np.pad(part.xy_px, (around, (0, 0), (0, 0)), mode="edge"))
        visible.append(np.pad(part.visible, (around, (0, 0))))
    return Tracks(xy_px=np.concatenate(xy_px, axis=1), visible=np.concatenate(visible, axis=1))


def grid_points(height: int, width: int, *, side: int) -> Points:
    """The middles (x, y) of the cells of a `side` × `side` grid over an image, row by row."""
    y_px = (np.arange(side) + 0.5) * height / side - 0.5
    x_px = (np.arange(side) + 0.5) * width / side - 0.5
    points = rearrange(np.stack(np.meshgrid(x_px, y_px)), "c y x -> (y x) c")
    return points.astype(np.float32)


def is_inside(points_px: Points, shape: tuple[int, ...]) -> Bool[np.ndarray, " k"]:
    """True for points on an image of this height and width."""
    height, width = shape
    x_px, y_px = points_px.T
    return (x_px >= -0.5) & (x_px < width - 0.5) & (y_px >= -0.5) & (y_px < height - 0.5)


TRACK_ANNOTATORS: dict[str, Backend[TrackAnnotator]] = {
    "lucas_kanade": Backend(
        module="roboscape.annotate.tracks.protocol",
        kind="LucasKanade",
        summary="Pyramidal Lucas-Kanade of OpenCV: runs anywhere.",
    ),
    "cotracker3": Backend(
        module="roboscape.annotate.tracks.cotracker",
        kind="CoTracker",
        summary="CoTracker3 (needs its authors' package); remembers hidden points.",
        gpu=True,
        pretrained=True,
    ),
    "spatial_tracker": Backend(
        module="roboscape.annotate.tracks.spatial",
        kind="SpatialTracker",
        summary="SpatialTracker, the paper's (needs its authors' code); tracks in space.",
        gpu=True,
        pretrained=True,
    ),
}
"""Everything that can estimate tracks, by name."""
