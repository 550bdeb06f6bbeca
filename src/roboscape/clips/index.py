"""The clip index of a dataset: `roboscape clips DATASET` writes `annotations/clips.parquet`."""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from roboscape.annotate.categories import group_scenes, scene_signature
from roboscape.annotate.pipeline_failures import read_failures
from roboscape.clips.evidence import Annotators, Evidence, gather
from roboscape.clips.filters import ClipRow, Limits, filter_clip, grade
from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path
from roboscape.core.progress import progress
from roboscape.dataset.annotations import AnnotationKind, annotations_folder, annotator_of
from roboscape.dataset.reader import LeRobotDataset

log = logging.getLogger(__name__)

FILE = "clips.parquet"
LENGTH, STRIDE = 16, 4
"""Frames of a clip, and rows between two of them, where nothing else is said."""
ABOUT = "roboscape"
"""Key of the Parquet file's metadata that holds the `IndexSettings` as JSON."""


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """Settings of an index that its readers need."""

    cuts: str
    """The annotator of the camera cuts; empty for none."""
    annotations: Path | None
    """Folder of the annotations; the dataset's own where None."""


def index_settings(schema: pa.Schema, *, where: Path) -> IndexSettings:
    """The settings that an index keeps.

    Raises:
        ValueError: an older version wrote it, which kept none.
    """
    stored = (schema.metadata or {}).get(ABOUT.encode())
    if stored is None:
        raise UserError(
            f"{where} was written by an older version and does not name the annotator of its "
            "camera cuts; run `roboscape clips` with its settings again"
        )
    return config_from_dict(IndexSettings, json.loads(stored), where=str(where))


def read_index(path: Path) -> Iterator[ClipRow]:
    """The clips of an index, in order.

    Raises:
        ValueError: there is none, or an older version wrote it.
    """
    if not path.is_file():
        raise UserError(f"there is no clip index at {path}; run `roboscape clips` first")
    for batch in pq.ParquetFile(path).iter_batches():
        for entry in batch.to_pylist():
            yield config_from_dict(ClipRow, entry, where=str(path))


@dataclass(frozen=True, kw_only=True)
class IndexClips(Limits):
    """Cut a dataset into strided clips, score their motion, and mark those to keep."""

    dataset: tyro.conf.Positional[Path]
    """LeRobot dataset."""
    camera: str | None = None
    """The camera whose clips are indexed; the dataset's first where not given."""
    length: int = 0
    """Frames of a clip; 0: as many as in the index that is there (`roboscape prepare` writes one),
    else 16."""
    stride: int = 0
    """Rows of the recording between two frames; 0: those of the index that is there, else 4."""
    every: int = 16
    """Rows between the starts of two clips."""
    tracks: str | None = None
    """The annotator of the tracks on which motion is measured; where not given: the simulator, else
    the only one."""
    segments: str | None = None
    """The annotator of action segments (`kinematic`, ...), which give clips skills and key frames;
    where not given: the only one, if there is any; `none`."""
    cuts: str | None = None
    """The annotator of camera cuts (`transnet_v2`, ...), across which no clip is kept; where not
    given: the only one, if there is any; `none`."""
    motion: str | None = None
    """The annotator of optical flow (`dis`, ...), by which clips are filtered too; where not given:
    the only one, if there is any; `none`."""
    camera_motion: Literal["remove", "keep"] = "remove"
    """`remove`: where the camera moves, a point's motion is that against the background; `keep`: it
    is that in the picture."""
    scenes: Literal["source", "looks"] = "source"
    """`source`: by the dataset's source; `looks`: also grouped by how the first frame looks."""
    scene_difference: float = 12.0
    """Mean colour difference (CIELAB) beyond which first frames show another scene."""
    annotations: Path | None = None
    """Annotations folder; the dataset's own where not given."""
    output: Path | None = None
    """Where to write; `annotations/clips.parquet` in the dataset where not given."""

    def __post_init__(self) -> None:
        """Refuse clips of nothing."""
        if self.length == 1 or min(self.length, self.stride) < 0 or self.every < 1:
            raise UserError(
                f"expected length >= 2, stride >= 1 and every >= 1, got {self.length}, "
                f"{self.stride} and {self.every}"
            )


