"""What all ways of storing DROID have in common: cameras, poses, videos of a frame a pose."""

from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float, Float32, UInt8

from roboscape.core.video import iterate_video
from roboscape.dataset.records import ActionConvention

CAMERAS = ("exterior_1", "exterior_2", "wrist")
"""DROID's three views, in the order of its videos; others are named by their number."""
POSE_NAMES = ("eef_x", "eef_y", "eef_z", "eef_rx", "eef_ry", "eef_rz")
ROTATION_X = 3
STATE_NAMES = (*POSE_NAMES, "gripper_closed_share")


def pose_convention(*, action_hz: float) -> ActionConvention:
    """A pose to reach (its rotation Euler angles as scipy's `xyz`) and a gripper opening."""
    return ActionConvention(
        mode="absolute",
        names=(*POSE_NAMES, "gripper"),
        units=("m", "m", "m", "rad", "rad", "rad", "1"),
        scale=(1.0,) * 7,
        frame="robot_base",
        rotation="euler_xyz",
        gripper="0 opens, 1 closes",
        action_hz=action_hz,
        gripper_open=0.0,
        gripper_closed=1.0,
    )


def without_jumps(poses: Float[np.ndarray, "t 7"]) -> Float32[np.ndarray, "t 7"]:
    """Rotation about x in [0, 2 pi).

    The hand points down, near pi, where angles in [-pi, pi) would jump all the time.
    """
    wrapped = poses.astype(np.float64)
    wrapped[:, ROTATION_X] %= 2 * np.pi
    return wrapped.astype(np.float32)


def frames_of(
    path: Path, *, length: int, spare: int, annotation: Path
) -> UInt8[np.ndarray, "t h w 3"]:
    """A frame for every pose; up to `spare` frames more, at the end, are left out."""
    frames = [
        frame for frame, _ in zip(iterate_video(path), range(length + spare + 1), strict=False)
    ]
    if not length <= len(frames) <= length + spare:
        found = len(frames) if len(frames) < length else "more"
        raise ValueError(
            f"{path}: expected a frame for each of the {length} states of {annotation}, found "
            f"{found}; the video is truncated or belongs to another episode: leave it out"
        )
    return np.stack(frames[:length])


def size_and_rate(path: Path) -> tuple[int, int, float]:
    """Height, width and frames a second, from a video's header."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate
            if rate is None:
                raise ValueError(f"{path} does not say its frame rate; convert it first")
            return stream.height, stream.width, float(rate)
    except (FFmpegError, IndexError) as error:
        raise ValueError(f"{path} is no video that can be read ({error})") from error
