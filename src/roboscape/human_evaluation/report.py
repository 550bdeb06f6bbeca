"""The answers of people, in numbers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import isnan
from typing import Any

from roboscape.evaluate.shares import Share, wilson_interval
from roboscape.human_evaluation.answers import Answer
from roboscape.human_evaluation.statistics import interval, krippendorff_alpha
from roboscape.human_evaluation.trials import TRUE, Trial, Trials

Automatic = Mapping[str, Mapping[str, bool]]
"""An automatic judge's answers: whether the task is solved, by source and episode number."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One person's view of one video."""

    episode: int
    source: str
    rater: str
    success: str
    plausibility: int
    recorded_success: bool

    @property
    def item(self) -> tuple[int, str]:
        """The video, whichever pair it is shown in."""
        return self.episode, self.source


@dataclass(frozen=True, kw_only=True)
class SourceResult:
    """One source of videos."""

    name: str
    success: Share
    """Videos that the person says are solved, of those that are clear."""
    plausibility: float
    """Mean, 1 to 5."""
    right_success: Share
    """Answers that agree with the recording's label, of those that are clear."""
    automatic: Share | None
    """Answers that agree with the automatic judge's, of those that are clear."""


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """Two sources beside each other."""

    first: str
    second: str
    taken_for_recorded: Share
    """Answers that take the first for the recording, of those that take one."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All results. Intervals are Wilson's at 95 % and take answers as independent."""

    raters: int
    answers: int
    sources: tuple[SourceResult, ...]
    pairs: tuple[PairResult, ...]
    success_alpha: float
    """Krippendorff's alpha of clear answers about success."""
    plausibility_alpha: float
    """Krippendorff's alpha of plausibility, as steps."""


def report_of(
    trials: Trials, answers: Sequence[Answer], *, automatic: Automatic | None = None
) -> Report:
    """The results of all answers so far."""
    by_id = {trial.id: trial for trial in trials.trials}
    shown = [one for answer in answers for one in both_sides(by_id[answer.trial], answer)]
    return Report(
        raters=len({answer.rater for answer in answers}),
        answers=len(answers),
        sources=tuple(source_result(name, shown, automatic) for name in trials.sources),
        pairs=tuple(
            pair_result(first, second, by_id, answers)
            for first, second in combinations(trials.sources, 2)
        ),
        success_alpha=krippendorff_alpha(
            by_rater([one for one in shown if one.success != "unclear"], "success")
        ),
        plausibility_alpha=krippendorff_alpha(by_rater(shown, "plausibility"), distance=interval),
    )


def both_sides(trial: Trial, answer: Answer) -> list[Shown]:
    """The two videos of a trial as their answer describes them."""
    known = {
        "episode": trial.episode,
        "rater": answer.rater,
        "recorded_success": trial.recorded_success,
    }
    return [
        Shown(
            source=trial.left,
            success=answer.left_success,
            plausibility=answer.left_plausibility,
            **known,
        ),
        Shown(
            source=trial.right,
            success=answer.right_success,
            plausibility=answer.right_plausibility,
            **known,
        ),
    ]


def source_result(name: str, shown: Sequence[Shown], automatic: Automatic | None) -> SourceResult:
    """One source's part."""
    own = [one for one in shown if one.source == name]
    clear = [one for one in own if one.success != "unclear"]
    judged = (automatic or {}).get(name, {})
    compared = [one for one in clear if str(one.episode) in judged]
    return SourceResult(
        name=name,
        success=share(one.success == "yes" for one in clear),
        plausibility=sum(one.plausibility for one in own) / len(own) if own else float("nan"),
        right_success=share((one.success == "yes") == one.recorded_success for one in clear),
        automatic=share((one.success == "yes") == judged[str(one.episode)] for one in compared)
        if automatic is not None
        else None,
    )


def pair_result(
    first: str, second: str, by_id: Mapping[str, Trial], answers: Sequence[Answer]
) -> PairResult:
    """One pair's part."""
    chosen = []
    for answer in answers:
        trial = by_id[answer.trial]
        if {trial.left, trial.right} == {first, second} and answer.recorded != "unclear":
            chosen.append(trial.left if answer.recorded == "left" else trial.right)
    return PairResult(
        first=first, second=second, taken_for_recorded=share(one == first for one in chosen)
    )


def share(outcomes: Any) -> Share:
    """The share of true outcomes."""
    found = list(outcomes)
    return wilson_interval(sum(found), len(found))


def by_rater(shown: Sequence[Shown], field: str) -> dict[tuple[int, str], dict[str, float]]:
    """Values by video and rater; the mean where a person saw a video in several pairs.

    Of success that is the share of yes, rounded, for it is a name.
    """
    values: dict[tuple[int, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in shown:
        value = float(one.success == "yes") if field == "success" else float(one.plausibility)
        values[one.item][one.rater].append(value)
    return {
        item: {
            rater: float(round(mean(found))) if field == "success" else mean(found)
            for rater, found in raters.items()
        }
        for item, raters in values.items()
    }


def mean(values: Sequence[float]) -> float:
    """The mean."""
    return sum(values) / len(values)


def draw_report(report: Report) -> str:
    """The results as a table in Markdown."""
    lines = [
        f"{report.answers} answers of {report.raters} people; intervals: Wilson, 95 %",
        "",
        "| source | solved | plausible, 1 to 5 | agrees with the recording | agrees with the "
        "automatic judge |",
        "|---|---|---|---|---|",
        *(
            f"| {one.name} | {words(one.success)} | {number(one.plausibility)} | "
            f"{words(one.right_success)} | {words(one.automatic)} |"
            for one in report.sources
        ),
        "",
        *(
            f"- {one.first} is taken for the recording beside {one.second}: "
            f"{words(one.taken_for_recorded)}"
            + (" (50 %: they cannot be distinguished)" if TRUE in (one.first, one.second) else "")
            for one in report.pairs
        ),
        f"- Krippendorff's alpha: success {number(report.success_alpha)}, plausibility "
        f"{number(report.plausibility_alpha)}",
    ]
    return "\n".join(lines) + "\n"


def words(found: Share | None) -> str:
    """A share with its interval."""
    if found is None or not found.trials:
        return "–"
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}] of {found.trials}"


def number(value: float) -> str:
    """A number, or a dash where there is none."""
    return "–" if isnan(value) else f"{value:.2f}"


def report_json(report: Report) -> dict[str, Any]:
    """The same as JSON, nothing where there is no number."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(one) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        return None if isinstance(value, float) and isnan(value) else value

    return plain(asdict(report))
