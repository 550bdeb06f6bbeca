"""The clip index of a dataset: `roboscape clips DATASET` writes `annotations/clips.parquet`."""

import logging
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from roboscape.annotate.categories import (
    Challenge,
    difficulties,
    group_scenes,
    scene_signature,
)
from roboscape.annotate.pipeline_failures import read_failures
from roboscape.clips.evidence import Evidence, gather
from roboscape.clips.motion import Motion, measure_motion
from roboscape.clips.split import split_of
from roboscape.core.files import atomic_path
from roboscape.core.progress import progress
from roboscape.dataset.annotations import SIMULATOR, AnnotationKind, annotations_folder
from roboscape.dataset.reader import LeRobotDataset

log = logging.getLogger(__name__)

FILE = "clips.parquet"


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
    segments: str = ""
    """Who sliced by action (`kinematic`, ...): clips get its skills and key frames."""
    min_skill_share: float = 0.0
    """Clips of which less belongs to one action are left out as mixed; 1 is the paper's."""
    min_relevance: float = 0.5
    """Clips of which less relates to a key frame are left out as irrelevant; needs `segments`."""
    cuts: str = ""
    """Who found camera cuts (`transnet_v2`, ...): clips across one are left out."""
    scenes: Literal["source", "looks"] = "source"
    """`source`: what the dataset says; `looks`: also grouped by how the first frame looks."""
    scene_difference: float = 12.0
    """Mean colour difference (CIELAB) beyond which first frames show another scene."""
    annotations: Path | None = None
    """Annotations folder; the dataset's own where not given."""
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
    """The action that most of the clip belongs to; the task's own words where nobody sliced."""
    skill_share: float
    """Share of the clip's rows that belong to that action; 1 where nobody sliced."""
    difficulty: str
    """`easy`, `medium`, `hard`; empty for a clip that is left out."""
    scene: str
    """Where it was recorded, as far as the dataset says, and the number of its looks."""
    motion_px: float
    """Mean path of the active points."""
    disorder: float
    """0 straight on, 0.5 a random walk, 1 back and forth."""
    hidden: float
    """Share of the points that cannot be seen, on average."""
    gripper_events: int
    """How often the gripper is told to close or to open."""
    key_frame: int
    """The clip's frame nearest its action's key row; else the one points moved farthest into."""
    relevance: float
    """Share of the rows that relate to an action's key row; 1 where nobody sliced."""
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
    root = config.annotations or annotations_folder(dataset.root)
    failed = failures_of(config, root=root, camera=camera)
    scenes = scenes_of(dataset, config, camera=camera, failed=failed)
    rows: list[ClipRow] = []
    with progress(dataset.num_episodes, "indexing clips", unit="episode") as bar:
        for episode in range(dataset.num_episodes):
            found: Evidence | str = failed.get(episode) or gather(
                dataset,
                episode,
                root=root,
                camera=camera,
                tracks=config.tracks,
                segments=config.segments,
                cuts=config.cuts,
            )
            rows += clips_of_episode(
                dataset, episode, found, camera=camera, scene=scenes[episode], config=config
            )
            bar.update()
    if not rows:
        longest = max(dataset.episode_info(e).length for e in range(dataset.num_episodes))
        raise ValueError(
            f"no episode of {dataset.root} is long enough for {config.length} frames at stride "
            f"{config.stride}; the longest has {longest} rows. Use a smaller --length or --stride"
        )
    return rows


def failures_of(config: IndexClips, *, root: Path, camera: str) -> dict[int, str]:
    """Why episodes could not be annotated by one of those that the index goes by."""
    asked: list[tuple[AnnotationKind, str]] = [
        ("tracks", config.tracks),
        ("segments", config.segments),
        ("cuts", config.cuts),
    ]
    failed: dict[int, str] = {}
    for kind, annotator in asked:
        if annotator:
            failed |= read_failures(root, kind=kind, annotator=annotator, camera=camera)
    return failed


