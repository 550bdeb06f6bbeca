"""Annotating a dataset: whatever is missing, episode by episode, beside the data."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from roboscape.annotate.accuracy.accuracy import AccuracyReport, TrackAccuracy, as_table
from roboscape.annotate.backends import RECORDED, Backend
from roboscape.annotate.cuts.protocol import CUT_DETECTORS
from roboscape.annotate.depth.protocol import DEPTH_ANNOTATORS, check_recorded_depth
from roboscape.annotate.flow.protocol import FLOW_ESTIMATORS
from roboscape.annotate.pipeline_failures import Tally, by_reason, failures_file
from roboscape.annotate.pipeline_local import outcomes_here
from roboscape.annotate.pipeline_stage import Scale, Stage, With, begin, missing_items
from roboscape.annotate.segments.language import LanguageModel
from roboscape.annotate.segments.protocol import NUMBERS_ALONE, SEGMENTERS
from roboscape.annotate.tracks.protocol import TRACK_ANNOTATORS
from roboscape.core.errors import UserError
from roboscape.core.files import write_json
from roboscape.core.progress import progress
from roboscape.dataset.annotations import (
    NONE,
    SIMULATOR,
    AnnotationKind,
    annotated_episodes,
    annotations_folder,
    read_tracks,
)
from roboscape.dataset.reader import LeRobotDataset

logger = logging.getLogger(__name__)

Kind = TypeVar("Kind")


@dataclass(frozen=True, kw_only=True)
class Annotate:
    """Add depth, point tracks and more beside a dataset, itself not changed; resumable."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """LeRobot dataset to annotate."""
    tracks: str = "lucas_kanade"
    """Tracker: `lucas_kanade`; `simulator`: check that the true tracks are there; `none`."""
    depth: str = RECORDED
    """Depth estimator: `simulator`: check that recorded depth is there; `none`."""
    tracks_settings: str = "{}"
    """Settings of the tracker, as JSON; its class lists them."""
    depth_settings: str = "{}"
    """Settings of the depth estimator, as JSON, e.g. `{"range_m": [0.4, 2.0]}`."""
    cuts: str = NONE
    """Detector of camera cuts: `transnet_v2`, `scene_detect`; `none`."""
    motion: str = NONE
    """Estimator of optical flow, by which motion is measured: `dis`, `raft`; `none`."""
    segments: str = NONE
    """Segmenter by action: `kinematic`, `internvl`, `server` (see `--language`); `none`."""
    language: LanguageModel = field(default_factory=LanguageModel)
    """The vision-language model of `internvl` and `server`."""
    cameras: tuple[str, ...] = ()
    """Names of the cameras; all where none is named."""
    scale: tyro.conf.OmitArgPrefixes[Scale] = field(default_factory=Scale)
    """Number of workers, and where they work."""
    output: Path | None = None
    """Annotations folder; the dataset's own unless it cannot be written to."""
    compare: bool = False
    """Measure the tracker against the simulator's true tracks and keep the report beside it."""
    compare_episodes: int = 50
    """Episodes that the comparison takes, from the first on."""
    survival_rows: tuple[int, ...] = (16, 60)
    """Rows after the first at which the comparison counts the points that are left."""


def run(config: Annotate) -> dict[str, TrackAccuracy] | None:
    """Make the missing annotations; returns the tracker's accuracy where it was asked for."""
    dataset = LeRobotDataset(config.dataset)
    root = config.output or annotations_folder(config.dataset)
    cameras = choose_cameras(dataset, config.cameras)
    if config.depth == RECORDED:
        check_recorded_depth(dataset, cameras=cameras)
    if config.tracks == RECORDED:
        check_recorded_tracks(dataset, cameras=cameras)
    # All are chosen before the first begins: a wrong name should not cost hours.
    for stage in stages(config, root=root):
        annotate(stage, dataset, cameras=cameras, scale=config.scale)
    return compare_tracks(dataset, config, root=root, cameras=cameras) if config.compare else None


def stages(config: Annotate, *, root: Path) -> list[Stage]:
    """The stages to run, in order.

    Raises:
        ValueError: a name that no backend has.
    """
    of_segments = {} if config.segments in NUMBERS_ALONE else {"language": config.language}
    asked: list[tuple[AnnotationKind, str, Mapping[str, Any], dict[str, Any]]] = [
        ("depth", config.depth, DEPTH_ANNOTATORS, json.loads(config.depth_settings)),
        ("tracks", config.tracks, TRACK_ANNOTATORS, json.loads(config.tracks_settings)),
        ("cuts", config.cuts, CUT_DETECTORS, {}),
        ("motion", config.motion, FLOW_ESTIMATORS, {}),
        ("segments", config.segments, SEGMENTERS, of_segments),
    ]
    found = []
    for kind, name, known, settings in asked:
        if name in (NONE, RECORDED):
            continue
        backend = find(known, name, what=kind)
        found.append(
            Stage(
                kind=kind,
                make=With(backend, settings) if settings else backend,
                dataset=config.dataset,
                root=root,
                gpu=backend.gpu if isinstance(backend, Backend) else False,
                needs_frames=name not in NUMBERS_ALONE,
            )
        )
    return found


