"""One stage of annotating: what it needs to know of an episode, who does it, what it writes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from roboscape.annotate.flow.motion import as_values as motion_values
from roboscape.annotate.flow.motion import measure_flow
from roboscape.annotate.segments.protocol import (
    Segmenter,
    as_values,
    check_segments,
    recorded_motion,
)
from roboscape.core.errors import UserError
from roboscape.dataset.annotations import (
    AnnotationKind,
    Provenance,
    annotated_episodes,
    begin_annotation,
    write_depth,
    write_tracks,
    write_values,
)
from roboscape.dataset.depth_codec import DepthCodec
from roboscape.dataset.reader import LeRobotDataset

Frames = UInt8[np.ndarray, "t h w 3"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """A piece of work: one episode as seen by one camera."""

    camera: str
    episode: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """An annotator with its dataset; small when sent to another process."""

    kind: AnnotationKind
    """The kind of annotation that it makes."""
    make: Callable[[], Any]
    """Makes the annotator, in the process that uses it."""
    dataset: Path
    """The LeRobot dataset."""
    root: Path
    """The annotations folder."""
    gpu: bool = False
    """Whether the annotator wants an accelerator."""
    needs_frames: bool = True
    """Whether it looks at images; what reads numbers alone decodes nothing."""


@dataclass(frozen=True)
class With:
    """A backend with some of its settings; unlike a closure it can be sent to other processes."""

    backend: Any
    settings: dict[str, Any]

    def __call__(self) -> Any:
        """The annotator."""
        return self.backend(**self.settings)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The place and the number of workers; one worker works in this process, without Ray."""

    workers: int = 1
    """Annotating processes; more than one run on Ray."""
    address: str = ""
    """Ray cluster to work on, e.g. `auto` or `ray://host:10001`; needs a shared file system."""
    readers: int = 1
    """Processes of Ray that decode video for the annotators."""
    cpus_per_worker: float = 1.0
    """CPU cores that an annotator is given."""
    gpus_per_worker: float = 1.0
    """Accelerators that an annotator is given that wants one; a share packs several onto one."""
    attempts: int = 2
    """How often an episode is tried before its failure is written down."""

    def __post_init__(self) -> None:
        """Raise `UserError` where no worker is asked for."""
        if self.workers < 1 or self.readers < 1 or self.attempts < 1:
            raise UserError(
                f"workers, readers and attempts must be 1 or more, got {self.workers}, "
                f"{self.readers} and {self.attempts}"
            )

    @property
    def distributed(self) -> bool:
        """True if Ray is needed."""
        return self.workers > 1 or bool(self.address)


def begin(stage: Stage) -> str:
    """Write down who annotates and how; returns the annotator's name.

    Raises:
        ValueError: the annotator cannot be made here (weights to fetch, packages to install), or
            the folder holds annotations made with other settings.
    """
    annotator = stage.make()
    spec = LeRobotDataset(stage.dataset).spec
    of_depth = {}
    if stage.kind == "depth":
        codec = DepthCodec(minimum_m=spec.depth_min_m, maximum_m=spec.depth_max_m)
        of_depth = {"depth": codec, "fps": spec.fps}
    provenance = Provenance(
        kind=stage.kind,
        name=annotator.name,
        version=annotator.version,
        settings=annotator.settings,
        **of_depth,
    )
    begin_annotation(stage.root, provenance)
    return annotator.name


def missing_items(
    stage: Stage, dataset: LeRobotDataset, *, annotator: str, cameras: tuple[str, ...]
) -> list[Item]:
    """The items that this stage has not annotated yet, in order."""
    return [
        Item(camera=camera, episode=episode)
        for camera in cameras
        for episode in sorted(
            set(range(dataset.num_episodes))
            - annotated_episodes(stage.root, kind=stage.kind, annotator=annotator, camera=camera)
        )
    ]


def read_frames(stage: Stage, dataset: LeRobotDataset, item: Item) -> Frames | None:
    """The images that the stage looks at, if it looks at any."""
    return dataset.frames(item.episode, item.camera) if stage.needs_frames else None


def annotate_item(
    stage: Stage, annotator: Any, dataset: LeRobotDataset, item: Item, *, frames: Frames | None
) -> None:
    """Annotate one episode and write the result, whole or not at all."""
    where: Any = {"annotator": annotator.name, "camera": item.camera, "episode": item.episode}
    match stage.kind:
        case "tracks":
            write_tracks(stage.root, annotator.annotate(frames), **where)
        case "depth":
            write_depth(stage.root, annotator.annotate(frames), **where)
        case "cuts":
            cuts = annotator.annotate(frames)
            values = {"rows": list(cuts.rows), "probability": cuts.probability.round(4).tolist()}
            write_values(stage.root, values, kind="cuts", **where)
        case "motion":
            assert frames is not None
            motion = measure_flow(frames, annotator)
            write_values(stage.root, motion_values(motion), kind="motion", **where)
        case "segments":
            segments = segment(annotator, dataset, item, frames=frames)
            write_values(stage.root, as_values(segments), kind="segments", **where)
        case _:
            raise UserError(f"no stage makes {stage.kind} annotations")


def segment(
    segmenter: Segmenter, dataset: LeRobotDataset, item: Item, *, frames: Frames | None
) -> Any:
    """The segments of one episode, checked to cover it without overlap."""
    motion = recorded_motion(dataset, item.episode)
    segments = segmenter.annotate(frames, motion=motion)
    check_segments(segments, rows=len(motion.actions))
    return segments
