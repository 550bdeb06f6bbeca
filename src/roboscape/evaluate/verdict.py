"""The verdict on a model: is it better than a still picture, and if not, what helps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from roboscape.core.config import save_config
from roboscape.evaluate.headline import ENDS, NOTHING, aligned
from roboscape.evaluate.metrics import MOVING_PSNR, STILL_PSNR
from roboscape.evaluate.results import Results, Row, Subject
from roboscape.evaluate.statistics import Estimate, estimate

VERDICT = "verdict.json"
FEW_EPISODES = 5
"""Fewer held-out episodes than this make an interval that is too narrow."""
SUBJECTS: dict[Subject, str] = {
    "static": "still picture",
    "model": "model",
    "ceiling": "tokenizer ceiling",
}
COLUMNS = {
    "psnr": "PSNR, dB",
    MOVING_PSNR: "moving regions",
    STILL_PSNR: "still regions",
    "delta_psnr@shuffled": "ΔPSNR, dB",
}
Judgement = Literal["better", "no clear difference", "worse"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table, means in dB by metric; None where nothing was measured."""

    subject: Subject
    psnr: float | None
    moving: float | None
    still: float | None
    delta_psnr: float | None
    """Of the model alone: what the true actions are worth to it."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Words, and the figures behind them."""

    judgement: Judgement
    """Better or worse if the whole interval says so."""
    words: tuple[str, ...]
    """Sentences: the judgement first, then what limits it and what helps."""
    gain: Estimate
    """PSNR of the model above the still picture's, dB, clip by clip; its interval resamples
    episodes, and is no interval where there is only one."""
    delta_psnr: Estimate | None
    """What the true actions are worth; None with a single held-out episode."""
    lines: tuple[Line, ...]
    training_episodes: int
    validation_episodes: int
    clips: int
    horizon: int
    """Predicted frames a clip."""

    def save(self, folder: Path) -> None:
        """Write `verdict.json` into a folder."""
        save_config(self, folder / VERDICT)

    def text(self) -> str:
        """The words, then the table, for the terminal."""
        rows = [["", *COLUMNS.values()]]
        for line in self.lines:
            values = (line.psnr, line.moving, line.still)
            shown = [NOTHING if value is None else f"{value:.2f}" for value in values]
            delta = NOTHING
            if line.subject == "model" and self.delta_psnr is not None:
                delta = f"{self.delta_psnr.mean:.2f} {interval(self.delta_psnr)}"
            rows.append([SUBJECTS[line.subject], *shown, delta])
        return "\n".join([*self.words, "", aligned(rows)])


def judge(results: Results, *, training_episodes: int) -> Verdict:
    """The verdict of an evaluation of held-out episodes.

    Args:
        results: Of the model, with the still picture and, with tokens, the ceiling.
        training_episodes: That the model has learnt from.
    """
    gain = estimate(
        np.array([[clip.psnr_db - clip.static_psnr_db for clip in results.clips]]),
        episodes=np.array([clip.episode for clip in results.clips]),
    )
    assert gain is not None, "every clip has a PSNR"
    delta = results.row("delta_psnr@shuffled").model
    judgement = judgement_of(gain)
    lines = tuple(line_of(results, subject) for subject in ENDS)
    return Verdict(
        judgement=judgement,
        words=(
            headline_words(judgement, gain),
            *limits(gain, clips=len(results.clips)),
            *(() if judgement == "better" else advice(lines, delta and delta.estimate)),
            *(() if judgement == "better" else (too_few(training_episodes),)),
        ),
        gain=gain,
        delta_psnr=delta.estimate if delta else None,
        lines=tuple(line for line in lines if line.psnr is not None),
        training_episodes=training_episodes,
        validation_episodes=gain.num_episodes,
        clips=len(results.clips),
        horizon=results.setting.horizon,
    )


def judgement_of(gain: Estimate) -> Judgement:
    """The judgement that an interval allows; for a single episode, its mean."""
    if gain.low > 0:
        return "better"
    return "worse" if gain.high < 0 else "no clear difference"


def line_of(results: Results, subject: Subject) -> Line:
    """One row of the table."""
    means = {key: mean_of(results.row(key), subject) for key in COLUMNS}
    psnr, moving, still, delta = means.values()
    return Line(subject=subject, psnr=psnr, moving=moving, still=still, delta_psnr=delta)


def mean_of(row: Row, subject: Subject) -> float | None:
    """A mean; None where nothing was measured."""
    found = row.of(subject)
    return found.estimate.mean if found else None


def headline_words(judgement: Judgement, gain: Estimate) -> str:
    """The first sentence."""
    amount = f"{abs(gain.mean):.1f} dB"
    if judgement == "no clear difference":
        side = "above" if gain.mean >= 0 else "below"
        return f"No clear difference from a still picture: {amount} {side} it {interval(gain)}."
    if judgement == "better":
        return f"Better than a still picture by {amount} {interval(gain)}."
    return f"Worse than a still picture by {amount} {interval(gain, sign=-1)}."


def interval(found: Estimate, *, sign: int = 1) -> str:
    """A 95 % interval in brackets, or that there is none."""
    if found.num_episodes == 1:
        return "[one episode: no interval]"
    low, high = sorted((sign * found.low, sign * found.high))
    return f"[{low:.1f}, {high:.1f}]".replace("-", "−")


def limits(gain: Estimate, *, clips: int) -> tuple[str, ...]:
    """The limits of the judgement."""
    episodes = gain.num_episodes
    if episodes == 1:
        return (f"Measured on {clips} clips of one held-out episode: it may be unlike others.",)
    found = f"Measured on {clips} clips of {episodes} held-out episodes, which chose when to stop."
    if episodes < FEW_EPISODES:
        found += " The interval resamples them, and so few make it too narrow."
    return (found,)


def advice(lines: tuple[Line, ...], delta: Estimate | None) -> tuple[str, ...]:
    """Advice from the figures on why a model is not better than a still picture."""
    still, _, ceiling = (line.psnr for line in lines)
    found = []
    if ceiling is not None and still is not None and ceiling < still:
        found.append(
            f"The tokenizer keeps the true video at {ceiling:.1f} dB, below a still picture's "
            f"{still:.1f}: no world model on it can win. Train the tokenizer longer "
            "(--tokenizer-steps), or start from one that has seen more (--from)."
        )
    if delta is not None and delta.low <= 0:
        found.append(
            "Its predictions are hardly better with the true actions than with another episode's: "
            "see whether actions and video belong together (`roboscape inspect`)."
        )
    return tuple(found)


def too_few(training_episodes: int) -> str:
    """Advice that helps in any case."""
    many = f"{training_episodes} training episode{'s are' if training_episodes != 1 else ' is'}"
    return (
        f"{many} too few; what helps: more episodes of this scene, a start that has seen much "
        "motion (--from), longer training where validation had not stopped it."
    )
