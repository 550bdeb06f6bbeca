"""The findings of a study: comparisons from its results, and the page that shows them."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.core.files import write_json
from roboscape.core.runs import command_line
from roboscape.reproduce.design import StudyDesign, complete_seeds, runs_of
from roboscape.reproduce.measuring import METRICS, SECONDARY, MetricSpec
from roboscape.reproduce.page import Block, Code, Heading, Paragraph, Table, fill, write_page
from roboscape.reproduce.results import CPU, STEPS, RunResult
from roboscape.reproduce.setup import StudyFlags
from roboscape.reproduce.statistics import Comparison, compare, corrected

log = logging.getLogger(__name__)

SIGNIFICANT = 0.05
MEANS = "Means ± standard deviation over seeds"
"""Heading of the table of all runs."""
BOTH = "both"
"""Runs that have both in common: their steps cost the same."""
PROTOCOLS = {
    CPU: "equal CPU seconds",
    STEPS: "equal steps",
    BOTH: "equal steps and CPU seconds",
}


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A variant against its reference: one comparison a metric."""

    variant: str
    against: str
    protocol: str
    seeds: tuple[int, ...]
    comparisons: tuple[Comparison, ...]

    def of(self, metric: str) -> Comparison | None:
        """The comparison in one metric; None where it is not measured in both."""
        return next((one for one in self.comparisons if one.metric == metric), None)


def contrast(
    runs: dict[str, dict[int, RunResult]], protocol: str, *, variant: str, against: str
) -> Contrast | None:
    """Compare two variants over the seeds that both have; None without any.

    Args:
        runs: Of a protocol, by variant and seed.
        protocol: Its name.
        variant: Is compared.
        against: With this one.
    """
    seeds = complete_seeds(runs, [variant, against])
    if not seeds:
        return None
    found = [
        compare(
            metric.key,
            scores_of(runs[variant], seeds, metric.key),
            scores_of(runs[against], seeds, metric.key),
        )
        for metric in METRICS
    ]
    return Contrast(
        variant=variant,
        against=against,
        protocol=protocol,
        seeds=tuple(seeds),
        comparisons=tuple(corrected([one for one in found if one is not None])),
    )


def contrasts_of(
    study: StudyDesign, *, pairs: Sequence[tuple[str, str]] | None = None
) -> list[Contrast]:
    """All contrasts that have results, under every protocol, those of the same runs once.

    Args:
        study: With results.
        pairs: Variants and references; those that the variants name, where none are given.
    """
    if pairs is None:
        pairs = [(one.name, one.against) for one in study.variants if one.against]
    all_of = {protocol: runs_of(study, protocol) for protocol in study.protocols}
    protocols: dict[tuple[str, str, int, int], list[str]] = {}
    for protocol, runs in all_of.items():
        for variant, against in pairs:
            if variant in runs and against in runs:
                taken = steps_of(runs[variant]), steps_of(runs[against])
                protocols.setdefault((variant, against, *taken), []).append(protocol)
    found = []
    for (variant, against, *_), common in protocols.items():
        one = contrast(all_of[common[0]], common[0], variant=variant, against=against)
        if one is not None:
            found.append(replace(one, protocol=in_common(common)))
    return found


def steps_of(runs: dict[int, RunResult]) -> int:
    """The number of steps of a variant's runs, which is the same for all seeds."""
    return next(iter(runs.values())).steps


def in_common(protocols: Sequence[str]) -> str:
    """The name of what runs have in common that some protocols share."""
    return protocols[0] if len(protocols) == 1 else BOTH


def under(found: Sequence[Contrast], protocol: str) -> list[Contrast]:
    """The contrasts of a protocol, those that it shares with another among them."""
    return [one for one in found if one.protocol in (protocol, BOTH)]


def scores_of(
    runs: dict[int, RunResult], seeds: Sequence[int], metric: str
) -> Float[np.ndarray, "s b"]:
    """A metric of some runs, one row a seed."""
    return np.stack([runs[seed].per_clip(metric) for seed in seeds])


