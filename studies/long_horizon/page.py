"""The tables of a long rollout, written into a page."""

from pathlib import Path
from typing import Any

import numpy as np

from studies.long_horizon.scores import (
    CEILING,
    FLOOR,
    MEASURES,
    RECORDED,
    WINDOW,
    Kept,
    Scores,
    at_frame,
    known_mean,
    margin_kept,
    up_to_frame,
)
from studies.pages import as_markdown, fill

FRAMES = (16, 48, 100, 200)
EARLY = 16
"""Margins are compared with the one here."""
SPANS = {
    f"mean over frames t - {WINDOW - 1} to t": at_frame,
    "mean over frames 1 to t": up_to_frame,
}

Found = dict[str, dict[str, Scores]]
"""By checkpoint and subject."""


def write_page(
    page: Path, found: Found, *, variants: tuple[str, ...], settings: dict[str, Any]
) -> None:
    """Fill the page's four places."""
    frames = [frame for frame in FRAMES if frame <= settings["config"]["horizon"]]
    fill(page, "setting", setting_text(settings))
    fill(page, "curve", curve_table(found, variant=variants[0], frames=frames))
    fill(page, "kept", kept_table(found, variants=variants, frames=frames))
    fill(page, "variants", variants_table(found, variants=variants, frames=frames))


def setting_text(settings: dict[str, Any]) -> str:
    """What was measured on what."""
    behaviours = ", ".join(f"{count} {name}" for name, count in settings["behaviours"].items())
    return (
        f"`{settings['command']}`: {settings['clips']} episodes of the {settings['split']} split, "
        f"seeds {settings['first_seed']} to {settings['last_seed']} ({behaviours}), "
        f"{settings['config']['horizon']} frames at {settings['frame_hz']:g} Hz imagined from one; "
        f"weights in {settings['number_format']}."
    )


def curve_table(found: Found, *, variant: str, frames: list[int]) -> str:
    """Every measure at some frames: floor, first variant, ceiling."""
    header = ("measure", "", *(f"frame {frame}" for frame in frames))
    rows = []
    for checkpoint, subjects in found.items():
        names = {FLOOR: FLOOR, variant: f"**{model_name(checkpoint, variant, found)}**"}
        for measure, how in MEASURES.items():
            for subject, shown in {**names, CEILING: CEILING, RECORDED: RECORDED}.items():
                scores = subjects[subject].get(measure)
                if scores is None:
                    continue
                cells = [number(scores, measure, frame) for frame in frames]
                rows.append(
                    (how.title if subject == first_with(subjects, measure) else "", shown, *cells)
                )
    return as_markdown(header, rows)


def first_with(subjects: dict[str, Scores], measure: str) -> str:
    """The subject whose row begins a measure's group."""
    return FLOOR if measure in subjects[FLOOR] else CEILING


def number(scores: Any, measure: str, frame: int) -> str:
    """A measure's mean over the clips at a frame."""
    how = MEASURES[measure]
    mean = known_mean(at_frame(scores, frame)[None])[0]
    return f"{how.scale * mean:.{how.digits}f}{how.unit}" if np.isfinite(mean) else "–"


def kept_table(found: Found, *, variants: tuple[str, ...], frames: list[int]) -> str:
    """The margin over the floor at frame 16, and which share of it is kept later."""
    later = [frame for frame in frames if frame > EARLY]
    header = (
        "averaged over",
        "imagined by",
        f"margin at {EARLY}",
        *(f"kept at {frame}" for frame in later),
    )
    rows = []
    for span, mean in SPANS.items():
        for checkpoint, subjects in found.items():
            for variant in variants:
                margin = subjects[variant]["psnr"] - subjects[FLOOR]["psnr"]
                early = mean(margin, EARLY)
                cells = [percent(margin_kept(early, mean(margin, frame))) for frame in later]
                name = model_name(checkpoint, variant, found)
                rows.append((span, name, f"{early.mean():.2f} dB", *cells))
    return as_markdown(header, rows)


def percent(kept: Kept) -> str:
    """A share with its interval."""
    return f"{kept.share:.0%} ({kept.low:.0%} to {kept.high:.0%})"


def variants_table(found: Found, *, variants: tuple[str, ...], frames: list[int]) -> str:
    """Every way to imagine: PSNR along the rollout, the other measures at its end."""
    last = frames[-1]
    others = [measure for measure in MEASURES if measure != "psnr"]
    header = (
        "imagined by",
        *(f"PSNR at {frame}" for frame in frames),
        *(f"{MEASURES[measure].title} at {last}" for measure in others),
    )
    rows = []
    for checkpoint, subjects in found.items():
        for variant in variants:
            scores = subjects[variant]
            rows.append(
                (
                    model_name(checkpoint, variant, found),
                    *(number(scores["psnr"], "psnr", frame) for frame in frames),
                    *(
                        number(scores[measure], measure, last) if measure in scores else "–"
                        for measure in others
                    ),
                )
            )
    return as_markdown(header, rows)


def model_name(checkpoint: str, variant: str, found: Found) -> str:
    """The variant; with several checkpoints, the checkpoint before it."""
    return f"{checkpoint}, {variant}" if len(found) > 1 else variant
