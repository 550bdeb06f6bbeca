"""Annotating a dataset: whatever is missing, episode by episode, beside the data."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from roboscape.annotate.accuracy import AccuracyReport, TrackAccuracy, as_table
from roboscape.annotate.backends import RECORDED, DepthAnnotator, TrackAnnotator
from roboscape.annotate.depth import DEPTH_ANNOTATORS, check_recorded_depth
from roboscape.annotate.tracks import TRACK_ANNOTATORS
from roboscape.core.files import write_json
from roboscape.core.progress import progress
from roboscape.dataset.annotations import (
    SIMULATOR,
    Provenance,
    annotated_episodes,
    annotations_folder,
    begin_annotation,
    read_tracks,
    write_depth,
    write_tracks,
)
from roboscape.dataset.depth_codec import DepthCodec
from roboscape.dataset.reader import LeRobotDataset

logger = logging.getLogger(__name__)

NONE = "none"
Annotator = TypeVar("Annotator")


@dataclass(frozen=True, kw_only=True)
class Annotate:
    """Add depth and point tracks beside a dataset, which itself is not changed; resumable."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """LeRobot dataset to annotate."""
    tracks: str = "lucas_kanade"
    """Who tracks: `lucas_kanade`; `simulator`: check that the true tracks are there; `none`."""
    depth: str = RECORDED
    """Who estimates depth: `simulator`: check that recorded depth is there; `none`."""
    cameras: tuple[str, ...] = ()
    """Names of the cameras; all where none is named."""
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
    elif config.depth != NONE:
        depth_annotator = choose(DEPTH_ANNOTATORS, config.depth, what="depth")
        annotate_depth(dataset, depth_annotator, root=root, cameras=cameras)
    if config.tracks == RECORDED:
        check_recorded_tracks(dataset, cameras=cameras)
    elif config.tracks != NONE:
        track_annotator = choose(TRACK_ANNOTATORS, config.tracks, what="tracks")
        annotate_tracks(dataset, track_annotator, root=root, cameras=cameras)
    return compare_tracks(dataset, config, root=root, cameras=cameras) if config.compare else None


def choose_cameras(dataset: LeRobotDataset, names: tuple[str, ...]) -> tuple[str, ...]:
    """The named cameras, or all."""
    known = tuple(camera.name for camera in dataset.spec.cameras)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"{dataset.root} has no camera {', '.join(unknown)}; it has {', '.join(known)}"
        )
    return names or known


def annotate_tracks(
    dataset: LeRobotDataset, annotator: TrackAnnotator, *, root: Path, cameras: tuple[str, ...]
) -> None:
    """Write the tracks of every episode and camera that has none by this annotator."""
    provenance = Provenance(
        kind="tracks",
        name=annotator.name,
        version=annotator.version,
        settings=annotator.settings,
    )
    begin_annotation(root, provenance)
    for camera, episode in missing_episodes(dataset, provenance, root=root, cameras=cameras):
        tracks = annotator.annotate(dataset.frames(episode, camera))
        write_tracks(root, tracks, annotator=annotator.name, camera=camera, episode=episode)


def annotate_depth(
    dataset: LeRobotDataset, annotator: DepthAnnotator, *, root: Path, cameras: tuple[str, ...]
) -> None:
    """Write the depth of every episode and camera that has none by this annotator."""
    spec = dataset.spec
    provenance = Provenance(
        kind="depth",
        name=annotator.name,
        version=annotator.version,
        settings=annotator.settings,
        depth=DepthCodec(minimum_m=spec.depth_min_m, maximum_m=spec.depth_max_m),
        fps=spec.fps,
    )
    begin_annotation(root, provenance)
    for camera, episode in missing_episodes(dataset, provenance, root=root, cameras=cameras):
        depth_m = annotator.annotate(dataset.frames(episode, camera))
        write_depth(root, depth_m, annotator=annotator.name, camera=camera, episode=episode)


def missing_episodes(
    dataset: LeRobotDataset, provenance: Provenance, *, root: Path, cameras: tuple[str, ...]
) -> Iterator[tuple[str, int]]:
    """Cameras and episodes without this annotation, under a progress bar."""
    kind, name = provenance.kind, provenance.name
    for camera in cameras:
        done = annotated_episodes(root, kind=kind, annotator=name, camera=camera)
        missing = sorted(set(range(dataset.num_episodes)) - done)
        initial = dataset.num_episodes - len(missing)
        title = f"{kind} of {camera}"
        with progress(dataset.num_episodes, title, initial=initial, unit="episode") as bar:
            for episode in missing:
                yield camera, episode
                bar.update()


def check_recorded_tracks(dataset: LeRobotDataset, *, cameras: tuple[str, ...]) -> None:
    """Make sure that a dataset brings true tracks of every episode.

    Raises:
        ValueError: it does not come from a simulator.
    """
    root = annotations_folder(dataset.root)
    for camera in cameras:
        done = annotated_episodes(root, kind="tracks", annotator=SIMULATOR, camera=camera)
        if missing := set(range(dataset.num_episodes)) - done:
            raise ValueError(
                f"{dataset.root} brings no true tracks of {len(missing)} of its "
                f"{dataset.num_episodes} episodes as seen by {camera}; name an annotator that "
                f"estimates them: {', '.join(TRACK_ANNOTATORS)}"
            )


def compare_tracks(
    dataset: LeRobotDataset, config: Annotate, *, root: Path, cameras: tuple[str, ...]
) -> dict[str, TrackAccuracy]:
    """Measure the tracker on the points whose truth is known; kept as `accuracy.json`."""
    check_recorded_tracks(dataset, cameras=cameras)
    annotator = choose(TRACK_ANNOTATORS, config.tracks, what="tracks")
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


def choose(known: Mapping[str, Callable[[], Annotator]], name: str, *, what: str) -> Annotator:
    """The annotator of a name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in known:
        names = ", ".join((*known, RECORDED, NONE))
        raise ValueError(f"nothing called {name!r} estimates {what}; choose one of {names}")
    return known[name]()
