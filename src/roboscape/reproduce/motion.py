"""Keypoint error: how far points of the imagined video are from where they are in the true one."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from roboscape.annotate.tracks.protocol import LucasKanade, Points, grid_points

TRACKER = LucasKanade()
"""The same for both videos; at a model's few frames a second it loses the fastest points."""
MOST_POINTS = 64
"""Points a clip: those that move most in the true video, as RoboScape, section 2.3, chooses."""
LEAST_PATH_PX = 2.0
"""Points that travel less rest."""


@dataclass(frozen=True)
class TruePoints:
    """Moving points of the first frame of a true video, followed through it. May be none."""

    xy_px: Float[np.ndarray, "t k 2"]
    visible: Bool[np.ndarray, "t k"]

    @property
    def start_px(self) -> Points:
        """Their positions in the first frame."""
        return self.xy_px[0].astype(np.float32)


@dataclass(frozen=True)
class KeypointError:
    """The error in one clip; NaN where nothing moves in the true video."""

    distance_px: float
    """Mean distance over points and frames. A point that is lost in the imagined video counts where
    it was seen last."""
    lost: float
    """Share of the true points' sightings in which the imagined point is lost."""


def follow_moving(frames: UInt8[np.ndarray, "t h w 3"]) -> TruePoints:
    """The points of a grid over the first frame that move most, followed through a video."""
    grid = grid_points(*frames.shape[1:3], side=TRACKER.points_per_side)
    found = TRACKER.follow(frames, points_px=grid)
    steps_px = np.linalg.norm(np.diff(found.xy_px, axis=0), axis=-1)
    path_px = (steps_px * found.visible[1:]).sum(axis=0)
    order = np.argsort(-path_px, kind="stable")[:MOST_POINTS]
    chosen = order[path_px[order] >= LEAST_PATH_PX]
    return TruePoints(found.xy_px[:, chosen], found.visible[:, chosen])


def keypoint_error(
    truth: TruePoints,
    true_frames: UInt8[np.ndarray, "t h w 3"],
    imagined: UInt8[np.ndarray, "t h w 3"],
) -> KeypointError:
    """Follow the same points through an imagined video and compare, where the true ones are seen.

    Args:
        truth: Of `follow_moving(true_frames)`.
        true_frames: The true video.
        imagined: Frame 0 stands for the given one; the true first frame is taken in its place.
    """
    counted = truth.visible[1:]
    if not counted.any():
        return KeypointError(np.nan, np.nan)
    frames = np.concatenate([true_frames[:1], imagined[1:]])
    found = TRACKER.follow(frames, points_px=truth.start_px)
    distance_px = np.linalg.norm(found.xy_px - truth.xy_px, axis=-1)[1:]
    return KeypointError(
        float(distance_px[counted].mean()), float((~found.visible[1:])[counted].mean())
    )