def means_table(study: StudyDesign) -> Table:
    """Mean and standard deviation over seeds of every metric, a row a variant and protocol."""
    metrics = (*METRICS, *SECONDARY)
    rows = []
    floors = study.results.floors() or {}
    for name, values in floors.items():
        label = {"still": "still picture", "ceiling": "tokenizer's ceiling"}[name]
        cells = tuple(shown(values[metric.key], metric) for metric in metrics)
        rows.append((label, "", "", "", "", *cells))
    for protocol, runs in shared_runs(study):
        first = next(iter(runs.values()))
        cells = tuple(mean_sd(runs, metric) for metric in metrics)
        seconds = np.mean([one.cpu_s for one in runs.values()])
        rows.append(
            (
                f"{first.variant}: {first.what}",
                PROTOCOLS[protocol],
                f"{len(runs)}",
                f"{first.steps}",
                f"{seconds:.0f}",
                *cells,
            )
        )
    header = (
        "variant",
        "in common",
        "seeds",
        "steps",
        "CPU s",
        *(titled(metric) for metric in metrics),
    )
    return Table(header=header, rows=tuple(rows))


def mean_sd(runs: dict[int, RunResult], metric: MetricSpec) -> str:
    """The mean over seeds and clips, and the standard deviation of the seeds' means."""
    known = [
        np.nanmean(x) for one in runs.values() if not np.isnan(x := one.per_clip(metric.key)).all()
    ]
    if not known:
        return "–"
    if len(known) == 1:
        return shown(float(known[0]), metric)
    return f"{shown(float(np.mean(known)), metric)} ± {np.std(known, ddof=1):.{metric.digits}f}"


def titled(metric: MetricSpec) -> str:
    """A metric's name, its unit and which way is better."""
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.title}{unit} {'↑' if metric.better == 'higher' else '↓'}"


