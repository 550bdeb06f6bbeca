"""Line charts as inline SVG, coloured by the page's own style sheet."""

from dataclasses import dataclass
from html import escape

from roboscape.evaluate.results import Curve, Row, Subject

WIDTH, HEIGHT = 340.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 12.0, 12.0, 30.0
NUM_TICKS = 4
SUBJECT_NAMES: dict[Subject, str] = {
    "model": "model",
    "static": "still picture",
    "static_decoded": "still picture, through the tokenizer",
    "ceiling": "truth through the tokenizer",
}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A range of values laid over a range of pixels."""

    low: float
    high: float
    start_px: float
    end_px: float

    def place(self, value: int | float) -> float:
        """The pixel of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)


def line_chart(row: Row) -> str:
    """One metric over the imagined frames, a line a subject; empty where there is no curve."""
    curves: list[tuple[Subject, Curve]] = [
        (subject, measured.curve)
        for subject in SUBJECT_NAMES
        if (measured := row.of(subject)) is not None and measured.curve
    ]
    values = [value for _, curve in curves for value in curve if value is not None]
    if not values:
        return ""
    count = max(len(curve) for _, curve in curves)
    if row.name.key.startswith("delta_psnr"):
        # 0 is a model that ignores its actions: always in the picture.
        values.append(0.0)
    low, high = padded_range(values)
    x = Axis(low=1.0, high=float(max(count, 2)), start_px=LEFT, end_px=WIDTH - RIGHT)
    y = Axis(low=low, high=high, start_px=HEIGHT - BOTTOM, end_px=TOP)
    lines = [polyline(subject, curve, x, y) for subject, curve in reversed(curves)]
    title = escape(f"{row.name.title} at each imagined frame")
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{title}">'
        f"{grid(y)}{frame_ticks(count, x)}{''.join(lines)}</svg>"
    )


def padded_range(values: list[float]) -> tuple[float, float]:
    """The values' range with some air around it."""
    low, high = min(values), max(values)
    # Equal values may differ by rounding: a range as small has no room for grid lines.
    alike = high - low <= 1e-6 * max(abs(high), 1.0)
    air = max(abs(high), 1.0) * 0.05 if alike else 0.08 * (high - low)
    return low - air, high + air


def polyline(style: str, curve: Curve, x: Axis, y: Axis) -> str:
    """A line with a dot at its end, in a style's colour; frames without a value are skipped."""
    points = [
        (x.place(frame), y.place(value))
        for frame, value in enumerate(curve, start=1)
        if value is not None
    ]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    end_x, end_y = points[-1]
    return (
        f'<polyline class="line {style}" points="{path}"/>'
        f'<circle class="dot {style}" cx="{end_x:.1f}" cy="{end_y:.1f}" r="3"/>'
    )


def grid(y: Axis) -> str:
    """Horizontal lines at round values."""
    step = round_step((y.high - y.low) / NUM_TICKS)
    first = -(-y.low // step)
    parts = []
    number = first
    while number * step <= y.high:
        value = number * step
        at = y.place(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text class="tick" x="{LEFT - 7}" y="{at + 3.5:.1f}" text-anchor="end">'
            f"{value:g}</text>"
        )
        number += 1
    return "".join(parts).replace("-0<", "0<")


def round_step(raw: float) -> float:
    """The nearest of 1, 2 or 5 times a power of ten from above."""
    power = 1.0
    while power > raw:
        power /= 10
    while power * 10 <= raw:
        power *= 10
    return next(float(f"{m * power:g}") for m in (1, 2, 5, 10) if m * power >= raw)


def frame_ticks(count: int, x: Axis) -> str:
    """Numbers of imagined frames along the bottom."""
    every = max(1, round(count / 5))
    frames = [1, *range(every, count + 1, every)] if every > 1 else range(1, count + 1)
    ticks = [
        f'<text class="tick" x="{x.place(frame):.1f}" y="{HEIGHT - 10}" text-anchor="middle">'
        f"{frame}</text>"
        for frame in frames
    ]
    return "".join(ticks)


def range_bar(row: Row) -> str:
    """A bar that shows the model between the still picture (left) and the ceiling (right)."""
    floor = row.static_decoded or row.static
    if row.model is None or floor is None or row.ceiling is None:
        return ""
    low, high = floor.estimate.mean, row.ceiling.estimate.mean
    if low == high:
        return ""
    share = (row.model.estimate.mean - low) / (high - low)
    place = 100 * min(max(share, 0.0), 1.0)
    digits = row.name.digits
    return (
        f'<div class="range" title="{share:.0%} of the way from floor to ceiling">'
        f'<div class="track"><i style="width:{place:.1f}%"></i><b style="left:{place:.1f}%"></b>'
        f'</div><div class="ends"><span>floor {low:.{digits}f}</span>'
        f"<span>ceiling {high:.{digits}f}</span></div></div>"
    )
