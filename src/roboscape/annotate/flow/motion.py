"""The amount and the order of a video's motion, from its flow (RoboScape, section 2.2).

The paper filters out clips "with indistinct motion and disordered movement patterns" and says no
more. Here they are two numbers, so that each can be looked at and thresholded by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8

from roboscape.annotate.backends import FlowEstimator
from roboscape.annotate.depth.alignment import UNCHANGED_GREY, smooth_grey
from roboscape.dataset.annotations import read_values

FASTEST_SHARE = 0.02
"""Share of the pixels, the fastest ones, that a step is scored on."""
MOVING_PX = 0.3
"""Flow that is slower counts as rest."""
_GRID_PX = 4
"""Every fourth pixel decides what the camera does."""


@dataclass(frozen=True, kw_only=True)
class FlowMotion:
    """Measures of the flow at every step of a video; row t: from row t - 1 to t, row 0: zeros.

    Means over the rows of a clip are the clip's scores.
    """

    speed_px: Float[np.ndarray, " t"]
    """Mean speed of the fastest pixels, without the camera's: small where motion is indistinct."""
    disorder: Float[np.ndarray, " t"]
    """Share of the change of the picture that motion does not explain, in [0, 1]."""
    turning: Float[np.ndarray, " t"]
    """How far the moving pixels turn from the step before: 0 straight on, 0.5 any way, 1 back."""
    camera_px: Float[np.ndarray, " t"]
    """Median speed of what moves with the camera."""


def as_values(motion: FlowMotion) -> dict[str, list[float]]:
    """The scores as they are kept on disk, to four digits."""
    return {name: values.round(4).tolist() for name, values in vars(motion).items()}


def read_flow_motion(root: Path, *, annotator: str, camera: str, episode: int) -> FlowMotion:
    """The scores of one episode."""
    values = read_values(root, kind="motion", annotator=annotator, camera=camera, episode=episode)
    return FlowMotion(**{name: np.array(found, float) for name, found in values.items()})


def measure_flow(
    frames: UInt8[np.ndarray, "t h w 3"], estimator: FlowEstimator, *, batch_size: int = 16
) -> FlowMotion:
    """Score every step of a video; memory grows with the batch and not with the video."""
    scores = np.zeros((4, len(frames)))
    before: np.ndarray | None = None
    for row, flow in enumerate(flows(frames, estimator, batch_size=batch_size), start=1):
        own, camera_px = without_camera_flow(flow)
        length = np.linalg.norm(own, axis=-1)
        fastest = np.sort(length, axis=None)[-max(1, round(FASTEST_SHARE * length.size)) :]
        scores[:, row] = (
            fastest.mean(),
            unexplained_change(frames[row - 1], frames[row], flow),
            turning(before, own) if before is not None else 0.0,
            camera_px,
        )
        before = own
    speed_px, disorder, turns, camera = scores
    return FlowMotion(speed_px=speed_px, disorder=disorder, turning=turns, camera_px=camera)


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


def unexplained_change(
    earlier: UInt8[np.ndarray, "h w 3"],
    later: UInt8[np.ndarray, "h w 3"],
    flow: Float[np.ndarray, "h w 2"],
) -> float:
    """The share of the change between two frames that is left when the motion is undone.

    A sum over the pixels that change: the difference after following the flow over the difference
    without it. 0 where motion explains all, 1 where it explains nothing: noise, flicker, frames out
    of order. Without change it is 0.
    """
    before, after = smooth_grey(earlier), smooth_grey(later)
    change = np.abs(after - before)
    changed = change >= UNCHANGED_GREY
    if not changed.any():
        return 0.0
    left = np.abs(follow(after, flow) - before)
    return float(min(1.0, left[changed].sum() / change[changed].sum()))


def turning(before: Float[np.ndarray, "h w 2"], after: Float[np.ndarray, "h w 2"]) -> float:
    """Mean of (1 - cosine) / 2 between two steps of the pixels that move in both, by length."""
    there = np.stack([follow(after[..., axis], before) for axis in (0, 1)], axis=-1)
    one, other = np.linalg.norm(before, axis=-1), np.linalg.norm(there, axis=-1)
    moving = (one >= MOVING_PX) & (other >= MOVING_PX)
    if not moving.any():
        return 0.0
    aligned = (before * there).sum(axis=-1)[moving].sum()
    return float((1 - aligned / (one * other)[moving].sum()) / 2)


def follow(
    picture: Float[np.ndarray, "h w"], flow: Float[np.ndarray, "h w 2"]
) -> Float[np.ndarray, "h w"]:
    """The picture's values at the places to which the flow leads each pixel."""
    height, width = picture.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x_to, y_to = x + flow[..., 0].astype(np.float32), y + flow[..., 1].astype(np.float32)
    return cv2.remap(
        picture.astype(np.float32), x_to, y_to, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