def shown(value: float, metric: MetricSpec) -> str:
    """A value with the metric's decimals; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{metric.digits}f}"


def contrast_table(found: Contrast) -> Table:
    """Every metric of one contrast with its tests."""
    rows = []
    for metric in METRICS:
        one = found.of(metric.key)
        if one is None:
            rows.append((titled(metric), *("–",) * 9))
            continue
        digits = metric.digits
        rows.append(
            (
                titled(metric),
                f"{one.difference:+.{digits}f}",
                "–" if one.sd is None else f"{one.sd:.{digits}f}",
                f"[{one.low:+.{digits}f}, {one.high:+.{digits}f}]",
                "–" if one.dz is None else f"{one.dz:+.1f}",
                p_text(one.t_p),
                p_text(one.t_holm),
                p_text(one.wilcoxon_p),
                p_text(one.clips_holm),
                verdict(one, metric),
            )
        )
    header = (
        "metric",
        "difference",
        "sd",
        "95 % interval",
        "dz",
        "t, p",
        "t, Holm",
        "Wilcoxon, p",
        "clips, Holm",
        "verdict",
    )
    return Table(header=header, rows=tuple(rows))


def p_text(p: float | None) -> str:
    """A p-value."""
    if p is None:
        return "–"
    return "< .0001" if p < 0.0001 else f"{p:.4f}".lstrip("0") if p < 1 else "1"


def verdict(one: Comparison, metric: MetricSpec) -> str:
    """Better or worse where the corrected t-test over seeds says so; else that it is open."""
    if one.t_holm is None:
        return "one seed: no test" if one.seeds == 1 else "no spread: no test"
    if one.t_holm >= SIGNIFICANT:
        return "open"
    return "better" if (one.difference > 0) == (metric.better == "higher") else "worse"


def method_text(study: StudyDesign) -> list[Block]:
    """The method in words, with the command.

    Raises:
        UserError: no run of the study is there yet.
    """
    runs = [one for found in all_runs(study) for one in found.values()]
    if not runs:
        raise UserError(
            f"{study.results.root} holds no finished run of this study yet; run the same command "
            "without --read"
        )
    settings = study.results.settings
    machines = sorted({one.machine for one in runs})
    seconds = sum(one.cpu_s + one.measuring_cpu_s for one in runs)
    budget = (
        f"{settings['budget_s']:g} CPU seconds of one thread a training"
        if settings["budget_s"]
        else f"{settings['reference_steps']} steps a training"
    )
    if settings["step_s"]:
        budget += (
            f" at {settings['step_s']:g} CPU seconds a step of the reference, as given (on a busy "
            "machine the seconds measured are more)"
        )
    return [
        Code(command_line()),
        Paragraph(
            f"{budget}; seeds {', '.join(map(str, study.seeds))}; training {settings['train']}, "
            f"camera {settings['camera']}; {settings['clips']} clips of as many validation "
            f"episodes of {settings['validation']}, {settings['horizon']} frames imagined from one "
            f"given frame, greedy, {settings['number_format']}. Runs on: "
            f"{'; '.join(machines) or 'none yet'}. All runs together: {seconds:.0f} CPU seconds, "
            "measuring included."
        ),
        Paragraph(
            "Differences are variant minus reference, paired by seed: equal clips in equal order, "
            "and equal initial weights and masks where both have the same branches. Intervals: "
            "bootstrap over seeds and clips. dz: Cohen's, difference over its standard deviation. "
            "Holm: corrected over the metrics of one table. Wilcoxon's test over five seeds is "
            "never below .0625. `clips`: Wilcoxon over clips, which says something of these "
            "trainings, not of others. Verdict: the corrected t-test over seeds, at .05."
        ),
    ]


def shared_runs(study: StudyDesign) -> list[tuple[str, dict[int, RunResult]]]:
    """The runs of every variant with what they have in common, each run once."""
    found: dict[tuple[str, int], dict[int, RunResult]] = {}
    protocols: dict[tuple[str, int], list[str]] = {}
    for protocol in study.protocols:
        for name, runs in runs_of(study, protocol).items():
            key = name, steps_of(runs)
            found[key] = runs
            protocols.setdefault(key, []).append(protocol)
    return [(in_common(protocols[key]), runs) for key, runs in found.items()]


def all_runs(study: StudyDesign) -> list[dict[int, RunResult]]:
    """The runs of every variant, each run once."""
    return [runs for _, runs in shared_runs(study)]


SUMMARY = ("psnr", "delta_psnr", "ssim", "abs_rel", "delta1", "keypoint_px", "cube")
"""Metrics of the table that has all contrasts, a row each."""


def summary_blocks(found: Sequence[Contrast]) -> list[Block]:
    """All contrasts in one table: differences with their intervals, marked where tests say so."""
    if not found:
        return []
    metrics = [metric for metric in METRICS if metric.key in SUMMARY]
    rows = [
        (
            f"{one.variant} − {one.against}",
            PROTOCOLS[one.protocol],
            f"{len(one.seeds)}",
            *(summary_cell(one.of(metric.key), metric) for metric in metrics),
        )
        for one in found
    ]
    header = ("variant − reference", "protocol", "seeds", *(titled(metric) for metric in metrics))
    return [
        Heading("Differences"),
        Paragraph(
            "Difference [95 % interval]. **Bold**: the corrected t-test over seeds is below "
            f"{SIGNIFICANT:g}. Every metric with all its tests is in the study's own page "
            "(`NAME.html` in `--output`)."
        ),
        Table(header=header, rows=tuple(rows)),
    ]


def summary_cell(one: Comparison | None, metric: MetricSpec) -> str:
    """A difference and its interval, bold where the test over seeds tells it from chance."""
    if one is None:
        return "–"
    digits = metric.digits
    found = f"{one.difference:+.{digits}f}"
    if verdict(one, metric) in ("better", "worse"):
        found = f"**{found}**"
    return f"{found} [{one.low:+.{digits}f}, {one.high:+.{digits}f}]"


def contrast_blocks(found: Sequence[Contrast]) -> list[Block]:
    """A heading and a table for each contrast."""
    blocks: list[Block] = []
    for one in found:
        seeds = f"{len(one.seeds)} seed{'s' if len(one.seeds) > 1 else ''}"
        where = PROTOCOLS[one.protocol]
        blocks += [
            Heading(f"{one.variant} − {one.against}, {where} ({seeds})"),
            contrast_table(one),
        ]
    return blocks


def write_report(
    study: StudyDesign,
    *,
    name: str,
    title: str,
    blocks: Sequence[Block],
    contrasts: Sequence[Contrast],
    flags: StudyFlags,
) -> Path:
    """Write `NAME.json`, `NAME.md` and `NAME.html` beside the results, and fill a page if asked.

    Args:
        study: With results.
        name: Of the files, and of the place in a page where the flags name none.
        title: Of the page.
        blocks: Texts, tables and plots; a table of all contrasts follows them.
        contrasts: Each has a table with all its tests in the study's own page.
        flags: Name the Markdown page to fill, and the place in it.
    """
    root, blocks = study.results.root, [*blocks, *summary_blocks(contrasts)]
    write_json(
        root / f"{name}.json",
        {
            "command": command_line(),
            "settings": study.results.settings,
            "contrasts": [asdict(one) for one in contrasts],
        },
    )
    path = write_page(title, [*blocks, *contrast_blocks(contrasts)], root, name=name)
    if flags.page is not None:
        fill(flags.page, flags.place or name, blocks)
    log.info("page: %s", path)
    return path
