"""How much, and how orderly, a video moves, by its flow (RoboScape, section 2.2, clip filtering).

The paper filters out clips "with indistinct motion and disordered movement patterns" and says no
more. Here they are two numbers, so that each can be looked at and thresholded by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8

from roboscape.annotate.backends import FlowEstimator

FASTEST_SHARE = 0.02
"""Share of the pixels, the fastest ones, that a step is judged by."""
MOVING_PX = 0.3
"""Flow that is slower counts as rest."""
NEIGHBOURHOOD_PX = 4.0
"""Standard deviation of the window that says which way a pixel's neighbours move."""
_GRID_PX = 4
"""Every fourth pixel decides what the camera does."""


@dataclass(frozen=True, kw_only=True)
class FlowMotion:
    """What flow says about every step of a video; row t: the step from row t - 1, row 0: nothing.

    Means over the rows of a clip are the clip's scores.
    """

    speed_px: Float[np.ndarray, " t"]
    """Mean speed of the fastest pixels, without the camera's: small where motion is indistinct."""
    disorder: Float[np.ndarray, " t"]
    """Share of the moving pixels' motion that their neighbours do not share, in [0, 1]."""
    camera_px: Float[np.ndarray, " t"]
    """Median speed of what moves with the camera."""


def measure_flow(
    frames: UInt8[np.ndarray, "t h w 3"], estimator: FlowEstimator, *, batch_size: int = 16
) -> FlowMotion:
    """Judge every step of a video; memory grows with the batch and not with the video."""
    speed, disorder, camera = [0.0], [0.0], [0.0]
    for flow in flows(frames, estimator, batch_size=batch_size):
        own, camera_px = without_camera_flow(flow)
        length = np.linalg.norm(own, axis=-1)
        fastest = np.sort(length, axis=None)[-max(1, round(FASTEST_SHARE * length.size)) :]
        speed.append(float(fastest.mean()))
        disorder.append(flow_disorder(own))
        camera.append(camera_px)
    return FlowMotion(
        speed_px=np.array(speed), disorder=np.array(disorder), camera_px=np.array(camera)
    )


def flows(
    frames: UInt8[np.ndarray, "t h w 3"], estimator: FlowEstimator, *, batch_size: int
) -> Iterator[Float[np.ndarray, "h w 2"]]:
    """Flow from every frame to the next."""
    for start, stop in pairwise([*range(0, len(frames) - 1, batch_size), len(frames) - 1]):
        yield from estimator.flow(frames[start:stop], frames[start + 1 : stop + 1])


def without_camera_flow(
    flow: Float[np.ndarray, "h w 2"],
) -> tuple[Float[np.ndarray, "h w 2"], float]:
    """Flow less the affine motion that most pixels share, and the median speed of that."""
    height, width, _ = flow.shape
    y, x = np.mgrid[:height:_GRID_PX, :width:_GRID_PX]
    start = rearrange(np.stack([x, y]), "c h w -> (h w) c").astype(np.float64)
    step = rearrange(flow[::_GRID_PX, ::_GRID_PX], "h w c -> (h w) c").astype(np.float64)
    if (np.linalg.norm(step, axis=1) < MOVING_PX).mean() > 0.5:
        return flow, 0.0
    affine, _ = cv2.estimateAffine2D(start, start + step, ransacReprojThreshold=0.5)
    if affine is None:
        return flow, 0.0
    y, x = np.mgrid[:height, :width]
    shared = np.stack([x, y, np.ones_like(x)], axis=-1) @ affine.T - np.stack([x, y], axis=-1)
    return flow - shared, float(np.median(np.linalg.norm(shared, axis=-1)))


def flow_disorder(flow: Float[np.ndarray, "h w 2"]) -> float:
    """How little the moving pixels move with their neighbours: 0 as one body, 1 each its own way.

    One less the length of the neighbourhood's mean flow over the mean of its lengths.
    """
    length = np.linalg.norm(flow, axis=-1)
    moving = length >= MOVING_PX
    if not moving.any():
        return 0.0
    masked = np.where(moving[..., None], flow, 0).astype(np.float32)
    together = cv2.GaussianBlur(masked, (0, 0), NEIGHBOURHOOD_PX)
    apart = cv2.GaussianBlur(
        np.where(moving, length, 0).astype(np.float32), (0, 0), NEIGHBOURHOOD_PX
    )
    return float(1 - np.linalg.norm(together, axis=-1)[moving].sum() / apart[moving].sum())
