"""The page of an evaluation: it holds all that it shows and asks the network for nothing."""

from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from jaxtyping import UInt8

from roboscape.core.files import atomic_path
from roboscape.core.runs import command_line
from roboscape.core.video import iterate_video
from roboscape.evaluate.charts import Axis
from roboscape.evaluate.panels import Column, join_columns, write_film
from roboscape.policies.rates import SuccessRate
from roboscape.policy_evaluation.episodes import World
from roboscape.policy_evaluation.prediction_powered import PoweredRate
from roboscape.policy_evaluation.results import (
    Figure,
    FlaggedEpisodes,
    Outcomes,
    PolicyScores,
    WorldAgreement,
)
from roboscape.policy_evaluation.uncertainty import Interval

REPORT = "report.html"
SIDE, MARGIN = 460.0, 44.0
FILM_GAP_PX, FILM_SCALE = 8, 2
FilmOf = Callable[[str, World, int], Path]
"""The video of a policy, a world and a seed."""
FEW_STARTS = 100
"""Fewer starts than this are called few on the page."""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """An episode that ended differently in the two worlds."""

    label: str
    seed: int
    false_success: bool
    """It succeeded in imagination alone."""
    confidence: float


def write_report(
    scores: PolicyScores,
    outcomes: Outcomes,
    folder: Path,
    *,
    settings: dict[str, str],
    films: int,
    film_of: FilmOf,
) -> Path:
    """Write `report.html`; returns its path."""
    worst = disagreements(outcomes)[:films]
    shown = [film(one, film_of=film_of, folder=folder / "disagreements") for one in worst]
    style = files("roboscape.evaluate").joinpath("report.css").read_text()
    page = Template(files("roboscape.policy_evaluation").joinpath("report.html").read_text())
    text = page.substitute(
        style=style,
        headline=escape(headline(scores)),
        lede=escape(lede(scores, outcomes)),
        warning=warning(outcomes),
        scatter=scatter(scores),
        policies=policy_table(scores),
        agreement=agreement_table(scores),
        trust=trust_table(scores),
        few=scores.policies[0].few.episodes,
        powered=powered_table(scores),
        films="\n".join(shown) or "<p>No episode ended differently.</p>",
        command=escape(command_line()),
        settings="".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in settings.items()
        ),
    )
    path = folder / REPORT
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def disagreements(outcomes: Outcomes) -> list[Disagreement]:
    """False successes first, the surest one at the top; then false failures alike."""
    places = np.argwhere(outcomes.true != outcomes.imagined).tolist()
    found = [
        Disagreement(
            label=outcomes.labels[policy],
            seed=outcomes.seeds[start],
            false_success=bool(outcomes.imagined[policy, start]),
            confidence=float(outcomes.confidence[policy, start]),
        )
        for policy, start in places
    ]
    return sorted(found, key=lambda one: (not one.false_success, -one.confidence))


def headline(scores: PolicyScores) -> str:
    """One sentence that says what came out."""
    found = scores.closed_loop
    return (
        f"Imagined success rates correlate with true ones at r = {number(found.pearson.value)}; "
        f"they are {100 * found.bias.value:+.0f} points off, and {found.episodes.share:.0%} of "
        "single episodes end alike."
    )


def lede(scores: PolicyScores, outcomes: Outcomes) -> str:
    """The meaning of the figures, in a sentence."""
    found = scores.closed_loop
    policies, starts = outcomes.true.shape
    return (
        f"{policies} policies from {starts} starts each, with equal starts and equal policy noise "
        f"in both worlds. Imagined rates are {100 * found.bias.value:+.1f} points off on average; "
        f"of the true failures {percent(found.false_success_rate)} succeed in imagination, of the "
        f"true successes {percent(found.false_failure_rate)} fail there. A perfect model whose "
        f"rollouts are not paired would reach r = {number(scores.ceiling_unpaired.median)}."
    )


def warning(outcomes: Outcomes) -> str:
    """A note where there are few starts."""
    starts = len(outcomes.seeds)
    if starts >= FEW_STARTS:
        return ""
    return (
        f'<p class="warning">A small sample: {starts} starts. Look at the intervals; take '
        f"{FEW_STARTS} starts or more (--episodes) for a figure to quote.</p>"
    )


