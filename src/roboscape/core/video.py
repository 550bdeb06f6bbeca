"""Video files: colour as H.264, 12-bit codes as lossless HEVC, decoded by frame number."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8, UInt16

from roboscape.core.errors import UserError

Pixels = Literal["rgb", "codes"]

KEY_FRAME_EVERY = 10
"""Frames from one key frame to the next: the most that a random read decodes in vain."""

_CODECS = {"rgb": "libx264", "codes": "libx265"}
_FORMATS_ON_DISK = {"rgb": "yuv420p", "codes": "gray12le"}
_FORMATS_IN_MEMORY = {"rgb": "rgb24", "codes": "gray12le"}
_OPTIONS = {
    # Without B frames the order of decoding is the order of the rows, and no edit list is needed.
    "rgb": {"crf": "18", "bf": "0", "forced-idr": "1"},
    "codes": {
        "preset": "ultrafast",
        "forced-idr": "1",
        # No threads of x265's own: waiting for those that look ahead, its flush once never ended.
        "x265-params": "lossless=1:bframes=0:scenecut=0:rc-lookahead=0:pools=none:wpp=0:"
        "frame-threads=1:log-level=error",
    },
}


class VideoWriter:
    """Encodes one video file piece by piece; memory does not grow with its length.

    `rgb` is uint8 "t h w 3" as H.264 yuv420p (crf 18); `codes` is uint16 "t h w" below 4096, stored
    without loss as HEVC gray12le, the way LeRobot stores depth.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: float,
        height: int,
        width: int,
        pixels: Pixels = "rgb",
        threads: int = 1,
    ) -> None:
        if pixels == "rgb" and (height % 2 or width % 2):
            raise UserError(
                f"H.264 needs an even height and width, got {height} x {width}; crop or pad by one"
            )
        self.path = path
        self.frames_written = 0
        self._pixels: Pixels = pixels
        self._shape = (height, width, 3) if pixels == "rgb" else (height, width)
        self._container = av.open(str(path), "w", format="mp4")
        rate = Fraction(fps).limit_denominator(1001)
        self._time_base = 1 / rate
        stream = self._container.add_stream(_CODECS[pixels], rate=rate, options=_OPTIONS[pixels])
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = _FORMATS_ON_DISK[pixels]
        # Key frames stand only where `write` asks for them.
        self._stream.gop_size = 1_000_000
        self._stream.thread_count = threads
        self._stream.codec_context.time_base = self._time_base

    def write(self, frames: UInt8[np.ndarray, "t h w 3"] | UInt16[np.ndarray, "t h w"]) -> None:
        """Append frames; the first of every call is a key frame, and every tenth after it."""
        expected = np.uint8 if self._pixels == "rgb" else np.uint16
        if frames.shape[1:] != self._shape or frames.dtype != expected:
            raise UserError(
                f"{self.path.name} takes {np.dtype(expected)} frames of shape {self._shape}, got "
                f"{frames.dtype} of shape {frames.shape[1:]}"
            )
        for number, pixels in enumerate(np.ascontiguousarray(frames)):
            frame = av.VideoFrame.from_ndarray(pixels, format=_FORMATS_IN_MEMORY[self._pixels])
            frame.pts, frame.time_base = self.frames_written, self._time_base
            if number % KEY_FRAME_EVERY == 0:
                frame.pict_type = PictureType.I
            self._container.mux(self._stream.encode(frame))
            self.frames_written += 1

    def close(self) -> None:
        """Finish the file, and make sure that every frame arrived in it."""
        if self.frames_written:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        if self.frames_written and (found := count_frames(self.path)) != self.frames_written:
            raise OSError(f"{self.path} holds {found} of the {self.frames_written} frames written")

    def abandon(self) -> None:
        """Close the file as it is, without finishing it."""
        try:
            self._container.close()
        except OSError:
            # The file is about to be thrown away, and what stopped the writing is already raised.
            return

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def write_video(path: Path, frames: UInt8[np.ndarray, "t h w 3"], *, fps: float) -> None:
    """Write a whole colour video, H.264; odd sizes are padded by one row or column."""
    _, height, width, _ = frames.shape
    padded = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps=fps, height=padded.shape[1], width=padded.shape[2]) as writer:
        writer.write(padded)


