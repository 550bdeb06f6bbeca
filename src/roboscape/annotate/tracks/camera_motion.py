"""The camera's motion, separated from that of objects by point tracks.

The paper chooses its keypoints by how far they move in the image (section 2.3, top-K of N0). That
names the contact regions only while the camera rests: where it moves, every point moves, the
background at least as far as the objects. So the camera's motion is estimated from the points that
move together, and either taken out of the tracks or the clip is marked as breaking the assumption.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float

from roboscape.dataset.records import Tracks

FEWEST_POINTS = 12
"""With fewer visible points no camera motion is estimated; the camera counts as still."""
INLIER_PX = 0.5
"""A point agrees with the camera when the model predicts its step this well."""
RESTS_SHARE = 0.6
"""Share of resting points from which on the camera rests, and nothing else is tried."""
CAMERA_MOVES_PX = 0.5
"""A step of this many pixels a row, over the background, counts as camera motion."""


@dataclass(frozen=True, kw_only=True)
class CameraMotion:
    """The camera's motion during an episode, as seen in the image."""

    homography: Float[np.ndarray, "t 3 3"]
    """Maps the points of row t - 1 to row t as the camera's motion alone would; row 0: identity."""
    background: Bool[np.ndarray, "t k"]
    """Which visible points moved as the camera says; row 0: all visible ones."""
    step_px: Float[np.ndarray, " t"]
    """Median step of the background points; 0 where the camera rests, and in row 0."""
    share_background: float
    """Share of the visible points that move with the camera: the confidence of it all."""

    @property
    def moves(self) -> bool:
        """True if the camera moves in more than a tenth of the rows."""
        return bool((self.step_px >= CAMERA_MOVES_PX).mean() > 0.1)


def estimate_camera_motion(tracks: Tracks) -> CameraMotion:
    """Fit the camera's motion to every step of the tracks by RANSAC; the inliers are background.

    The richest motion, a homography, is exact for a turning camera or a flat background, and an
    approximation else; the parallax that it leaves counts as object motion.
    """
    rows, points = tracks.visible.shape
    homography = np.tile(np.eye(3), (rows, 1, 1))
    background = np.zeros((rows, points), bool)
    background[0] = tracks.visible[0]
    step_px = np.zeros(rows)
    for row in range(1, rows):
        seen = np.flatnonzero(tracks.visible[row] & tracks.visible[row - 1])
        if len(seen) < FEWEST_POINTS:
            background[row, seen] = True
            continue
        before, after = tracks.xy_px[row - 1, seen], tracks.xy_px[row, seen]
        homography[row], agrees = _fit(before.astype(np.float64), after.astype(np.float64))
        background[row, seen[agrees]] = True
        steps = np.linalg.norm(after - before, axis=1)[agrees]
        rests = not len(steps) or np.array_equal(homography[row], np.eye(3))
        step_px[row] = 0.0 if rests else np.median(steps)
    pairs = tracks.visible[1:] & tracks.visible[:-1]
    return CameraMotion(
        homography=homography,
        background=background,
        step_px=step_px,
        share_background=float(background[1:][pairs].mean()) if pairs.any() else 1.0,
    )


def _fit(
    before: Float[np.ndarray, "k 2"], after: Float[np.ndarray, "k 2"]
) -> tuple[Float[np.ndarray, "3 3"], Bool[np.ndarray, " k"]]:
    """The simplest motion that most points share, and who shares it.

    A homography's eight free numbers follow a few moving points for the asking, so a richer motion
    is taken only where it explains a twentieth more points than a simpler one: rest, then shift,
    turn and zoom, then a homography.
    """
    best, agrees = np.eye(3), _agree(np.eye(3), before, after)
    if agrees.mean() >= RESTS_SHARE:
        return best, agrees
    affine, _ = cv2.estimateAffinePartial2D(before, after, ransacReprojThreshold=INLIER_PX)
    similarity = None if affine is None else np.concatenate([affine, [[0.0, 0.0, 1.0]]])
    homography, _ = cv2.findHomography(before, after, cv2.USAC_MAGSAC, INLIER_PX)
    for candidate in (similarity, homography):
        if candidate is not None:
            also = _agree(candidate, before, after)
            if also.sum() > 1.05 * agrees.sum():
                best, agrees = candidate, also
    return best, agrees


def _agree(
    motion: Float[np.ndarray, "3 3"],
    before: Float[np.ndarray, "k 2"],
    after: Float[np.ndarray, "k 2"],
) -> Bool[np.ndarray, " k"]:
    """A mask of the points that move as the camera's motion says."""
    return np.linalg.norm(apply_homography(motion, before) - after, axis=1) <= INLIER_PX


def apply_homography(
    homography: Float[np.ndarray, "3 3"], points_px: Float[np.ndarray, "k 2"]
) -> Float[np.ndarray, "k 2"]:
    """Points (x, y) after a homography."""
    moved = cv2.perspectiveTransform(rearrange(points_px, "k c -> k 1 c"), homography)
    return rearrange(moved, "k 1 c -> k c")


def without_camera(tracks: Tracks, motion: CameraMotion) -> Tracks:
    """The tracks as a camera that rests at its first place would see them."""
    to_first = np.eye(3)
    xy_px = [tracks.xy_px[0].astype(np.float64)]
    for row in range(1, len(tracks.xy_px)):
        to_first = to_first @ np.linalg.inv(motion.homography[row])
        xy_px.append(apply_homography(to_first, tracks.xy_px[row].astype(np.float64)))
    return Tracks(
        xy_px=np.stack(xy_px).astype(np.float32),
        visible=tracks.visible,
        on_moving_body=tracks.on_moving_body,
    )


def own_motion(tracks: Tracks, motion: CameraMotion) -> Tracks:
    """The tracks as they are under a resting camera, else without the camera's motion."""
    return without_camera(tracks, motion) if motion.moves else tracks


def activity_px(tracks: Tracks) -> Float[np.ndarray, " k"]:
    """The path length of each point while visible (RoboScape, section 2.3, motion magnitude)."""
    steps = np.linalg.norm(np.diff(tracks.xy_px.astype(np.float64), axis=0), axis=-1)
    return np.where(tracks.visible[1:] & tracks.visible[:-1], steps, 0.0).sum(axis=0)


def most_active(tracks: Tracks, *, count: int) -> np.ndarray:
    """Indices of the `count` points that travel farthest, the farthest first (section 2.3)."""
    # Ties are broken by index so that annotation is the same on every machine.
    return np.argsort(-activity_px(tracks), kind="stable")[:count]
