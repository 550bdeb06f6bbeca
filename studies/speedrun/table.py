"""The speed-run's log as Markdown: what every change did, next to the spread of the seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from roboscape.core.files import read_json
from studies.pages import as_markdown
from studies.speedrun.variants import BASELINE, PLAIN, PLAIN_4X, listed

NEUTRAL = "within the seeds' spread"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A column."""

    key: str
    title: str
    digits: int
    sign: int
    """1 where higher is better, -1 where lower is."""


METRICS = (
    Metric(key="rgb_loss", title="RGB loss", digits=3, sign=-1),
    Metric(key="depth_loss", title="depth loss", digits=3, sign=-1),
    Metric(key="psnr", title="PSNR", digits=2, sign=1),
    Metric(key="abs_rel", title="AbsRel", digits=4, sign=-1),
    Metric(key="delta_psnr", title="ΔPSNR", digits=2, sign=1),
)

Results = dict[str, list[dict[str, Any]]]
"""Every finished seed of every variant."""


def read_results(output: Path) -> Results:
    """Results by variant, in the list's order; combinations come last."""
    found: Results = {}
    for path in sorted(output.glob("*/seed*/result.json")):
        result = read_json(path)
        found.setdefault(result["variant"], []).append(result)
    names = [variant.name for variant in listed()]
    order = [name for name in names if name in found]
    return {name: found[name] for name in [*order, *sorted(found.keys() - set(order))]}


def values(runs: Sequence[dict[str, Any]], metric: Metric) -> list[float]:
    """A metric's value with every seed."""
    return [run["figures"][metric.key] for run in runs if metric.key in run["figures"]]


def judgement(
    runs: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]], metric: Metric
) -> int:
    """1 better, -1 worse than the baseline; 0 where the ranges of the seeds overlap."""
    mine, theirs = ([metric.sign * x for x in values(r, metric)] for r in (runs, baseline))
    if not mine or not theirs:
        return 0
    return int(min(mine) > max(theirs)) - int(max(mine) < min(theirs))


def verdict(runs: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]]) -> str:
    """In words: which metrics are outside the seeds' spread, and in which direction."""
    found = {metric.title: judgement(runs, baseline, metric) for metric in METRICS}
    better = [title for title, sign in found.items() if sign > 0]
    worse = [title for title, sign in found.items() if sign < 0]
    if not better and not worse:
        words = NEUTRAL
    elif len(better) == len(METRICS) or len(worse) == len(METRICS):
        words = "better in all" if better else "worse in all"
    else:
        parts = (("better: ", better), ("worse: ", worse))
        words = "; ".join(word + ", ".join(titles) for word, titles in parts if titles)
    return words if min(len(runs), len(baseline)) > 1 else f"one seed: {words}"


def cell(runs: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]], metric: Metric) -> str:
    """The mean over seeds, half their range, and the difference from the baseline."""
    mine, theirs, digits = values(runs, metric), values(baseline, metric), metric.digits
    if not mine:
        return "-"
    text = f"{mean(mine):.{digits}f} ± {(max(mine) - min(mine)) / 2:.{digits}f}"
    if runs is baseline or not theirs:
        return text.replace("-", "−")
    return f"{text} ({mean(mine) - mean(theirs):+.{digits}f})".replace("-", "−")


def log_of(results: Results) -> str:
    """One line a change."""
    if BASELINE not in results:
        return "Not measured yet."
    baseline = results[BASELINE]
    header = ["change", "what", "seeds", "steps", "CPU s a step"]
    header += [metric.title for metric in METRICS] + ["against the baseline"]
    rows = [
        [
            f"`{name}`",
            runs[0]["what"],
            len(runs),
            runs[0]["steps"],
            f"{mean(run['step_s'] for run in runs):.3f}",
            *(cell(runs, baseline, metric) for metric in METRICS),
            "baseline" if name == BASELINE else verdict(runs, baseline),
        ]
        for name, runs in results.items()
    ]
    every = [run for runs in results.values() for run in runs]
    figures = every[0]["figures"]
    used = [run["cpu_s"] / run["budget_s"] for run in every]
    notes = (
        f"Budget {baseline[0]['budget_s']:.0f} CPU seconds a training; really used "
        f"{min(used):.0%} to {max(used):.0%} of it. {len(every)} trainings. Floor and ceiling of "
        f"PSNR on these clips: {figures['static_psnr']:.2f} dB for the first frame repeated, "
        f"{figures['ceiling_psnr']:.2f} dB for the true frames through the tokenizer. "
        f"Machine: {every[0]['machine']}."
    )
    return f"{as_markdown(header, rows)}\n\n{notes}"


def goal_of(results: Results) -> str:
    """Whether the preset has, at a quarter of the compute, what the plain masked recipe ends with.

    Combinations of changes are compared too.
    """
    if BASELINE not in results or PLAIN_4X not in results:
        return "Not measured yet."
    rival = results[PLAIN_4X]
    quarter = [name for name in (PLAIN, BASELINE) if name in results]
    quarter += [name for name in results if "+" in name]
    header = ["recipe", "compute", *(metric.title for metric in METRICS), "against it"]
    rows: list[list[str]] = [
        [f"`{PLAIN_4X}`", "4", *(cell(rival, rival, metric) for metric in METRICS), "the goal"]
    ]
    rows += [
        [f"`{name}`", "1", *(cell(runs, rival, metric) for metric in METRICS), verdict(runs, rival)]
        for name, runs in ((name, results[name]) for name in quarter)
    ]
    reached = [
        metric.title
        for metric in METRICS
        if metric.sign * (mean(values(results[BASELINE], metric)) - mean(values(rival, metric)))
        >= 0
    ]
    said = (
        f"With a quarter of the compute the preset reaches or passes the plain masked recipe in "
        f"{len(reached)} of {len(METRICS)} figures"
        + (f": {', '.join(reached)}." if reached else ".")
    )
    return f"{as_markdown(header, rows)}\n\n{said}"
