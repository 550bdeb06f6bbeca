"""Drawing recordings: depth in colours, tracks with their trails, labels."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from roboscape.dataset.records import Tracks

BACKGROUND = (17, 18, 23)
TEXT = (225, 227, 232)
FAINT_TEXT = (140, 145, 156)
GOOD, BAD = (92, 200, 128), (232, 112, 96)
TRAIL_FRAMES = 10
"""How many frames back a track's trail reaches."""


@cache
def font(size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / name), size_px)


def depth_colours(
    depth_m: Float[np.ndarray, "t h w"], *, near_m: float, far_m: float
) -> UInt8[np.ndarray, "t h w 3"]:
    """Depth as colours, near bright and far dark, even in the logarithm."""
    share = np.log(depth_m.clip(near_m, far_m) / near_m) / np.log(far_m / near_m)
    table = (matplotlib.colormaps["magma"](np.linspace(0.97, 0.06, 256))[:, :3] * 255).round()
    return table.astype(np.uint8)[(share * 255).astype(np.uint8)]


def depth_limits(depth_m: Float[np.ndarray, "t h w"]) -> tuple[float, float]:
    """Nearest and farthest depth that get a colour of their own, in metres; without outliers."""
    near_m, far_m = np.quantile(depth_m[depth_m > 0], [0.005, 0.995])
    return float(near_m), float(max(far_m, near_m * 1.01))


def enlarge(frames: UInt8[np.ndarray, "t h w 3"], *, height: int) -> UInt8[np.ndarray, "t H W 3"]:
    """Resize every frame to a height, keeping its proportions (even width)."""
    width = 2 * round(frames.shape[2] * height / frames.shape[1] / 2)
    method = cv2.INTER_CUBIC if height > frames.shape[1] else cv2.INTER_AREA
    return np.stack([cv2.resize(frame, (width, height), interpolation=method) for frame in frames])


def draw_tracks(
    image: UInt8[np.ndarray, "h w 3"],
    tracks: Tracks,
    *,
    frame: int,
    scale: float,
    shown: np.ndarray,
) -> None:
    """Draw points and their trails into an enlarged image.

    Args:
        image: changed in place.
        tracks: of the whole episode, in pixels of the stored image.
        frame: the frame that the image shows.
        scale: enlarged pixels per stored pixel.
        shown: indices of the tracks to draw.
    """
    hues = matplotlib.colormaps["hsv"](np.linspace(0, 0.92, len(shown)))[:, :3] * 255
    colours = [tuple(float(channel) for channel in hue) for hue in hues]
    first = max(0, frame - TRAIL_FRAMES)
    # Pixel centres are at integers, so half a pixel is added before scaling. OpenCV draws in 1/16.
    places = ((tracks.xy_px[first : frame + 1] + 0.5) * scale * 16).round().astype(np.int32)
    trails = image.copy()
    for colour, point in zip(colours, shown, strict=True):
        path = np.ascontiguousarray(places[:, point])
        cv2.polylines(trails, [path], isClosed=False, color=colour, lineType=cv2.LINE_AA, shift=4)
    image[:] = cv2.addWeighted(trails, 0.6, image, 0.4, 0)
    for colour, point in zip(colours, shown, strict=True):
        if tracks.visible[frame, point]:
            centre = (int(places[-1, point, 0]), int(places[-1, point, 1]))
            cv2.circle(image, centre, 42, (20, 20, 20), -1, cv2.LINE_AA, shift=4)
            cv2.circle(image, centre, 30, colour, -1, cv2.LINE_AA, shift=4)


def spread_active(tracks: Tracks, *, count: int) -> np.ndarray:
    """Indices of up to `count` tracks that travel far while visible and start far apart.

    Travelling far is at least a quarter of what the busiest track does; of a simulator's tracks
    only those on moving bodies count.
    """
    seen: Bool[np.ndarray, "t k"] = tracks.visible[1:] & tracks.visible[:-1]
    steps_px = np.linalg.norm(np.diff(tracks.xy_px, axis=0), axis=-1)
    travelled_px = (steps_px * seen).sum(axis=0)
    if tracks.on_moving_body is not None:
        travelled_px = travelled_px * tracks.on_moving_body
    candidates = np.flatnonzero(travelled_px > max(1.0, travelled_px.max(initial=0.0) / 4))
    if not len(candidates):
        return candidates
    starts_px = tracks.xy_px[0, candidates]
    chosen = [int(travelled_px[candidates].argmax())]
    while len(chosen) < min(count, len(candidates)):
        gaps_px = np.linalg.norm(starts_px[:, None] - starts_px[chosen], axis=-1).min(axis=1)
        chosen.append(int(gaps_px.argmax()))
    return candidates[chosen]


def write_text(
    canvas: UInt8[np.ndarray, "h w 3"],
    lines: Sequence[tuple[str, tuple[int, int, int]]],
    *,
    left: int,
    top: int,
    size_px: int = 13,
) -> None:
    """Write lines of coloured text into a canvas, in place; the first one is bold."""
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    for number, (text, colour) in enumerate(lines):
        pen.text(
            (left, top + number * round(size_px * 1.45)),
            text,
            fill=colour,
            font=font(size_px, bold=number == 0),
        )
    canvas[:] = np.asarray(picture)
