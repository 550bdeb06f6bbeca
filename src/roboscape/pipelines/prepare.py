"""`roboscape prepare`: from a folder of recordings to annotated, filtered, graded clips."""

import logging
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from roboscape.annotate.backends import RECORDED
from roboscape.annotate.pipeline import Annotate
from roboscape.annotate.pipeline import run as annotate
from roboscape.clips.card import Card
from roboscape.clips.card import run as write_card
from roboscape.clips.index import IndexClips
from roboscape.clips.index import run as index_clips
from roboscape.core.errors import UserError
from roboscape.core.pretrained import read_config, resolve
from roboscape.dataset.annotations import NONE
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import CameraSpec
from roboscape.dataset.splits import (
    SPLITS_FILE,
    SplitChoice,
    SplitShares,
    complete_splits,
    read_splits,
    save_splits,
)
from roboscape.inspection.inspect import Inspect
from roboscape.inspection.inspect import run as inspect
from roboscape.pipelines.pipeline import Stages
from roboscape.rollout.bundle import TOKENIZER
from roboscape.sources.readers.importing import ImportRecordings
from roboscape.sources.readers.importing import run as import_recordings
from roboscape.sources.readers.protocol import FORMAT_HELP, FilledCommands
from roboscape.tokenizer.model import TokenizerConfig

log = logging.getLogger(__name__)

GENERAL = "general"
"""The bundle to learn from recordings of any robot with."""


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Import recordings, check them, annotate, cut and filter clips, and draw their card.

    Every stage goes on where it stopped, and can be run alone with more settings.
    """

    format: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(help=f"`lerobot` for a dataset that needs no import; {FORMAT_HELP}"),
    ]
    """`lerobot`, a name of `READERS`, or the path of a Python file with a reader."""
    source: tyro.conf.Positional[Path]
    """File or folder that holds the recordings."""
    output: Path | None = None
    """Folder of the dataset; not for `lerobot`, whose annotations go beside it."""
    camera: str | None = None
    """The one camera that is annotated and that the model sees; the first where not given."""
    image_size: int = 128
    """Side of the square images that an import writes."""
    frame_hz: float = 5.0
    """Frames a second that the model imagines; the nearest rate that the recordings allow."""
    length: int = 16
    """Frames of a clip."""
    validation: float = 0.05
    """Share of the episodes for validation, at least one of two, where the recordings do not name
    their split; a LeRobot dataset gets an `annotations/splits.json`."""
    test: float = 0.05
    """Share of the episodes for tests."""
    commands: FilledCommands | None = None
    """What stands in for commands that were not recorded, see `roboscape import --help`."""
    depth: str | None = None
    """The annotator that estimates depth (docs/annotators.md); `none`; where not given: recorded
    depth, if there is any."""
    tracks: str = "lucas_kanade"
    """The annotator that tracks points; clips are filtered by their motion."""
    cuts: str = "transnet_v2"
    """The annotator that finds camera cuts; `none`."""
    motion: str = "dis"
    """The annotator that measures optical flow, which shows still and disordered clips; `none`."""
    segments: str = "kinematic"
    """The annotator that cuts episodes into action segments; `none`."""
    workers: int = 2
    """Processes that read and decode."""

    def __post_init__(self) -> None:
        """Refuse settings with which a later stage would fail."""
        if (self.format == "lerobot") != (self.output is None):
            raise UserError(
                "expected --output, the folder of the dataset, for every format but `lerobot`, "
                f"whose datasets are used in place; got format {self.format}, output {self.output}"
            )
        _ = SplitShares(validation=self.validation, test=self.test)
        if self.frame_hz <= 0:
            raise UserError(f"expected --frame-hz above 0, got {self.frame_hz}")
        if self.tracks == NONE:
            raise UserError(
                "expected --tracks to name an annotator, got `none`: clips are filtered by the "
                "motion of tracks"
            )


def run(config: Prepare) -> Path:
    """Run every stage; returns the card."""
    stages = Stages(total=5)
    folder = config.output or config.source
    stages.begin("Import" if config.output else "Nothing to import: the dataset is used in place")
    if config.output:
        import_recordings(import_of(config, output=config.output))
    dataset = LeRobotDataset(folder)
    if not config.output:
        choose_splits(dataset, SplitShares(validation=config.validation, test=config.test))
    camera = chosen_camera(dataset, config.camera)
    stride = stride_that_fits(dataset, frame_hz=config.frame_hz, length=config.length)
    stages.begin("Look for what is wrong")
    inspect(Inspect(dataset=folder, video=True))
    depth = config.depth or (RECORDED if camera.has_depth else NONE)
    stages.begin("Annotate")
    annotate(
        Annotate(
            dataset=folder,
            cameras=(camera.name,),
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
            camera=camera.name,
            length=config.length,
            stride=stride,
            tracks=config.tracks,
            cuts=config.cuts,
            motion=config.motion,
            segments=config.segments,
        )
    )
    stages.begin("Draw the card")
    card = write_card(Card(dataset=folder))
    log.info("\nLook at the card: %s\nThen: %s", card, learn_command(folder, camera=camera))
    return card


def learn_command(folder: Path, *, camera: CameraSpec) -> str:
    """The command that learns from a prepared dataset: from the bundle `general`, where its images
    have that bundle's size."""
    command = f"roboscape learn {shlex.quote(str(folder))}"
    size = read_config(TokenizerConfig, resolve(GENERAL) / TOKENIZER).image_size
    if (camera.height, camera.width) == (size, size):
        command += f" --from {GENERAL}"
    return f"{command} --output {shlex.quote(f'runs/{folder.name}')}"


