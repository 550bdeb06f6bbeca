"""Labels that are wrong by a known amount: `roboscape perturb DATASET --name noisy ...`.

The paper trains on what pretrained models say about depth and keypoints, and leaves open how their
errors reach the world model. Here the simulator's truth is made wrong on purpose and kept beside
the dataset as one more annotator, so that training on it can be compared with training on the
truth: `roboscape tokenize DATASET --depth noisy --tracks noisy`.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from roboscape.annotate.perturb.depth import DepthErrors, abs_rel, perturb_depth
from roboscape.annotate.perturb.tracks import TrackErrors, perturb_tracks
from roboscape.core.errors import UserError
from roboscape.core.files import write_json
from roboscape.core.progress import progress
from roboscape.dataset.annotations import (
    SIMULATOR,
    AnnotationKind,
    Provenance,
    annotated_episodes,
    annotations_folder,
    begin_annotation,
    read_depth,
    read_tracks,
    write_depth,
    write_tracks,
)
from roboscape.dataset.depth_codec import DepthCodec
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Tracks

log = logging.getLogger(__name__)

VERSION = "1"
"""Changes with the errors that the same settings make."""
MEASURED = "measured.json"
_RANGE_FACTOR = 4.0
"""Wrong depth may lie beyond the dataset's range; the annotation's range is this much wider."""


@dataclass(frozen=True, kw_only=True)
class Perturb:
    """Plant depth and track errors in the truth of a dataset, as annotations of their own."""

    dataset: tyro.conf.Positional[Path]
    """LeRobot dataset with a simulator's depth and tracks."""
    output: Path | None = None
    """Annotations folder; the dataset's own where not given."""
    name: str = "perturbed"
    """Name of the annotator that the wrong labels go by."""
    depth: DepthErrors = field(default_factory=DepthErrors)
    """Depth errors, each as AbsRel."""
    tracks: TrackErrors = field(default_factory=TrackErrors)
    """Track errors."""
    seed: int = 0
    """Other errors of the same size."""
    cameras: tuple[str, ...] = ()
    """Names of the cameras; all where none is named."""
    measure_episodes: int = 20
    """Episodes, from the first on, that are read back and measured in the end."""

    def __post_init__(self) -> None:
        """Raise `UserError` where nothing is perturbed, or the truth would be overwritten."""
        if not (self.depth.any or self.tracks.any):
            raise UserError(
                "no error is asked for; give some, e.g. --depth.noise 0.05 or --tracks.lost 0.2"
            )
        if self.name == SIMULATOR or not self.name.replace("_", "").isalnum():
            raise UserError(
                f"expected a name of letters, digits and underscores other than {SIMULATOR!r}, "
                f"got {self.name!r}"
            )


def run(config: Perturb) -> dict[str, Any]:
    """Write what is missing of the wrong labels; returns, and keeps, their measured errors."""
    dataset = LeRobotDataset(config.dataset)
    root = config.output or annotations_folder(config.dataset)
    cameras = config.cameras or tuple(camera.name for camera in dataset.spec.cameras)
    measured: dict[str, Any] = {}
    if config.depth.any:
        write_wrong_depth(dataset, config, root=root, cameras=cameras)
        measured["depth"] = measure_depth(dataset, config, root=root, cameras=cameras)
    if config.tracks.any:
        write_wrong_tracks(dataset, config, root=root, cameras=cameras)
        measured["tracks"] = measure_tracks(dataset, config, root=root, cameras=cameras)
    for kind, values in measured.items():
        path = root / f"{kind}_{config.name}" / MEASURED
        write_json(path, {"asked": asdict(getattr(config, kind)), "measured": values})
        log.info("%s: %s", path, ", ".join(f"{key} {one:.4g}" for key, one in values.items()))
    return measured


def write_wrong_depth(
    dataset: LeRobotDataset, config: Perturb, *, root: Path, cameras: tuple[str, ...]
) -> None:
    """Depth with errors, of every episode and camera that has none of this name."""
    spec = dataset.spec
    codec = DepthCodec(
        minimum_m=spec.depth_min_m / _RANGE_FACTOR, maximum_m=spec.depth_max_m * _RANGE_FACTOR
    )
    provenance = _provenance("depth", config, depth=codec, fps=spec.fps)
    for camera, episode, place in _missing(dataset, config, provenance, root=root, cameras=cameras):
        wrong_m = perturb_depth(true_depth(dataset, episode, camera), config.depth, place=place)
        write_depth(root, wrong_m, annotator=config.name, camera=camera, episode=episode)


