"""The dataset card: what was kept, what was dropped and why, in one HTML page with pictures.

`roboscape card DATASET` writes `annotations/card.html` from the clip index and the annotations. The
page holds everything it shows and asks the network for nothing.
"""

import json
import logging
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import cv2
import numpy as np
import tyro
from jaxtyping import UInt8

from roboscape.annotate.categories import DIFFICULTIES
from roboscape.annotate.pipeline_failures import read_failures
from roboscape.clips.card_drawing import bars, histogram, ribbon, table, tiles
from roboscape.clips.filters import ClipRow
from roboscape.clips.index import FILE, read_index
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path
from roboscape.dataset.annotations import Provenance, annotations_folder, annotators
from roboscape.dataset.reader import LeRobotDataset

log = logging.getLogger(__name__)

PAGE = "card.html"
GAP_PX = 3
MEANINGS = {
    "still": "indistinct motion: its active points or pixels travel less than the threshold",
    "disordered": "disordered motion: its points turn back, or its change is no motion",
    "cut": "the camera jumps inside the clip",
    "camera": "the camera moves more than the threshold",
    "mixed": "too little of the clip belongs to one action",
    "irrelevant": "too little of the clip relates to a key frame",
    "not annotated": "its episode could not be annotated",
}
"""What the first word of a reason stands for."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Write a page that shows what a dataset holds, what is kept and what is not."""

    dataset: tyro.conf.Positional[Path]
    """LeRobot dataset with a clip index (`roboscape clips`)."""
    index: Path | None = None
    """The clip index; the dataset's own where not given."""
    annotations: Path | None = None
    """Annotations folder; the dataset's own where not given."""
    examples: int = 6
    """Clips shown of every kind."""
    thumbnail_px: int = 112
    """Height of a picture."""
    output: Path | None = None
    """The page; `card.html` in the annotations folder where not given."""

    def __post_init__(self) -> None:
        """Refuse negative numbers of pictures, and pictures of nothing."""
        if self.examples < 0 or self.thumbnail_px < 8:
            raise UserError(
                f"expected examples >= 0 and thumbnail_px >= 8, got {self.examples} and "
                f"{self.thumbnail_px}"
            )


def run(config: Card) -> Path:
    """Write the page; returns its path."""
    dataset = LeRobotDataset(config.dataset)
    root = config.annotations or annotations_folder(config.dataset)
    rows = list(read_index(config.index or annotations_folder(config.dataset) / FILE))
    pieces = files("roboscape.clips")
    page = Template(pieces.joinpath("card.html").read_text()).substitute(
        style=pieces.joinpath("card.css").read_text(),
        title=escape(f"Dataset card of {config.dataset.name}"),
        name=escape(config.dataset.name),
        headline=escape(headline(rows)),
        lede=escape(lede(dataset, rows)),
        ribbon=ribbon(reasons(rows), kept=sum(row.keep for row in rows)),
        tiles=tiles(figures(dataset, rows)),
        dropped=dropped(dataset, rows, config=config),
        kept=kept(dataset, rows, config=config),
        distributions=distributions(rows),
        categories=categories(rows),
        annotators=provenance(root),
        failures=failures(root),
    )
    path = config.output or root / PAGE
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    log.info("%s", path)
    return path


def headline(rows: list[ClipRow]) -> str:
    """One sentence: how many clips are kept."""
    count = sum(row.keep for row in rows)
    return f"{count:,} of {len(rows):,} clips kept ({count / max(1, len(rows)):.0%})"


def lede(dataset: LeRobotDataset, rows: list[ClipRow]) -> str:
    """Two sentences about the dataset: size, robot, source; shape of a clip."""
    spec = dataset.spec
    clip = rows[0] if rows else None
    source = f" from {spec.source}" if spec.source else ""
    shape = (
        f" A clip is {clip.length} frames of camera {clip.camera}, "
        f"{spec.fps / clip.stride:g} a second."
        if clip
        else ""
    )
    return f"{dataset.num_episodes:,} episodes of a {spec.robot_type or 'robot'}{source}.{shape}"


def figures(dataset: LeRobotDataset, rows: list[ClipRow]) -> list[tuple[str, str, str]]:
    """The main figures: name, value, unit."""
    hours = dataset.num_frames / dataset.spec.fps / 3600
    length = f"{hours:.1f}" if hours >= 1 else f"{60 * hours:.1f}"
    failed = {row.episode for row in rows if row.reason.startswith("not annotated")}
    return [
        ("Episodes", f"{dataset.num_episodes:,}", ""),
        ("Recorded", length, "hours" if hours >= 1 else "minutes"),
        ("Clips kept", f"{sum(row.keep for row in rows):,}", f"of {len(rows):,}"),
        ("Actions", f"{len({row.skill for row in rows if row.keep}):,}", "kinds"),
        ("Scenes", f"{len({row.scene for row in rows}):,}", ""),
        ("Episodes failed", f"{len(failed):,}", ""),
    ]


def reasons(rows: list[ClipRow]) -> Counter[str]:
    """The number of clips dropped for each kind of reason."""
    return Counter(first_word(row) for row in rows if not row.keep)


def first_word(row: ClipRow) -> str:
    """The kind of a reason, without its numbers."""
    return row.reason.split(":")[0]


def dropped(dataset: LeRobotDataset, rows: list[ClipRow], *, config: Card) -> str:
    """Every reason, how often it was given, and clips that it was given for."""
    counts = reasons(rows)
    if not counts:
        return '<p class="note">Nothing was dropped.</p>'
    parts = [bars(counts, of=len(rows), kind="dropped")]
    for reason, _ in counts.most_common():
        found = [row for row in rows if not row.keep and first_word(row) == reason]
        meaning = MEANINGS.get(reason, "")
        parts.append(group(dataset, found, title=reason, note=meaning, config=config))
    return "\n".join(parts)