def import_of(config: Prepare, *, output: Path) -> ImportRecordings:
    """Settings of the first stage."""
    return ImportRecordings(
        format=config.format,
        source=config.source,
        output=output,
        image_size=config.image_size,
        validation=config.validation,
        test=config.test,
        commands=config.commands,
        workers=config.workers,
    )


def chosen_camera(dataset: LeRobotDataset, name: str | None) -> CameraSpec:
    """The named camera, or the first; logs the choice where there are several."""
    cameras = {camera.name: camera for camera in dataset.spec.cameras}
    if name is None:
        name = dataset.spec.cameras[0].name
    if name not in cameras:
        raise UserError(f"{dataset.root} has no camera {name}; it has {', '.join(cameras)}")
    if len(cameras) > 1:
        log.info("of the cameras %s the model sees %s (--camera)", ", ".join(cameras), name)
    return cameras[name]


def choose_splits(dataset: LeRobotDataset, shares: SplitShares) -> None:
    """Hold episodes out of a dataset used in place, and keep the choice in `splits.json`.

    What a user has chosen stays, and so does what the dataset's own metadata says. Of a part of a
    dataset on a hub, the episodes have the splits that the rule gives them in the whole.

    Raises:
        ValueError: it has fewer than two episodes; or splits were chosen with other shares.
    """
    root, count = dataset.root, dataset.num_episodes
    chosen = read_splits(root)
    if chosen is not None:
        if chosen.shares != shares:
            raise UserError(
                f"{root / SPLITS_FILE} was made with {chosen.shares}, asked for {shares}; give "
                "those shares, or delete the file to choose anew"
            )
        return
    if dataset.names_splits or dataset.is_part:
        return
    if count < 2:
        raise UserError(
            f"{root} has {count} episode; training needs one and validation another: record more"
        )
    splits = complete_splits([None] * count, shares)
    save_splits(root, SplitChoice(shares=shares, splits=tuple(splits)))
    log.info("%s: %s", root / SPLITS_FILE, dict(Counter(splits)))


def stride_that_fits(dataset: LeRobotDataset, *, frame_hz: float, length: int) -> int:
    """Rows from one frame of the model to the next; warns where the rate is not the one asked for.

    Raises:
        ValueError: no episode to train on, or none to validate on, is long enough for a clip.
    """
    fps = dataset.spec.fps
    stride = max(1, round(fps / frame_hz))
    if abs(fps / stride - frame_hz) > 0.01 * frame_hz:
        log.warning(
            "asked for %g frames a second, the recordings have %g rows a second: every %srow is "
            "taken, which makes %.4g frames a second",
            frame_hz,
            fps,
            f"{stride}th " if stride > 1 else "",
            fps / stride,
        )
    needed = (length - 1) * stride + 1
    infos = [dataset.episode_info(number) for number in range(dataset.num_episodes)]
    for split in ("train", "validation"):
        longest = max((info.length for info in infos if info.split == split), default=0)
        if longest < needed:
            fitting = 1 + max(longest - 1, 0) // stride
            raise UserError(
                f"no {split} episode of {dataset.root} is long enough for clips of {length} frames "
                f"at {fps / stride:g} Hz: that takes {needed} rows, the longest has {longest}. Use "
                f"--length {fitting} or less, a higher --frame-hz, longer recordings, or other "
                "splits (--validation)"
            )
    return stride