def write_wrong_tracks(
    dataset: LeRobotDataset, config: Perturb, *, root: Path, cameras: tuple[str, ...]
) -> None:
    """Tracks with errors, of every episode and camera that has none of this name."""
    provenance = _provenance("tracks", config)
    for camera, episode, place in _missing(dataset, config, provenance, root=root, cameras=cameras):
        wrong = perturb_tracks(true_tracks(dataset, episode, camera), config.tracks, place=place)
        write_tracks(root, wrong, annotator=config.name, camera=camera, episode=episode)


def true_depth(dataset: LeRobotDataset, episode: int, camera: str) -> np.ndarray:
    """Recorded depth in metres.

    Raises:
        ValueError: the camera recorded none.
    """
    if not any(one.name == camera and one.has_depth for one in dataset.spec.cameras):
        raise UserError(
            f"{dataset.root} recorded no depth for {camera}, so there is no truth to make wrong"
        )
    return dataset.depth_m(episode, camera)


def true_tracks(dataset: LeRobotDataset, episode: int, camera: str) -> Tracks:
    """The simulator's tracks."""
    root = annotations_folder(dataset.root)
    return read_tracks(root, annotator=SIMULATOR, camera=camera, episode=episode)


def measure_depth(
    dataset: LeRobotDataset, config: Perturb, *, root: Path, cameras: tuple[str, ...]
) -> dict[str, float]:
    """AbsRel of the depth as stored, all parts together."""
    errors = [
        abs_rel(
            read_depth(root, annotator=config.name, camera=camera, episode=episode),
            true_depth(dataset, episode, camera),
        )
        for camera in cameras
        for episode in _measured_episodes(dataset, config)
    ]
    return {"abs_rel": float(np.mean(errors)), "episodes": len(errors)}


def measure_tracks(
    dataset: LeRobotDataset, config: Perturb, *, root: Path, cameras: tuple[str, ...]
) -> dict[str, float]:
    """Errors of the tracks as stored, all parts together, where the wrong ones are visible."""
    errors, last, lost = [], [], []
    for camera in cameras:
        for episode in _measured_episodes(dataset, config):
            truth = true_tracks(dataset, episode, camera)
            wrong = read_tracks(root, annotator=config.name, camera=camera, episode=episode)
            distance = np.linalg.norm(wrong.xy_px - truth.xy_px, axis=-1)
            seen = wrong.visible & truth.visible
            errors.append(distance[1:][seen[1:]])
            last.append(distance[-1][seen[-1]])
            lost.append((~wrong.visible)[1:][truth.visible[1:]])
    return {
        "error_px": float(np.concatenate(errors).mean()),
        "last_row_error_px": float(np.concatenate(last).mean()),
        "share_of_visible_lost": float(np.concatenate(lost).mean()),
        "episodes": len(errors),
    }


def _measured_episodes(dataset: LeRobotDataset, config: Perturb) -> range:
    return range(min(config.measure_episodes, dataset.num_episodes))


def _provenance(
    kind: AnnotationKind,
    config: Perturb,
    *,
    depth: DepthCodec | None = None,
    fps: float | None = None,
) -> Provenance:
    """The record of what made the labels wrong, and how."""
    errors = asdict(getattr(config, kind))
    return Provenance(
        kind=kind,
        name=config.name,
        version=f"roboscape perturb {VERSION}",
        settings={"truth": SIMULATOR, "seed": config.seed, "errors": errors},
        depth=depth,
        fps=fps,
    )


def _missing(
    dataset: LeRobotDataset,
    config: Perturb,
    provenance: Provenance,
    *,
    root: Path,
    cameras: tuple[str, ...],
) -> Iterator[tuple[str, int, tuple[int, int, int]]]:
    """Cameras and episodes that remain to be made wrong, and the place of their random numbers."""
    begin_annotation(root, provenance)
    kind = provenance.kind
    order = [camera.name for camera in dataset.spec.cameras]
    for camera in cameras:
        if camera not in order:
            raise UserError(f"{dataset.root} has no camera {camera}; it has {', '.join(order)}")
        done = annotated_episodes(root, kind=kind, annotator=config.name, camera=camera)
        title = f"{kind} of {camera}, made wrong"
        with progress(dataset.num_episodes, title, initial=len(done), unit="episode") as bar:
            for episode in sorted(set(range(dataset.num_episodes)) - done):
                yield camera, episode, (config.seed, episode, order.index(camera))
                bar.update()
