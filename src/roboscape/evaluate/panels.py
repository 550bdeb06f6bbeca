"""Truth and imagination side by side: truth | imagined | depth truth | depth imagined | error."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from einops import repeat
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from roboscape.core.colour import colour_depth, colour_error, depth_range_m
from roboscape.core.files import atomic_path
from roboscape.core.video import write_video
from roboscape.rollout.videos import Videos

BACKGROUND, CAPTION, QUIET, BAR, BAR_DONE = "#0e1014", "#f2f3f5", "#8b93a1", "#262b34", "#ff7a45"
ENDED_GREY = 58
MARGIN_PX, GAP_PX, HEADER_PX, FOOTER_PX = 16, 10, 34, 40
FONT_PX = 15
LAST_FRAME_HOLD_S = 0.8
"""How long a video rests on its last frame before it starts again."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One moving picture with its caption."""

    caption: str
    frames: UInt8[np.ndarray, "t h w 3"]


def make_columns(truth: Videos, imagined: Videos, *, views: int = 1) -> tuple[Column, ...]:
    """The columns of one clip; depth columns only where there is depth.

    Args:
        truth: a batch of one; it may end before the imagination does, and is grey from there on.
        imagined: a batch of one.
        views: cameras whose images lie below each other; each has its own range of depths.
    """
    true_rgb, rgb = truth.rgb[0], imagined.rgb[0]
    count, shown = len(rgb), min(len(rgb), len(true_rgb))
    columns = [
        Column(caption="truth", frames=grey_after(true_rgb[:shown], count)),
        Column(caption="imagined", frames=rgb),
    ]
    error = colour_error(true_rgb[:shown], rgb[:shown])
    if imagined.depth_m is not None:
        known = imagined.depth_m[0] if truth.depth_m is None else truth.depth_m[0]
        colours = colour_views(imagined.depth_m[0], known, views=views)
        if truth.depth_m is not None:
            true_colours = colour_views(known[:shown], known, views=views)
            columns.append(Column(caption="depth, truth", frames=grey_after(true_colours, count)))
        columns.append(Column(caption="depth, imagined", frames=colours))
    columns.append(Column(caption="error", frames=grey_after(error, count)))
    return tuple(columns)


def colour_views(
    depth_m: Float[np.ndarray, "t h w"], known_m: Float[np.ndarray, "n h w"], *, views: int
) -> UInt8[np.ndarray, "t h w 3"]:
    """Depth in colours, for every view over the range that is known of it."""
    parts = []
    for part, known in zip(
        np.split(depth_m, views, axis=1), np.split(known_m, views, axis=1), strict=True
    ):
        nearest_m, farthest_m = depth_range_m(known)
        parts.append(colour_depth(part, nearest_m=nearest_m, farthest_m=farthest_m))
    return np.concatenate(parts, axis=1)


def grey_after(frames: UInt8[np.ndarray, "t h w 3"], count: int) -> UInt8[np.ndarray, "n h w 3"]:
    """Frames continued to `count` by plain grey, where there is nothing left to show."""
    grey = np.full((count - len(frames), *frames.shape[1:]), ENDED_GREY, np.uint8)
    return np.concatenate([frames, grey])


def join_columns(
    columns: tuple[Column, ...], *, scale: int = 1, gap_px: int = 0
) -> UInt8[np.ndarray, "t h w 3"]:
    """The columns beside each other without captions, every pixel `scale` pixels wide.

    Between two columns lie `gap_px` black pixels.
    """
    large = [
        repeat(column.frames, "t h w c -> t (h sy) (w sx) c", sy=scale, sx=scale)
        for column in columns
    ]
    num_frames, height, _, _ = large[0].shape
    gap = np.zeros((num_frames, height, gap_px, 3), np.uint8)
    parts = [part for picture in large for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=2)


def draw_side_by_side(
    columns: tuple[Column, ...], *, scale: int, frame_hz: float, num_true: int, after_truth: str
) -> UInt8[np.ndarray, "t h w 3"]:
    """The columns with captions, a time bar and what is happening.

    Args:
        columns: of equal size and length.
        scale: side of the square that a pixel becomes.
        frame_hz: frames a second, for the clock.
        num_true: frames that the recording has.
        after_truth: what to say about the frames after those.
    """
    count, height, width, _ = columns[0].frames.shape
    step = width * scale + GAP_PX
    canvas_width = 2 * MARGIN_PX + len(columns) * step - GAP_PX
    canvas_height = HEADER_PX + height * scale + FOOTER_PX
    blank = Image.new("RGB", (canvas_width + canvas_width % 2, canvas_height + canvas_height % 2))
    blank.paste(BACKGROUND, (0, 0, *blank.size))
    draw = ImageDraw.Draw(blank)
    for number, column in enumerate(columns):
        place = (MARGIN_PX + number * step, HEADER_PX / 2)
        draw.text(place, column.caption, fill=CAPTION, font=caption_font(), anchor="lm")
    frames = []
    for t in range(count):
        canvas = blank.copy()
        for number, column in enumerate(columns):
            picture = Image.fromarray(column.frames[t])
            picture = picture.resize((width * scale, height * scale), Image.Resampling.NEAREST)
            canvas.paste(picture, (MARGIN_PX + number * step, HEADER_PX))
        draw_footer(canvas, place=t / max(count - 1, 1), words=words_at(t, count, frame_hz))
        if t >= num_true:
            draw_note(canvas, after_truth)
        frames.append(np.asarray(canvas))
    return np.stack(frames)


def words_at(t: int, count: int, frame_hz: float) -> str:
    """The words of the footer at a frame."""
    clock = f"{t / frame_hz:4.1f} s"
    return f"{clock}   frame {t} of {count - 1}" if t else f"{clock}   the given frame"


def draw_footer(canvas: Image.Image, *, place: float, words: str) -> None:
    """A time bar and the clock."""
    draw = ImageDraw.Draw(canvas)
    left, right = MARGIN_PX, canvas.width - MARGIN_PX
    top = canvas.height - FOOTER_PX + 8
    draw.rectangle((left, top, right, top + 2), fill=BAR)
    draw.rectangle((left, top, left + round(place * (right - left)), top + 2), fill=BAR_DONE)
    middle = canvas.height - FOOTER_PX / 2 + 7
    draw.text((left, middle), words, fill=QUIET, font=caption_font(), anchor="lm")


def draw_note(canvas: Image.Image, words: str) -> None:
    """Draw what is different about this frame, at the footer's right."""
    place = (canvas.width - MARGIN_PX, canvas.height - FOOTER_PX / 2 + 7)
    ImageDraw.Draw(canvas).text(place, words, fill=BAR_DONE, font=caption_font(), anchor="rm")


def write_film(path: Path, frames: UInt8[np.ndarray, "t h w 3"], *, fps: float) -> None:
    """Write an .mp4 that rests on its last frame, whole or not at all."""
    rest = np.repeat(frames[-1:], round(LAST_FRAME_HOLD_S * fps), axis=0)
    with atomic_path(path) as temporary:
        write_video(temporary, np.concatenate([frames, rest]), fps=fps)


@cache
def caption_font() -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib."""
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, FONT_PX)