def scatter(scores: PolicyScores) -> str:
    """Imagined over true rates, with their intervals, as inline SVG."""
    x = Axis(low=0.0, high=1.0, start_px=MARGIN, end_px=SIDE - 12.0)
    y = Axis(low=0.0, high=1.0, start_px=SIDE - MARGIN, end_px=12.0)
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        h, v = x.place(share), y.place(share)
        parts += [
            f'<line class="grid" x1="{h:.1f}" x2="{h:.1f}" y1="{y.place(0):.1f}" '
            f'y2="{y.place(1):.1f}"/>',
            f'<line class="grid" x1="{x.place(0):.1f}" x2="{x.place(1):.1f}" y1="{v:.1f}" '
            f'y2="{v:.1f}"/>',
            f'<text x="{h:.1f}" y="{SIDE - MARGIN + 16:.1f}" text-anchor="middle">'
            f"{share:.0%}</text>",
            f'<text x="{MARGIN - 6:.1f}" y="{v + 4:.1f}" text-anchor="end">{share:.0%}</text>',
        ]
    parts.append(
        f'<line class="even" x1="{x.place(0):.1f}" y1="{y.place(0):.1f}" x2="{x.place(1):.1f}" '
        f'y2="{y.place(1):.1f}"/>'
    )
    for policy in scores.policies:
        parts.append(_point(policy.label, policy.true, policy.imagined, x, y))
    parts.append(
        f'<text x="{SIDE / 2:.0f}" y="{SIDE - 8:.0f}" text-anchor="middle">true success rate</text>'
        f'<text transform="translate(11 {SIDE / 2:.0f}) rotate(-90)" text-anchor="middle">'
        "imagined success rate</text>"
    )
    return (
        f'<svg class="scatter" viewBox="0 0 {SIDE:g} {SIDE:g}" role="img" '
        f'aria-label="Imagined over true success rates">{"".join(parts)}</svg>'
    )


def _point(label: str, true: SuccessRate, imagined: SuccessRate, x: Axis, y: Axis) -> str:
    across, up = x.place(true.rate), y.place(imagined.rate)
    return (
        f'<line class="bar" x1="{x.place(true.low):.1f}" x2="{x.place(true.high):.1f}" '
        f'y1="{up:.1f}" y2="{up:.1f}"/>'
        f'<line class="bar" x1="{across:.1f}" x2="{across:.1f}" y1="{y.place(imagined.low):.1f}" '
        f'y2="{y.place(imagined.high):.1f}"/>'
        f'<circle cx="{across:.1f}" cy="{up:.1f}" r="4.5"><title>{escape(label)}</title></circle>'
        f'<text class="label" x="{across + 7:.1f}" y="{up - 7:.1f}">{escape(label)}</text>'
    )


def policy_table(scores: PolicyScores) -> str:
    """The rates of every policy."""
    rows = [
        [
            policy.label,
            rate(policy.true),
            rate(policy.imagined),
            rate(policy.replayed) if policy.replayed else "–",
            f"{policy.episodes.only_imagined} / {policy.episodes.only_true}",
            f"{policy.episodes.mcnemar_p:.2f}",
        ]
        for policy in scores.policies
    ]
    heads = ["policy", "true", "imagined", "open loop", "false successes / failures", "McNemar p"]
    return table(heads, rows)


def agreement_table(scores: PolicyScores) -> str:
    """Closed beside open loop."""
    worlds = [scores.closed_loop] + ([scores.open_loop] if scores.open_loop else [])
    rows: list[list[str]] = [
        ["Pearson r", *(figure(one.pearson) for one in worlds)],
        ["Spearman ρ", *(figure(one.spearman) for one in worlds)],
        ["R² of the identity", *(figure(one.r2_of_identity) for one in worlds)],
        ["mean maximum rank violation", *(figure(one.mmrv) for one in worlds)],
        ["bias (imagined minus true)", *(figure(one.bias) for one in worlds)],
        ["inflation (too high alone)", *(figure(one.inflation) for one in worlds)],
        ["episodes that end alike", *(_alike(one) for one in worlds)],
        ["false successes, of true failures", *(percent(one.false_success_rate) for one in worlds)],
        ["false failures, of true successes", *(percent(one.false_failure_rate) for one in worlds)],
        ["exact McNemar p", *(f"{one.mcnemar_p:.3f}" for one in worlds)],
    ]
    return table(["", "closed loop", "open loop"][: len(worlds) + 1], rows)