def count_frames(path: Path) -> int:
    """Number of frames in a video file's header; a broken file is a `ValueError`."""
    try:
        with av.open(str(path)) as container:
            return container.streams.video[0].frames
    except (FFmpegError, IndexError) as error:
        raise UserError(_unreadable(path, error)) from error


def read_frames(
    path: Path, *, fps: float, wanted: range, pixels: Pixels = "rgb"
) -> UInt8[np.ndarray, "t h w 3"] | UInt16[np.ndarray, "t h w"]:
    """Decode the frames with the wanted numbers (ascending), with one seek.

    Frames are found by their time stamps at `fps`, so that a file may hold many episodes.

    Raises:
        ValueError: the file is missing, broken, or ends too early; the message says which.
    """
    if not wanted or wanted.step < 0:
        raise UserError(f"expected at least one frame to read, in ascending order, got {wanted}")
    frames: np.ndarray | None = None
    found = 0
    try:
        for number, decoded in _decode(path, fps=fps, wanted=wanted, pixels=pixels):
            if number != wanted[found]:
                break
            if frames is None:
                frames = np.empty((len(wanted), *decoded.shape), decoded.dtype)
            frames[found] = decoded
            found += 1
    except (FFmpegError, IndexError) as error:
        raise UserError(_unreadable(path, error)) from error
    if frames is None or found < len(wanted):
        raise UserError(
            f"{path} ends too early or skips frames: of frames {wanted[0]} to {wanted[-1]} at "
            f"{fps} Hz, {found} of {len(wanted)} could be read; the video is truncated or belongs "
            "to another recording: copy it again, or leave this episode out"
        )
    return frames


def iterate_video(path: Path, *, pixels: Pixels = "rgb") -> Iterator[np.ndarray]:
    """Every frame of a file in order, one at a time; uint8 "h w 3" or uint16 "h w"."""
    reformatter = VideoReformatter()
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(container.streams.video[0]):
                yield _to_array(frame, reformatter, pixels=pixels)
    except (FFmpegError, IndexError) as error:
        raise UserError(_unreadable(path, error)) from error


def _decode(
    path: Path, *, fps: float, wanted: range, pixels: Pixels
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode from the key frame before the first wanted frame to the last; convert the wanted."""
    reformatter = VideoReformatter()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        assert stream.time_base is not None
        frames_per_tick = float(stream.time_base) * fps
        # Half a frame early: time stamps are rounded to ticks.
        container.seek(max(0, int((wanted[0] - 0.5) / frames_per_tick)), stream=stream)
        for frame in container.decode(stream):
            number = round((frame.pts or 0) * frames_per_tick)
            if number in wanted:
                yield number, _to_array(frame, reformatter, pixels=pixels)
            if number >= wanted[-1]:
                return


def _to_array(
    frame: av.VideoFrame, reformatter: VideoReformatter, *, pixels: Pixels
) -> UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"]:
    """The frame's pixels; one reformatter for a whole file is what makes this fast."""
    if pixels == "codes":
        if not frame.format.name.startswith("gray1"):
            raise UserError(
                f"expected a depth video of 12-bit grey pixels, got {frame.format.name}; it was "
                "written by a program that does not know LeRobot's depth format"
            )
        return frame.to_ndarray()
    return reformatter.reformat(frame, format="rgb24").to_ndarray()


def _unreadable(path: Path, error: Exception) -> str:
    """The error message for a file that cannot be decoded."""
    if not path.exists():
        return f"expected a video at {path}, found none; is the dataset complete?"
    return (
        f"{path} cannot be decoded ({error}); it is truncated or not a video: copy the file "
        "again, or leave its episodes out"
    )