def run(config: IndexClips) -> Path:
    """Write the index and report what is kept."""
    dataset = LeRobotDataset(config.dataset)
    root = config.annotations or annotations_folder(dataset.root)
    path = config.output or annotations_folder(config.dataset) / FILE
    config = settled(config, path)
    by = annotators_of(config, root=root)
    rows = grade(index_clips(dataset, config, root=root, by=by))
    with atomic_path(path) as temporary:
        table = pa.Table.from_pylist([asdict(row) for row in rows])
        about = json.dumps({"cuts": by.cuts, "annotations": config.annotations}, default=str)
        pq.write_table(table.replace_schema_metadata({ABOUT: about}), temporary)
    kept = sum(row.keep for row in rows)
    reasons = Counter(row.reason.split(":")[0] for row in rows if not row.keep)
    log.info("%s: %d clips, %d kept, left out: %s", path, len(rows), kept, dict(reasons) or "none")
    return path


def settled(config: IndexClips, path: Path) -> IndexClips:
    """The same with a length and a stride: those of the index at a path, where none were given."""
    found = {"length": LENGTH, "stride": STRIDE}
    if path.is_file() and not (config.length and config.stride):
        (found,) = pq.read_table(path, columns=list(found)).slice(0, 1).to_pylist()
        log.info("%s: %d frames, a frame every %d rows, as before", path, *found.values())
    return replace(
        config,
        length=config.length or found["length"],
        stride=config.stride or found["stride"],
    )


def annotators_of(config: IndexClips, *, root: Path) -> Annotators:
    """The annotators that clips are filtered by: those asked for, else those that there are.

    Raises:
        ValueError: there are no tracks; or several annotators of a kind, and none was asked for.
    """
    by = Annotators(
        tracks=annotator_of(root, "tracks", asked=config.tracks),
        segments=annotator_of(root, "segments", asked=config.segments),
        cuts=annotator_of(root, "cuts", asked=config.cuts),
        motion=annotator_of(root, "motion", asked=config.motion),
    )
    if not by.tracks:
        raise UserError(
            f"clips are filtered by the motion of tracks, and {root} holds none; make them first: "
            f"`roboscape annotate {config.dataset} --depth none`"
        )
    log.info("%s: filtered by %s", config.dataset, {k: v for k, v in asdict(by).items() if v})
    return by


def index_clips(
    dataset: LeRobotDataset, config: IndexClips, *, root: Path, by: Annotators
) -> list[ClipRow]:
    """Every clip of every episode, filtered but not yet graded.

    Raises:
        ValueError: no episode is long enough, or one has no tracks yet.
    """
    camera = config.camera or dataset.spec.cameras[0].name
    failed = failures_of(by, root=root, camera=camera)
    scenes = scenes_of(dataset, config, camera=camera, failed=failed)
    rows: list[ClipRow] = []
    with progress(dataset.num_episodes, "indexing clips", unit="episode") as bar:
        for episode in range(dataset.num_episodes):
            found: Evidence | str = failed.get(episode) or gather(
                dataset,
                episode,
                root=root,
                camera=camera,
                by=by,
                without_camera=config.camera_motion == "remove",
            )
            rows += clips_of_episode(
                dataset, episode, found, camera=camera, scene=scenes[episode], config=config
            )
            bar.update()
    if not rows:
        longest = max(dataset.episode_info(e).length for e in range(dataset.num_episodes))
        raise UserError(
            f"no episode of {dataset.root} is long enough for {config.length} frames at stride "
            f"{config.stride}; the longest has {longest} rows. Use a smaller --length or --stride"
        )
    return rows


def failures_of(by: Annotators, *, root: Path, camera: str) -> dict[int, str]:
    """The reasons why episodes could not be annotated by one of these annotators."""
    asked: list[tuple[AnnotationKind, str]] = [
        ("tracks", by.tracks),
        ("segments", by.segments),
        ("cuts", by.cuts),
        ("motion", by.motion),
    ]
    failed: dict[int, str] = {}
    for kind, annotator in asked:
        if annotator:
            failed |= read_failures(root, kind=kind, annotator=annotator, camera=camera)
    return failed


def scenes_of(
    dataset: LeRobotDataset, config: IndexClips, *, camera: str, failed: dict[int, str]
) -> list[str]:
    """The scene in which each episode was recorded."""
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
            split=info.split,
            skill=info.task,
            skill_share=1.0,
            difficulty="",
            scene=scene,
            motion_px=0.0,
            disorder=0.0,
            flow_px=0.0,
            unexplained=0.0,
            turning=0.0,
            camera_px=0.0,
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
            rows.append(filter_clip(blank, found, seen=seen, limits=config))
    return rows
