"""The figures that one looks at first: one list for the README, the terminal and the report."""

from dataclasses import dataclass

from roboscape.evaluate.results import Results, Row, Subject
from roboscape.evaluate.tasks import TaskCounts


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One metric that is always shown."""

    key: str
    title: str
    digits: int
    better: str
    unit: str = ""
    aim: str = ""
    """What is aimed at on Lift; empty where nothing is."""
    tile: str = ""
    """Its name at the top of the report; empty where it is left out there."""


HEADLINES = (
    Headline(key="psnr", title="PSNR", digits=2, better="↑", unit="dB", aim="≥ 26", tile="PSNR"),
    Headline(key="ssim", title="SSIM", digits=3, better="↑"),
    Headline(
        key="abs_rel@metric",
        title="depth AbsRel (metric)",
        digits=3,
        better="↓",
        aim="≤ 0.05",
        tile="Depth error (AbsRel)",
    ),
    Headline(key="delta1@metric", title="depth δ₁", digits=3, better="↑"),
    Headline(key="delta2@metric", title="depth δ₂", digits=3, better="↑"),
    Headline(
        key="delta_psnr@shuffled",
        title="ΔPSNR (another episode's actions)",
        digits=2,
        better="↑",
        unit="dB",
        aim="≥ 6",
        tile="Effect of the actions (ΔPSNR)",
    ),
    Headline(
        key="delta_psnr@genie_random",
        title="ΔPSNR (random actions, Genie)",
        digits=2,
        better="↑",
        unit="dB",
    ),
)
SEVERAL_CAMERAS = (
    Headline(
        key="view_agreement",
        title="views agree (within 2 cm)",
        digits=3,
        better="↑",
        tile="Agreement of the views",
    ),
)
"""Shown where a frame has several views."""
NOTHING = "–"
ENDS: tuple[Subject, ...] = ("static", "model", "ceiling")
"""Floor, model, ceiling: the columns of every short table."""


@dataclass(frozen=True, kw_only=True)
class HeadlineRow:
    """One line of a short table, as text."""

    title: str
    """With unit and direction."""
    cells: dict[Subject, str]
    """By column; a dash where nothing was measured."""
    aim: str


def measured(results: Results) -> tuple[Headline, ...]:
    """The metrics that are shown of an evaluation."""
    has_views = any(row.name.key == SEVERAL_CAMERAS[0].key for row in results.rows)
    return (*HEADLINES, *(SEVERAL_CAMERAS if has_views else ()))


def headline_rows(results: Results) -> list[HeadlineRow]:
    """The metrics that are shown, then the task metrics."""
    rows = []
    for headline in measured(results):
        row = results.row(headline.key)
        unit = f", {headline.unit}" if headline.unit else ""
        rows.append(
            HeadlineRow(
                title=f"{headline.title}{unit} {headline.better}",
                cells={end: cell(row, end, digits=headline.digits) for end in ENDS},
                aim=headline.aim,
            )
        )
    for task in results.tasks:
        found = {"static": task.static, "model": task.model, "ceiling": task.ceiling}
        rows.append(
            HeadlineRow(
                title=f"{task.name.event} when, and only when, it does in truth ↑",
                cells={end: percent(found[end]) for end in ENDS},
                aim=task.name.aim,
            )
        )
    return rows


def cell(row: Row, subject: Subject, *, digits: int) -> str:
    """A mean, or a dash."""
    found = row.of(subject)
    return f"{found.estimate.mean:.{digits}f}" if found else NOTHING


def percent(counts: TaskCounts | None) -> str:
    """An agreement, or a dash."""
    return f"{counts.agreement:.0%}" if counts else NOTHING


def text_table(columns: dict[str, Results]) -> str:
    """A table for the terminal: still picture, one column for every evaluation, ceiling.

    Args:
        columns: Evaluations of the same clips by the model's name. The ceiling is that of the
            first model with tokens.
    """
    tables = [headline_rows(results) for results in columns.values()]
    lines = [["", "still picture", *columns, "tokenizer ceiling"]]
    for rows in zip(*tables, strict=True):
        ceilings = [row.cells["ceiling"] for row in rows if row.cells["ceiling"] != NOTHING]
        models = [row.cells["model"] for row in rows]
        end = ceilings[0] if ceilings else NOTHING
        lines.append([rows[0].title, rows[0].cells["static"], *models, end])
    return aligned(lines)


def aligned(lines: list[list[str]]) -> str:
    """A text table: the first column to the left, the others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in lines
    )
