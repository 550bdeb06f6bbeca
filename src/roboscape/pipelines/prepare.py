"""`roboscape prepare`: from a folder of recordings to annotated, filtered, graded clips."""

import logging
from dataclasses import dataclass
from pathlib import Path

import tyro

from roboscape.annotate.backends import RECORDED
from roboscape.annotate.pipeline import NONE, Annotate
from roboscape.annotate.pipeline import run as annotate
from roboscape.clips.card import Card
from roboscape.clips.card import run as write_card
from roboscape.clips.index import IndexClips
from roboscape.clips.index import run as index_clips
from roboscape.dataset.reader import LeRobotDataset
from roboscape.inspection.inspect import Inspect
from roboscape.inspection.inspect import run as inspect
from roboscape.pipelines.pipeline import TRACKER, Stages, model_stride
from roboscape.sources.readers.importing import ImportRecordings
from roboscape.sources.readers.importing import run as import_recordings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Import recordings, check them, annotate, cut and filter clips, and draw their card.

    Every stage goes on where it stopped, and can be run alone with more settings.
    """

    format: tyro.conf.Positional[str]
    """What the recordings are: one that `roboscape import` reads, or `lerobot` for a dataset that
    needs no import."""
    source: tyro.conf.Positional[Path]
    """File or folder that holds the recordings."""
    output: Path | None = None
    """Folder of the dataset; not for `lerobot`, whose annotations go beside it."""
    image_size: int = 128
    """Side of the square images that an import writes."""
    frame_hz: float = 5.0
    """Frames a second that the model shall imagine; a clip takes every so-and-so-many rows."""
    length: int = 16
    """Frames of a clip."""
    validation: float = 0.05
    """Share of the episodes that an import keeps for validation."""
    test: float = 0.05
    """Share of the episodes that an import keeps for tests."""
    depth: str | None = None
    """Who estimates depth (docs/annotators.md); `none`; where not given: the recorded one, if there
    is any."""
    tracks: str = TRACKER
    """Who tracks points."""
    cuts: str = "transnet_v2"
    """Who finds camera cuts; `none`."""
    motion: str = "dis"
    """Who measures optical flow, which tells still and disordered clips; `none`."""
    segments: str = "kinematic"
    """Who slices by action; `none`."""
    workers: int = 2
    """Processes that read and decode."""

    def __post_init__(self) -> None:
        """Refuse an output that would not be written, and a missing one."""
        if (self.format == "lerobot") != (self.output is None):
            raise ValueError(
                "expected --output, the folder of the dataset, for every format but `lerobot`, "
                f"whose datasets are used in place; got format {self.format}, output {self.output}"
            )
        if self.frame_hz <= 0:
            raise ValueError(f"expected --frame-hz above 0, got {self.frame_hz}")


def run(config: Prepare) -> Path:
    """Run every stage; returns the card."""
    stages = Stages(total=5)
    folder = config.output or config.source
    stages.begin("Import" if config.output else "Nothing to import: the dataset is used in place")
    if config.output:
        import_recordings(import_of(config, output=config.output))
    stages.begin("Look for what is wrong")
    inspect(Inspect(dataset=folder, video=True))
    spec = LeRobotDataset(folder).spec
    depth = config.depth or (RECORDED if spec.cameras[0].has_depth else NONE)
    stages.begin("Annotate")
    annotate(
        Annotate(
            dataset=folder,
            tracks=config.tracks,
            depth=depth,
            cuts=config.cuts,
            motion=config.motion,
            segments=config.segments,
        )
    )
    stages.begin("Cut, filter and grade clips")
    index_clips(
        IndexClips(
            dataset=folder,
            length=config.length,
            stride=model_stride(spec.fps, frame_hz=config.frame_hz),
            tracks=config.tracks,
            cuts=named(config.cuts),
            motion=named(config.motion),
            segments=named(config.segments),
        )
    )
    stages.begin("Draw the card")
    card = write_card(Card(dataset=folder))
    log.info(
        "\nLook at the card: %s\n"
        "Then: roboscape learn %s --output runs/%s --frame-hz %g --length %d --tracks %s",
        card,
        folder,
        folder.name,
        config.frame_hz,
        config.length,
        config.tracks,
    )
    return card


def import_of(config: Prepare, *, output: Path) -> ImportRecordings:
    """The first stage."""
    return ImportRecordings(
        format=config.format,
        source=config.source,
        output=output,
        image_size=config.image_size,
        validation=config.validation,
        test=config.test,
        workers=config.workers,
    )


def named(backend: str) -> str:
    """How the clip index names a backend: empty where there is none."""
    return "" if backend == NONE else backend