def scenes_of(
    dataset: LeRobotDataset, config: IndexClips, *, camera: str, failed: dict[int, str]
) -> list[str]:
    """Where each episode was recorded."""
    source = dataset.spec.source
    if config.scenes == "source":
        return [source] * dataset.num_episodes
    readable = [episode for episode in range(dataset.num_episodes) if episode not in failed]
    signatures = [
        scene_signature(dataset.frames(episode, camera, slice(0, 1))[0]) for episode in readable
    ]
    numbers = group_scenes(signatures, largest_difference=config.scene_difference)
    names = [f"{source} #?".strip()] * dataset.num_episodes
    for episode, number in zip(readable, numbers, strict=True):
        names[episode] = f"{source} #{number + 1}".strip()
    return names


def clips_of_episode(
    dataset: LeRobotDataset,
    episode: int,
    found: Evidence | str,
    *,
    camera: str,
    scene: str,
    config: IndexClips,
) -> list[ClipRow]:
    """The clips of one episode; `found` is why there is no evidence where there is none."""
    info = dataset.episode_info(episode)
    span = (config.length - 1) * config.stride + 1
    rows = []
    for start in range(0, info.length - span + 1, config.every):
        seen = range(start, start + span, config.stride)
        blank = ClipRow(
            episode=episode,
            camera=camera,
            start=start,
            stride=config.stride,
            length=config.length,
            split=split_of(info.seed),
            skill=info.task,
            skill_share=1.0,
            difficulty="",
            scene=scene,
            motion_px=0.0,
            disorder=0.0,
            hidden=0.0,
            gripper_events=0,
            key_frame=0,
            relevance=1.0,
            keep=False,
            reason="",
        )
        if isinstance(found, str):
            rows.append(replace(blank, reason=f"not annotated: {found}"))
        else:
            rows.append(judge(blank, found, seen=seen, config=config))
    return rows


def judge(blank: ClipRow, found: Evidence, *, seen: range, config: IndexClips) -> ClipRow:
    """Fill in what was measured of one clip, and whether to keep it."""
    rows = slice(seen.start, seen.stop, seen.step)
    motion = measure_motion(found.tracks.xy_px[rows], found.tracks.visible[rows])
    action = found.action(seen)
    reason = reason_against(motion, config=config)
    if cuts := [row for row in found.cuts if seen[0] < row <= seen[-1]]:
        reason = f"cut: another shot begins at row {cuts[0]}"
    elif action and not reason and action.share < config.min_skill_share:
        reason = f"mixed: {action.share:.2f} < {config.min_skill_share:g} of one action"
    elif action and not reason and action.relevance < config.min_relevance:
        reason = f"irrelevant: {action.relevance:.2f} < {config.min_relevance:g} relate to a key"
    return replace(
        blank,
        skill=action.skill if action else blank.skill,
        skill_share=action.share if action else 1.0,
        motion_px=motion.path_px,
        disorder=motion.disorder,
        hidden=float(1 - found.tracks.visible[rows].mean()),
        gripper_events=found.gripper_events(seen),
        key_frame=action.key_frame if action else motion.key_frame,
        relevance=action.relevance if action else 1.0,
        keep=not reason,
        reason=reason,
    )


def reason_against(motion: Motion, *, config: IndexClips) -> str:
    """Why a clip should be left out for its motion; empty where it should be kept."""
    if motion.path_px < config.min_path_px:
        return f"still: {motion.path_px:.1f} px < {config.min_path_px:g} px"
    if motion.disorder > config.max_disorder:
        return f"disordered: {motion.disorder:.2f} > {config.max_disorder:g}"
    return ""


def grade(rows: list[ClipRow]) -> list[ClipRow]:
    """Fill in the difficulty of the kept clips: thirds of what makes a clip hard."""
    graded = iter(
        difficulties(
            [
                Challenge(
                    motion_px=row.motion_px,
                    disorder=row.disorder,
                    hidden=row.hidden,
                    gripper_events=row.gripper_events,
                )
                for row in rows
                if row.keep
            ]
        )
    )
    return [replace(row, difficulty=next(graded)) if row.keep else row for row in rows]
