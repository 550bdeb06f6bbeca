"""The clip index of a dataset: `roboscape clips DATASET` writes `annotations/clips.parquet`."""

import logging
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from roboscape.clips.motion import Motion, measure_motion
from roboscape.clips.split import split_of
from roboscape.core.files import atomic_path
from roboscape.core.progress import progress
from roboscape.dataset.annotations import SIMULATOR, annotations_folder, read_tracks
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Tracks

log = logging.getLogger(__name__)

FILE = "clips.parquet"
DIFFICULTIES = ("easy", "medium", "hard")
"""Thirds of the kept clips by motion: what moves farther is harder to foresee."""


@dataclass(frozen=True, kw_only=True)
class IndexClips:
    """Cut a dataset into strided clips, score their motion, and say which to keep."""

    dataset: tyro.conf.Positional[Path]
    """LeRobot dataset."""
    camera: str | None = None
    """The dataset's first camera where there is none."""
    length: int = 16
    """Frames of a clip."""
    stride: int = 4
    """Rows of the recording between two frames."""
    every: int = 16
    """Rows between the starts of two clips."""
    tracks: str = SIMULATOR
    """The annotator whose tracks the motion is measured on."""
    min_path_px: float = 4.0
    """Clips whose active points travel less are left out as still."""
    max_disorder: float = 0.6
    """Clips whose active points turn more are left out as disordered; 0.5 is a random walk."""
    output: Path | None = None
    """Where to write; `annotations/clips.parquet` in the dataset where not given."""

    def __post_init__(self) -> None:
        """Refuse clips of nothing."""
        if self.length < 2 or self.stride < 1 or self.every < 1:
            raise ValueError(
                f"expected length >= 2, stride >= 1 and every >= 1, got {self.length}, "
                f"{self.stride} and {self.every}"
            )


@dataclass(frozen=True, kw_only=True)
class ClipRow:
    """One row of the index."""

    episode: int
    camera: str
    start: int
    """First row of the clip in its episode."""
    stride: int
    length: int
    split: str
    skill: str
    """The recording's own description of the task."""
    difficulty: str
    """`easy`, `medium`, `hard`; empty for a clip that is left out."""
    scene: str
    """Where it was recorded, as far as the dataset says."""
    motion_px: float
    """Mean path of the active points."""
    disorder: float
    """0 straight on, 0.5 a random walk, 1 back and forth."""
    key_frame: int
    """The frame of the clip that the points moved farthest into."""
    keep: bool
    reason: str
    """Why the clip is left out; empty for one that is kept."""


def run(config: IndexClips) -> Path:
    """Write the index and report what is kept."""
    dataset = LeRobotDataset(config.dataset)
    rows = grade(index_clips(dataset, config))
    path = config.output or annotations_folder(config.dataset) / FILE
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows]), temporary)
    kept = sum(row.keep for row in rows)
    reasons = Counter(row.reason.split(":")[0] for row in rows if not row.keep)
    log.info("%s: %d clips, %d kept, left out: %s", path, len(rows), kept, dict(reasons) or "none")
    return path


def index_clips(dataset: LeRobotDataset, config: IndexClips) -> list[ClipRow]:
    """Every clip of every episode, judged but not yet graded.

    Raises:
        ValueError: no episode is long enough, or one has no tracks yet.
    """
    camera = config.camera or dataset.spec.cameras[0].name
    rows: list[ClipRow] = []
    with progress(dataset.num_episodes, "indexing clips", unit="episode") as bar:
        for episode in range(dataset.num_episodes):
            tracks = read_tracks(
                annotations_folder(dataset.root),
                annotator=config.tracks,
                camera=camera,
                episode=episode,
            )
            rows += clips_of_episode(dataset, episode, tracks, camera=camera, config=config)
            bar.update()
    if not rows:
        longest = max(dataset.episode_info(e).length for e in range(dataset.num_episodes))
        raise ValueError(
            f"no episode of {dataset.root} is long enough for {config.length} frames at stride "
            f"{config.stride}; the longest has {longest} rows. Use a smaller --length or --stride"
        )
    return rows


def clips_of_episode(
    dataset: LeRobotDataset, episode: int, tracks: Tracks, *, camera: str, config: IndexClips
) -> list[ClipRow]:
    """The clips of one episode."""
    info = dataset.episode_info(episode)
    span = (config.length - 1) * config.stride + 1
    rows = []
    for start in range(0, info.length - span + 1, config.every):
        seen = slice(start, start + span, config.stride)
        motion = measure_motion(tracks.xy_px[seen], tracks.visible[seen])
        reason = reason_against(motion, config=config)
        rows.append(
            ClipRow(
                episode=episode,
                camera=camera,
                start=start,
                stride=config.stride,
                length=config.length,
                split=split_of(info.seed),
                skill=info.task,
                difficulty="",
                scene=dataset.spec.source,
                motion_px=motion.path_px,
                disorder=motion.disorder,
                key_frame=motion.key_frame,
                keep=not reason,
                reason=reason,
            )
        )
    return rows


def reason_against(motion: Motion, *, config: IndexClips) -> str:
    """Why a clip should be left out; empty where it should be kept."""
    if motion.path_px < config.min_path_px:
        return f"still: {motion.path_px:.1f} px < {config.min_path_px:g} px"
    if motion.disorder > config.max_disorder:
        return f"disordered: {motion.disorder:.2f} > {config.max_disorder:g}"
    return ""


def grade(rows: list[ClipRow]) -> list[ClipRow]:
    """Fill in the difficulty of the kept clips: thirds by motion."""
    kept = [row.motion_px for row in rows if row.keep]
    if not kept:
        return rows
    borders = np.quantile(kept, [1 / 3, 2 / 3])
    return [
        ClipRow(
            **{
                **asdict(row),
                "difficulty": DIFFICULTIES[int(np.searchsorted(borders, row.motion_px))]
                if row.keep
                else "",
            }
        )
        for row in rows
    ]
