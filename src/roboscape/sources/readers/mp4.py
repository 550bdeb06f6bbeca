"""Whole videos in memory, for readers of formats that keep a video an episode and camera."""

from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8

from roboscape.core.errors import UserError
from roboscape.core.video import iterate_video


def size_and_rate(path: Path) -> tuple[int, int, float]:
    """Height, width and frames a second, from a video's header."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate
            if rate is None:
                raise UserError(f"{path} has no frame rate in its header; convert it with ffmpeg")
            return stream.height, stream.width, float(rate)
    except (FFmpegError, IndexError) as error:
        raise UserError(
            f"{path} is not a video that can be read ({error}); copy it again, or leave it out"
        ) from error


def read_video(
    path: Path, *, length: int, rows: str = "", spare: int = 1
) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames of a video that must have `length` of them; up to `spare` more are left out.

    `rows` names, for the message, what they belong to where that is no table.
    """
    frames: np.ndarray | None = None
    count = 0
    for count, frame in enumerate(islice(iterate_video(path), length + spare + 1), start=1):
        if frames is None:
            frames = np.empty((length, *frame.shape), np.uint8)
        if count <= length:
            frames[count - 1] = frame
    if frames is None or not length <= count <= length + spare:
        found = "more" if count > length else str(count)
        rows = rows or f"{length} rows of numbers"
        raise UserError(
            f"{path}: expected a frame for each of {rows}, found {found}; the video is truncated "
            "or belongs to another episode: copy it again, or leave it out"
        )
    return frames
