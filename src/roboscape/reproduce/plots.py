"""Plots of a study: differences with their intervals, curves of a sweep."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from roboscape.reproduce.measuring import METRICS, MetricSpec
from roboscape.reproduce.report import Contrast, titled

COLUMNS = 4
BETTER, WORSE, OPEN = "#1b7837", "#b2182b", "#666666"


def difference_plot(contrasts: Sequence[Contrast]) -> Figure:
    """One small plot a metric: the difference of every contrast and its 95 % interval.

    Green where the whole interval is better than the reference, red where it is worse.
    """
    rows = -(-len(METRICS) // COLUMNS)
    figure = Figure(
        figsize=(3.6 * COLUMNS, rows * (0.9 + 0.24 * len(contrasts))), layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, COLUMNS, squeeze=False, sharey=True).flatten()
    for metric, axis in zip(METRICS, axes, strict=False):
        draw_metric(axis, metric, contrasts)
    for axis in axes[len(METRICS) :]:
        axis.set_visible(False)
    return figure


def draw_metric(axis: Axes, metric: MetricSpec, contrasts: Sequence[Contrast]) -> None:
    """The differences in one metric."""
    for place, contrast in enumerate(contrasts):
        one = contrast.of(metric.key)
        if one is not None:
            colour = colour_of(one.low, one.high, metric)
            axis.plot([one.low, one.high], [place, place], color=colour, linewidth=2)
            axis.plot([one.difference], [place], "o", color=colour, markersize=5)
    axis.axvline(0, color="#999999", linewidth=0.8)
    axis.set_title(titled(metric), fontsize=9)
    axis.set_yticks(
        range(len(contrasts)), [f"{one.variant} − {one.against}" for one in contrasts], fontsize=8
    )
    axis.set_ylim(len(contrasts) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=7)
    axis.locator_params(axis="x", nbins=5)


def colour_of(low: float, high: float, metric: MetricSpec) -> str:
    """By the side of zero that an interval lies on."""
    if low <= 0 <= high:
        return OPEN
    return BETTER if (low > 0) == (metric.better == "higher") else WORSE


def curve_plot(
    series: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    *,
    x_title: str,
    y_title: str,
) -> Figure:
    """Curves over a logarithmic axis: x, mean and standard deviation of each, by name."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for name, (x, mean, sd) in series.items():
        axis.errorbar(np.array(x), np.array(mean), yerr=np.array(sd), marker="o", label=name)
    axis.set_xscale("log")
    axis.set_xlabel(x_title)
    axis.set_ylabel(y_title)
    axis.grid(visible=True, alpha=0.3)
    axis.legend(fontsize=8)
    return figure
