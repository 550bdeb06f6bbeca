"""The table of the tokenizer's speed run: one line per change, with what it does to each score."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, variance
from typing import Any

from roboscape.core.files import read_json
from studies.pages import as_markdown, fill
from studies.tokenizer_speedrun.variants import VARIANTS

PLACE = "tokenizer speed run"
"""Name of the markers on the page."""
CLEAR = 2.0
"""A difference counts from so many of its standard errors on."""


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """Which results, and where to."""

    output: Path = Path("runs/speedrun_tokenizer")
    """Folder of the results."""
    page: Path | None = None
    """Page to write into; otherwise it is only printed."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A column."""

    name: str
    key: str
    digits: int
    scale: float = 1.0
    higher: bool = True
    """Whether more is better."""
    compared: bool = True
    """Whether it counts for the verdict."""


SCORES = (
    Score(name="RGB, dB", key="psnr", digits=2),
    Score(name="depth image, dB", key="depth_psnr", digits=2),
    Score(name="AbsRel, %", key="absrel", digits=2, scale=100, higher=False),
    Score(name="edges, dB", key="edge_psnr", digits=2),
    Score(name="in motion, dB", key="moving_psnr", digits=2),
    Score(name="flicker, %", key="flicker", digits=3, scale=100, higher=False),
    Score(name="flicker under grain, %", key="grain_flicker", digits=2, scale=100, higher=False),
    Score(name="unchanged, %", key="unchanged", digits=1, scale=100, compared=False),
    Score(name="codes", key="distinct_codes", digits=0, compared=False),
)

Values = Mapping[str, Sequence[float]]
"""One score of every variant's seeds."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A variant's score against the baseline's."""

    value: float
    clear: bool | None
    """Whether it is more than the seeds' spread explains; None where no variant has two seeds."""


def write_table(config: TableConfig) -> None:
    """Print the table, and fill the page.

    Raises:
        ValueError: the baseline is missing, or there are no results.
    """
    results = read_results(config.output)
    content = as_text(results, settings=read_json(config.output / "settings.json"))
    print(content)
    if config.page is not None:
        fill(config.page, PLACE, content)


def read_results(output: Path) -> dict[str, list[dict[str, Any]]]:
    """Results by variant, in the order of the variants, joined ones last."""
    found = defaultdict(list)
    for path in sorted((output / "results").glob("*.json")):
        result = read_json(path)
        found[result["variant"]].append(result)
    if "baseline" not in found:
        raise ValueError(
            f"{output}/results holds no baseline among {sorted(found) or 'nothing'}; "
            "run it first: speedrun_tokenizer.py run --variants baseline"
        )
    joined = [name for name in found if name not in VARIANTS]
    return {name: found[name] for name in [*VARIANTS, *joined] if name in found}


def as_text(results: Mapping[str, list[dict[str, Any]]], *, settings: Mapping[str, Any]) -> str:
    """Conditions and table."""
    columns = {score.key: values_of(results, score) for score in SCORES}
    header = ["change", "steps", *(score.name for score in SCORES), "dB a minute", "verdict"]
    rows = []
    for name, found in results.items():
        differences = {
            score.key: difference(columns[score.key], name, others=results)
            for score in SCORES
            if name != "baseline"
        }
        cells = [
            as_cell(columns[score.key][name], differences.get(score.key), score=score)
            for score in SCORES
        ]
        rows.append(
            [found[0]["change"], found[0]["steps"], *cells, per_minute(found), verdict(differences)]
        )
    baseline = results["baseline"][0]
    spent = [one["cpu_s"] for found in results.values() for one in found]
    conditions = (
        f"{settings['budget_s']:g} CPU seconds each on one thread ({min(spent):.0f} to "
        f"{max(spent):.0f} really spent; {baseline['step_s']:.3f} s a step of the baseline), "
        f"{settings['episodes']} training and {settings['validation_episodes']} validation "
        f"episodes of {settings['dataset']} and {settings['validation']}; {baseline['machine']}. "
        f"Seeds of a variant: {min(map(len, results.values()))} to "
        f"{max(map(len, results.values()))}."
    )
    return f"{conditions}\n\n{as_markdown(header, rows)}"


def values_of(results: Mapping[str, list[dict[str, Any]]], score: Score) -> Values:
    """A column's numbers, in the unit that is shown."""
    return {
        name: [score.scale * one["scores"][score.key] for one in found]
        for name, found in results.items()
    }


def difference(values: Values, name: str, *, others: Mapping[str, object]) -> Difference:
    """Of the means, with a standard error from the spread that all variants' seeds have in common.

    Two seeds say little about their own spread; those of all variants together say much.
    """
    assert name in others
    own, baseline = values[name], values["baseline"]
    value = mean(own) - mean(baseline)
    error = pooled_deviation(values) * math.sqrt(1 / len(own) + 1 / len(baseline))
    return Difference(value=value, clear=abs(value) > CLEAR * error if error else None)


def pooled_deviation(values: Values) -> float:
    """Standard deviation within variants, over all variants; 0 where none has two seeds."""
    repeated = [found for found in values.values() if len(found) > 1]
    freedom = sum(len(found) - 1 for found in repeated)
    if not freedom:
        return 0.0
    return math.sqrt(sum((len(found) - 1) * variance(found) for found in repeated) / freedom)


def as_cell(values: Sequence[float], against: Difference | None, *, score: Score) -> str:
    """Mean, half the range over seeds, and the difference to the baseline, bold where clear."""
    middle = f"{mean(values):.{score.digits}f}"
    half = f" ± {(max(values) - min(values)) / 2:.{score.digits}f}" if len(values) > 1 else ""
    if against is None:
        return middle + half
    moved = f"{against.value:+.{score.digits}f}"
    return f"{middle}{half} ({f'**{moved}**' if against.clear else moved})"


def per_minute(found: Sequence[Mapping[str, Any]]) -> str:
    """RGB quality above that of the mean frame, which costs nothing, per CPU minute of the budget.

    As planned from the cost of a step: what was really spent varies with what else the machine did.
    """
    rates = [
        60 * (one["scores"]["psnr"] - one["mean_frame_psnr"]) / (one["steps"] * one["step_s"])
        for one in found
    ]
    return f"{mean(rates):.2f}"


def verdict(differences: Mapping[str, Difference]) -> str:
    """What is clearly better, and what is clearly worse."""
    if not differences:
        return ""
    if all(against.clear is None for against in differences.values()):
        return "one seed"
    better, worse = [], []
    for score in SCORES:
        against = differences[score.key]
        if score.compared and against.clear:
            (better if (against.value > 0) == score.higher else worse).append(score)
    if not better and not worse:
        return "within the seeds' spread"
    parts = [
        f"{word}: {', '.join(score.name.split(',')[0] for score in found)}"
        for word, found in (("**better**", better), ("**worse**", worse))
        if found
    ]
    return "; ".join(parts)