def _alike(one: WorldAgreement) -> str:
    chance = one.agreement_by_chance
    return f"{one.episodes.share:.0%} (starts shuffled: {chance.median:.0%})"


def trust_table(scores: PolicyScores) -> str:
    """Ceilings, chance, the rule's own errors and the signs of hallucination."""
    rule = scores.rule
    rows = [
        ["r of a perfect model, equal starts and noise", "1"],
        ["r of a perfect model, equal starts, other noise", spread(scores.ceiling_paired)],
        ["r of a perfect model, other starts and noise", spread(scores.ceiling_unpaired)],
        ["r by chance (policies shuffled)", spread(scores.by_chance)],
        [
            "the rule against the simulator, on true video",
            f"{rule.share:.1%} of {rule.total} agree; false successes {rule.only_imagined}, "
            f"false failures {rule.only_true}",
        ],
        *([f"flag: {one.sign}", _flag(one)] for one in scores.flags),
    ]
    return table(["", ""], rows)


def _flag(one: FlaggedEpisodes) -> str:
    return (
        f"AUROC for disagreement {number(one.auroc)}, among imagined successes "
        f"{number(one.auroc_of_successes)}; {one.disagreements_among_flagged} of "
        f"{one.flagged} flagged episodes disagree; without them r {number(one.pearson_without)}, "
        f"bias {100 * one.bias_without:+.1f} points, {one.agreement_without:.0%} agree, "
        f"{one.false_successes_without} of {one.true_failures_without} failures succeed"
    )


def powered_table(scores: PolicyScores) -> str:
    """The intervals from few true episodes, alone and with the imagined ones."""
    rows = [
        [
            policy.label,
            rate(policy.few),
            rate(policy.powered) if policy.powered else "too few",
            f"{policy.powered.weight:.2f}" if policy.powered else "–",
            f"{100 * policy.true.rate:.0f} %",
        ]
        for policy in scores.policies
    ]
    heads = ["policy", "few alone", "with imagined ones", "weight", "all true episodes"]
    return table(heads, rows)


def film(one: Disagreement, *, film_of: FilmOf, folder: Path) -> str:
    """True and imagined episode beside each other; the file is also kept in `folder`."""
    worlds: tuple[World, World] = ("true", "imagined")
    videos = [np.stack(list(iterate_video(film_of(one.label, name, one.seed)))) for name in worlds]
    columns = tuple(
        Column(caption=name, frames=video) for name, video in zip(worlds, held(videos), strict=True)
    )
    path = folder / f"{one.label}_{one.seed}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = join_columns(columns, scale=FILM_SCALE, gap_px=FILM_GAP_PX)
    write_film(path, frames, fps=5.0)
    data = b64encode(path.read_bytes()).decode()
    kind = "false success" if one.false_success else "false failure"
    return (
        f"<figure><figcaption>{kind}: {escape(one.label)}, start {one.seed}, confidence "
        f"{one.confidence:.2f}</figcaption><video autoplay loop muted playsinline "
        f'src="data:video/mp4;base64,{data}"></video></figure>'
    )


def held(
    videos: Sequence[UInt8[np.ndarray, "_t h w 3"]],
) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
    """Videos of one length: those that end earlier rest on their last frame."""
    longest = max(map(len, videos))
    for video in videos:
        yield np.concatenate([video, np.repeat(video[-1:], longest - len(video), axis=0)])


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table."""
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<table class="scores"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def number(value: float) -> str:
    """Three digits; a figure that is not defined says so."""
    return "not defined" if np.isnan(value) else f"{value:.3f}"


def percent(value: float) -> str:
    """Whole percent; a share of nothing says so."""
    return "none (there are none)" if np.isnan(value) else f"{value:.0%}"


def figure(one: Figure) -> str:
    """A figure and its interval."""
    return f"{number(one.value)} [{_ends(one.over_policies_and_starts)}]"


def spread(one: Interval) -> str:
    """The median of a distribution, and its ends."""
    return f"{number(one.median)} [{_ends(one)}]"


def _ends(one: Interval) -> str:
    return f"{number(one.low)}, {number(one.high)}"


def rate(one: SuccessRate | PoweredRate) -> str:
    """A rate and its interval, in percent."""
    return f"{100 * one.rate:.0f} % [{100 * one.low:.0f}, {100 * one.high:.0f}]"
