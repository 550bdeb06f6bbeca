"""Drawing findings: one picture each, in a folder."""

import logging
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from roboscape.core.files import atomic_path
from roboscape.inspection.faults.finding import Finding, Plot

_LOG = logging.getLogger(__name__)


def draw_findings(problems: list[Finding], folder: Path) -> list[Path]:
    """Write `finding_<number>_<kind>.png` for every finding that has a plot."""
    written: list[Path] = []
    for number, problem in enumerate(problems, start=1):
        if problem.plot is None:
            continue
        path = folder / f"finding_{number:02d}_{problem.kind}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        _draw(problem.plot, title=f"{problem.kind}: {problem.where}", path=path)
        written.append(path)
    if written:
        _LOG.info("wrote %d plots of findings to %s", len(written), folder)
    return written


def _draw(plot: Plot, *, title: str, path: Path) -> None:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for line in plot.lines:
        style = {"linestyle": "none", "marker": ".", "markersize": 4} if line.points else {}
        axes.plot(line.x, line.y, label=line.label, linewidth=1, **style)
    axes.set(title=title, xlabel=plot.x_label, ylabel=plot.y_label)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize="small")
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
