"""Reports as text: every figure beside its limit, and two reports side by side."""

from collections.abc import Iterable, Sequence

from roboscape.bench.peaks import AT_THE_END
from roboscape.bench.record import Curve, Figure, Report

BUSY = 0.5
"""Load above which other processes certainly took part of the machine."""
DRIFT = 0.1
"""Change of a peak during the benchmark above which the machine was not left alone."""


def show(report: Report) -> str:
    """The machine, one table of its peaks and figures, the curves."""
    rows = [("figure", "measured", "unit", "spread", "limit", "of limit", "aim", "limited by")]
    rows += [figure_row(figure) for figure in report.all_figures().values()]
    lines = [*heading(report), "", *columns(rows, text=(0, 2, 7))]
    for curve in report.curves:
        lines += ["", *curve_lines(curve)]
    return "\n".join(lines) + "\n"


def heading(report: Report) -> list[str]:
    """Machine, code and settings, with a warning where the machine was not left alone."""
    machine = report.machine
    settings = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    lines = [
        f"{machine.description}, torch {machine.torch}",
        f"{settings}, commit {report.commit[:9] or 'unknown'}",
    ]
    if machine.load > BUSY:
        lines.append(
            f"WARNING: the machine was busy before the benchmark began (load {machine.load:.1f}); "
            "these figures are disturbed, do not quote them"
        )
    drift = peak_drift(report)
    if drift and abs(drift - 1) > DRIFT:
        lines.append(
            f"WARNING: the fastest matrix product ran at {drift:.0%} of its speed at the end; only "
            "ratios of forms that ran in turns are to be quoted"
        )
    return lines


def peak_drift(report: Report) -> float | None:
    """Speed of the machine at the end of the benchmark over that at its beginning."""
    peaks = {figure.name: figure.value for figure in report.peaks}
    for name, value in peaks.items():
        if name.endswith(AT_THE_END):
            return value / peaks[name.removesuffix(AT_THE_END)]
    return None


def figure_row(figure: Figure) -> tuple[str, ...]:
    """A figure's line."""
    share = figure.share
    return (
        figure.name,
        number(figure.value),
        figure.unit,
        f"{number(figure.low)} to {number(figure.high)} ({figure.samples})",
        "" if figure.limit is None else number(figure.limit),
        "" if share is None else f"{share:.0%}",
        "" if figure.aim is None else number(figure.aim),
        figure.limited_by,
    )


def curve_lines(curve: Curve) -> list[str]:
    """A curve's values, a stretch of frames each."""
    values = [f"{f}: {number(v)}" for f, v in zip(curve.frames, curve.values, strict=True)]
    return [f"{curve.name}, {curve.unit}, by first frame of a stretch", "  " + "  ".join(values)]


def compare(old: Report, new: Report) -> str:
    """Two reports side by side; ratios above 1 are gains, and only between equal machines."""
    reasons = incomparable(old, new)
    before, after = old.all_figures(), new.all_figures()
    rows = [("figure", "old", "new", "unit", "gain")]
    for name in [*before, *(name for name in after if name not in before)]:
        one, other = before.get(name), after.get(name)
        some = other or one
        assert some is not None
        rows.append(
            (
                name,
                "" if one is None else number(one.value),
                "" if other is None else number(other.value),
                some.unit,
                "" if reasons else gain(one, other),
            )
        )
    lines = [
        "old: " + "; ".join(heading(old)),
        "new: " + "; ".join(heading(new)),
        *(f"NOT COMPARABLE, so no ratios: {reason}" for reason in reasons),
        "",
        *columns(rows, text=(0, 3)),
    ]
    return "\n".join(lines) + "\n"


def incomparable(old: Report, new: Report) -> list[str]:
    """Reasons why two reports cannot be compared; empty where they can."""
    labels = ("processor", "threads", "torch")
    pairs = zip(labels, old.machine.identity, new.machine.identity, strict=True)
    reasons = [f"{label} was {a}, now {b}" for label, a, b in pairs if a != b]
    for name in sorted(old.settings.keys() | new.settings.keys()):
        a, b = old.settings.get(name), new.settings.get(name)
        if a != b:
            reasons.append(f"{name} was {a}, now {b}")
    return reasons


def gain(old: Figure | None, new: Figure | None) -> str:
    """The factor by which the new figure is better."""
    if old is None or new is None or not old.value or not new.value:
        return ""
    factor = old.value / new.value if new.better == "lower" else new.value / old.value
    return f"{factor:.2f} x"


def number(value: float) -> str:
    """Four significant digits, without exponents where a person would write none."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def columns(rows: Sequence[Sequence[str]], *, text: Iterable[int]) -> list[str]:
    """Lines of aligned columns: text to the left, numbers to the right."""
    left = set(text)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