def kept(dataset: LeRobotDataset, rows: list[ClipRow], *, config: Card) -> str:
    """Clips of every difficulty."""
    parts = []
    for difficulty in DIFFICULTIES:
        found = [row for row in rows if row.keep and row.difficulty == difficulty]
        if found:
            parts.append(group(dataset, found, title=difficulty, note="", config=config))
    return "\n".join(parts) or '<p class="note">Nothing was kept.</p>'


def group(
    dataset: LeRobotDataset, rows: list[ClipRow], *, title: str, note: str, config: Card
) -> str:
    """Some clips of one kind, evenly spread over all of them."""
    count = min(config.examples, len(rows))
    chosen = [rows[int(place)] for place in np.linspace(0, len(rows) - 1, count)] if count else []
    shown = "".join(picture(dataset, row, config=config) for row in chosen)
    about = f" · {escape(note)}" if note else ""
    return (
        f'<div class="group"><h3>{escape(title)} <span>{len(rows):,} clips{about}</span></h3>'
        f'<div class="clips">{shown}</div></div>'
    )


def picture(dataset: LeRobotDataset, row: ClipRow, *, config: Card) -> str:
    """A clip's first, key and last frame side by side; the reason where there is no picture."""
    caption = row.reason or f"{row.skill} · {row.motion_px:.0f} px"
    where = f"episode {row.episode}, row {row.start}"
    last = row.length - 1
    try:
        frames = [
            read_row(dataset, row, row.start + frame * row.stride)
            for frame in (0, row.key_frame, last)
        ]
    except ValueError:
        image = '<div class="unreadable">cannot be read</div>'
    else:
        image = f'<img loading="lazy" alt="{escape(where)}" src="{strip(frames, config=config)}">'
    return (
        f"<figure>{image}<figcaption>{escape(caption)}"
        f"<span>{escape(where)}</span></figcaption></figure>"
    )


def read_row(dataset: LeRobotDataset, row: ClipRow, number: int) -> UInt8[np.ndarray, "h w 3"]:
    """One frame of an episode."""
    return dataset.frames(row.episode, row.camera, slice(number, number + 1))[0]


def strip(frames: list[UInt8[np.ndarray, "h w 3"]], *, config: Card) -> str:
    """Frames side by side as a JPEG inside the page."""
    height, width, _ = frames[0].shape
    size = (round(width * config.thumbnail_px / height), config.thumbnail_px)
    small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
    gap = np.full((config.thumbnail_px, GAP_PX, 3), 255, np.uint8)
    parts = [part for frame in small for part in (gap, frame)][1:]
    joined = cv2.cvtColor(np.concatenate(parts, axis=1), cv2.COLOR_RGB2BGR)
    worked, data = cv2.imencode(".jpg", joined, [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert worked
    return f"data:image/jpeg;base64,{b64encode(data.tobytes()).decode()}"


def distributions(rows: list[ClipRow]) -> str:
    """Histograms of what was measured, kept clips above dropped ones."""
    measured = [row for row in rows if not row.reason.startswith("not annotated")]
    quantities = {
        "Motion of points, px": [row.motion_px for row in measured],
        "Disorder of points": [row.disorder for row in measured],
        "Motion of pixels, px": [row.flow_px for row in measured],
        "Change that flow leaves, share": [row.unexplained for row in measured],
        "Camera motion, px": [row.camera_px for row in measured],
        "Hidden points, share": [row.hidden for row in measured],
        "Gripper events": [float(row.gripper_events) for row in measured],
        "Of one action, share": [row.skill_share for row in measured],
        "Related to a key frame, share": [row.relevance for row in measured],
    }
    keep = [row.keep for row in measured]
    # What is zero everywhere was not measured, or did not happen.
    shown = {title: values for title, values in quantities.items() if any(values)}
    return "".join(histogram(title, values, keep=keep) for title, values in shown.items())


def categories(rows: list[ClipRow]) -> str:
    """Kept clips by action, scene and split; difficulties have their pictures."""
    chosen = [row for row in rows if row.keep]
    parts = []
    for title, name in (("Actions", "skill"), ("Scenes", "scene"), ("Split", "split")):
        count = Counter(getattr(row, name) or "not known" for row in chosen)
        parts.append(
            f'<div class="panel"><h3>{title}</h3>{bars(dict(count), of=len(chosen))}</div>'
        )
    return "".join(parts)


def provenance(root: Path) -> str:
    """Table of the annotators: kind, name, version, settings."""
    header = ("kind", "annotator", "version", "settings")
    lines = [
        (one.kind, one.name, one.version, json.dumps(one.settings)) for one in annotators(root)
    ]
    return table(header, lines) if lines else '<p class="note">None.</p>'


def failures(root: Path) -> str:
    """Episodes that could not be annotated, each with its reason."""
    lines = [
        (f"{one.kind} by {one.name}", camera, str(episode), reason)
        for one in annotators(root)
        for camera in cameras_of(root, one)
        for episode, reason in sorted(
            read_failures(root, kind=one.kind, annotator=one.name, camera=camera).items()
        )
    ]
    if not lines:
        return '<p class="note">None: every episode is annotated.</p>'
    return table(("stage", "camera", "episode", "reason"), lines)


def cameras_of(root: Path, made_by: Provenance) -> list[str]:
    """Cameras that an annotator has worked on, or tried to."""
    folder = root / f"{made_by.kind}_{made_by.name}"
    tried = folder / "failures.jsonl"
    lines = tried.read_text().splitlines() if tried.is_file() else []
    return sorted({json.loads(line)["camera"] for line in lines})
