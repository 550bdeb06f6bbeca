"""Pictures of a long rollout: its curves, and a few of its frames."""

from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from roboscape.core.files import atomic_path
from roboscape.evaluate.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    frame_ticks,
    grid,
    padded_range,
    polyline,
)
from roboscape.evaluate.panels import BACKGROUND, CAPTION, QUIET, caption_font
from studies.long_horizon.scores import CEILING, FLOOR, MEASURES, Scores, curve

FRAMES_SHOWN = (1, 16, 48, 100, 200)
PAPER_STOPS_AT = 48
CURVES = ("psnr", "abs_rel", "background", "cube_distance_px")
LINES = {
    CEILING: "ceiling",
    FLOOR: "static",
    "drawn": "drawn",
    "begun anew, recorded arm": "recorded",
}
"""Style of a subject's line; the first subject is the model's."""
MORE_STYLE = """
.line.drawn { stroke: #4c8bd0; stroke-width: 1.6; } .dot.drawn { fill: #4c8bd0; }
.line.recorded { stroke: #7a63c7; stroke-width: 1.6; stroke-dasharray: 2 4; }
.dot.recorded { fill: #7a63c7; }
.card { fill: var(--card); } .mark { stroke: var(--faint); stroke-dasharray: 2 3; }
.title { fill: var(--ink); font: 620 13px var(--sans); }
.key { fill: var(--soft); font: 12px var(--sans); }
"""
GAP, HEADER, LEGEND = 22.0, 26.0, 54.0
PICTURE_PX, MARGIN_PX, LABEL_PX, LINE_PX = 176, 12, 124, 30


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The same few frames of several videos of one episode."""

    rows: dict[str, UInt8[np.ndarray, "t h w 3"]]
    numbers: list[int]
    about: str


def write_chart(path: Path, subjects: dict[str, Scores]) -> None:
    """Four measures along the rollout as one .svg in the evaluation report's style.

    Args:
        path: file to write.
        subjects: the model first, then those of `LINES` in any order; others are left out.
    """
    model = next(iter(subjects))
    styles = {name: LINES.get(name) for name in subjects} | {model: "model"}
    drawn = {name: style for name, style in styles.items() if style}
    panels = [
        panel(measure, {drawn[name]: curve(subjects[name][measure]) for name in drawn})
        for measure in CURVES
        if measure in subjects[model]
    ]
    columns = 2
    width = columns * (WIDTH + GAP) + GAP
    height = -(-len(panels) // columns) * (HEIGHT + HEADER + GAP) + GAP + LEGEND
    placed = "".join(
        f'<g transform="translate({GAP + (WIDTH + GAP) * (number % columns):g} '
        f'{GAP + LEGEND + (HEIGHT + HEADER + GAP) * (number // columns):g})">{content}</g>'
        for number, content in enumerate(panels)
    )
    style = files("roboscape.evaluate").joinpath("report.css").read_text(encoding="utf-8")
    with atomic_path(path) as temporary:
        temporary.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" role="img" '
            f'aria-label="Imagined quality along 200 frames"><style>{style}{MORE_STYLE}</style>'
            f'<rect class="card" width="{width:g}" height="{height:g}" rx="14"/>'
            f"{legend(drawn)}{placed}</svg>\n",
            encoding="utf-8",
        )


def legend(drawn: dict[str, str]) -> str:
    """Names beside their lines, in rows of three."""
    parts = []
    for number, (name, style) in enumerate(drawn.items()):
        row, column = divmod(number, 3)
        left, middle = GAP + 8 + 236 * column, GAP + 4 + 20 * row
        parts.append(
            f'<line class="line {style}" x1="{left:g}" x2="{left + 20:g}" y1="{middle:g}" '
            f'y2="{middle:g}"/><text class="key" x="{left + 27:g}" y="{middle + 4:g}">'
            f"{escape(name)}</text>"
        )
    return "".join(parts)


def panel(measure: str, curves: dict[str, list[float]]) -> str:
    """One measure, a line a subject, the first on top."""
    values = [v for line in curves.values() for v in line if np.isfinite(v)]
    low, high = padded_range(values)
    count = max(len(line) for line in curves.values())
    x = Axis(low=1.0, high=float(max(count, 2)), start_px=LEFT, end_px=WIDTH - RIGHT)
    y = Axis(low=low, high=high, start_px=HEIGHT - BOTTOM, end_px=TOP)
    lines = [
        polyline(style, tuple(v if np.isfinite(v) else None for v in line), x, y)
        for style, line in reversed(curves.items())
        if np.isfinite(line).any()
    ]
    at = x.place(PAPER_STOPS_AT)
    mark = f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP:g}" y2="{HEIGHT - BOTTOM:g}"/>'
    return (
        f'<text class="title" x="{LEFT:g}" y="10">{escape(MEASURES[measure].title)}</text>'
        f'<g transform="translate(0 {HEADER - 8:g})">{grid(y)}{frame_ticks(count, x)}{mark}'
        f"{''.join(lines)}</g>"
    )


def write_strip(path: Path, strip: Strip) -> None:
    """A row a video, a column a frame, as a .jpg."""
    columns, rows, step = len(strip.numbers), len(strip.rows), PICTURE_PX + MARGIN_PX
    canvas = Image.new("RGB", (LABEL_PX + columns * step, 2 * LINE_PX + rows * step), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for column, number in enumerate(strip.numbers):
        place = (LABEL_PX + column * step, 6)
        draw.text(place, f"frame {number}", fill=CAPTION, font=caption_font())
    for row, (name, frames) in enumerate(strip.rows.items()):
        top = LINE_PX + row * step
        words = name.replace(", ", ",\n").replace(" ", "\n", 1)
        draw.text((MARGIN_PX, top + 6), words, fill=CAPTION, font=caption_font())
        for column, frame in enumerate(frames):
            picture = Image.fromarray(frame)
            picture = picture.resize((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
            canvas.paste(picture, (LABEL_PX + column * step, top))
    place = (LABEL_PX, canvas.height - LINE_PX + 4)
    draw.text(place, strip.about, fill=QUIET, font=caption_font())
    with atomic_path(path) as temporary:
        canvas.save(temporary, quality=88)