def annotate(
    stage: Stage, dataset: LeRobotDataset, *, cameras: tuple[str, ...], scale: Scale
) -> None:
    """Annotate what is missing. An episode that fails costs only itself: its reason is kept.

    Raises:
        ValueError: the annotator cannot be made, or nothing at all could be annotated.
    """
    name = begin(stage)
    items = missing_items(stage, dataset, annotator=name, cameras=cameras)
    total = dataset.num_episodes * len(cameras)
    failures = failures_file(stage.root, kind=stage.kind, annotator=name)
    tally = Tally(failures, expected=len(items))
    if scale.distributed and items:
        # Importing Ray takes longer than annotating a small dataset.
        from roboscape.annotate.ray_run import outcomes_on_ray

        outcomes = outcomes_on_ray(stage, items, annotator=name, scale=scale)
    else:
        outcomes = outcomes_here(stage, items, dataset=dataset, attempts=scale.attempts)
    title, initial = f"{stage.kind} by {name}", total - len(items)
    with progress(total, title, initial=initial, unit="episode") as bar:
        for outcome in outcomes:
            tally.add(outcome)
            bar.update()
    if tally.failed:
        logger.warning(
            "%s: %d of %d episodes failed (%s); the others are done, and running again tries "
            "these again:\n%s",
            title,
            len(tally.failed),
            len(items),
            failures,
            by_reason(tally.failed),
        )


def choose_cameras(dataset: LeRobotDataset, names: tuple[str, ...]) -> tuple[str, ...]:
    """The named cameras, or all."""
    known = tuple(camera.name for camera in dataset.spec.cameras)
    if unknown := [name for name in names if name not in known]:
        raise UserError(
            f"{dataset.root} has no camera {', '.join(unknown)}; it has {', '.join(known)}"
        )
    return names or known


def check_recorded_tracks(dataset: LeRobotDataset, *, cameras: tuple[str, ...]) -> None:
    """Make sure that a dataset brings true tracks of every episode.

    Raises:
        ValueError: it does not come from a simulator.
    """
    root = annotations_folder(dataset.root)
    for camera in cameras:
        done = annotated_episodes(root, kind="tracks", annotator=SIMULATOR, camera=camera)
        if missing := set(range(dataset.num_episodes)) - done:
            raise UserError(
                f"{dataset.root} brings no true tracks of {len(missing)} of its "
                f"{dataset.num_episodes} episodes as seen by {camera}; name an annotator that "
                f"estimates them: {', '.join(TRACK_ANNOTATORS)}"
            )


def compare_tracks(
    dataset: LeRobotDataset, config: Annotate, *, root: Path, cameras: tuple[str, ...]
) -> dict[str, TrackAccuracy]:
    """Measure the tracker on the points whose truth is known; kept as `accuracy.json`."""
    check_recorded_tracks(dataset, cameras=cameras)
    annotator = find(TRACK_ANNOTATORS, config.tracks, what="tracks")()
    report = AccuracyReport(annotator, survival_rows=config.survival_rows)
    episodes = range(min(config.compare_episodes, dataset.num_episodes))
    truth_root = annotations_folder(dataset.root)
    with progress(len(episodes) * len(cameras), "compare", unit="episode") as bar:
        for camera in cameras:
            for episode in episodes:
                truth = read_tracks(truth_root, annotator=SIMULATOR, camera=camera, episode=episode)
                report.add(dataset.frames(episode, camera), truth)
                bar.update()
    accuracy = report.result()
    path = root / f"tracks_{annotator.name}" / "accuracy.json"
    write_json(
        path,
        {
            "truth": SIMULATOR,
            "cameras": cameras,
            "episodes": len(episodes),
            "version": annotator.version,
            "settings": annotator.settings,
            "accuracy": {kind: asdict(one) for kind, one in accuracy.items()},
        },
    )
    logger.info(
        "%s against the true tracks of %d episodes (%s):\n%s",
        annotator.name,
        len(episodes),
        path,
        as_table(accuracy),
    )
    return accuracy


def find(known: Mapping[str, Kind], name: str, *, what: str) -> Kind:
    """The backend of a name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in known:
        names = ", ".join((*known, RECORDED, NONE))
        raise UserError(f"nothing called {name!r} estimates {what}; choose one of {names}")
    return known[name]
