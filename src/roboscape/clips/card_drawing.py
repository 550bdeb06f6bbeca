"""Pieces of the dataset card: tiles, bars, histograms and tables as HTML."""

from collections.abc import Sequence
from html import escape
from typing import Literal

import numpy as np

BINS = 24
MOST_BARS = 12
_WIDTH, _HEIGHT = 320, 90


def tiles(figures: Sequence[tuple[str, str, str]]) -> str:
    """HTML of the main figures: name, value, unit."""
    return "".join(
        f'<div class="tile"><p class="name">{escape(name)}</p><p class="value">{escape(value)}'
        f"<small>{escape(unit)}</small></p></div>"
        for name, value, unit in figures
    )


def ribbon(counts: dict[str, int], *, kept: int) -> str:
    """All clips as one band: those that are kept, then a piece for every reason against others."""
    whole = max(1, kept + sum(counts.values()))
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    pieces = [
        f'<i class="{kind}" style="flex:{count}" title="{escape(name)}: {count:,}"></i>'
        for name, count, kind in [("kept", kept, "kept"), *((*one, "dropped") for one in ordered)]
        if count
    ]
    words = " · ".join(f"{escape(name)} {count / whole:.0%}" for name, count in ordered)
    note = f"<p><b>kept {kept / whole:.0%}</b><span>{words or 'nothing dropped'}</span></p>"
    return f'<div class="ribbon"><div>{"".join(pieces)}</div>{note}</div>'


def bars(counts: dict[str, int], *, of: int, kind: Literal["kept", "dropped"] = "kept") -> str:
    """A bar for each count, the largest first; what is too rare shares the last one."""
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    shown, rest = ordered[:MOST_BARS], ordered[MOST_BARS:]
    if rest:
        shown.append((f"{len(rest)} others", sum(count for _, count in rest)))
    largest = max((count for _, count in shown), default=1)
    lines = [
        f'<div class="bar"><span>{escape(name)}</span>'
        f'<i class="{kind}" style="width:{100 * count / largest:.1f}%"></i>'
        f"<b>{count:,}</b><small>{count / max(1, of):.1%}</small></div>"
        for name, count in shown
    ]
    return f'<div class="bars">{"".join(lines)}</div>'


def histogram(title: str, values: Sequence[float], *, keep: Sequence[bool]) -> str:
    """A histogram of a quantity: kept clips below, dropped ones stacked upon them."""
    if not values:
        return ""
    numbers, kept = np.asarray(values, float), np.asarray(keep, bool)
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        same = f'<p class="same">{low:.3g}<small>in every clip</small></p>'
        return f'<figure class="panel"><h3>{escape(title)}</h3>{same}</figure>'
    edges = np.linspace(low, high, BINS + 1)
    below = np.histogram(numbers[kept], edges)[0]
    above = np.histogram(numbers[~kept], edges)[0]
    scale = _HEIGHT / max(1, int((below + above).max()))
    step = _WIDTH / BINS
    shapes = []
    for place, (count, extra) in enumerate(zip(below, above, strict=True)):
        x, width = place * step + 0.5, step - 1
        top = _HEIGHT - count * scale
        shapes.append(_box(x, top, width, count * scale, kind="kept"))
        shapes.append(_box(x, top - extra * scale, width, extra * scale, kind="dropped"))
    drawn = "".join(shapes)
    return (
        f'<figure class="panel"><h3>{escape(title)}</h3>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{drawn}'
        f'</svg><div class="ends"><span>{low:.3g}</span><span>median '
        f"{np.median(numbers):.3g}</span><span>{high:.3g}</span></div></figure>"
    )


def _box(x: float, y: float, width: float, height: float, *, kind: str) -> str:
    if height <= 0:
        return ""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    )


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Words in rows and columns."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )
