"""Depth and tracks that a study trains on in the place of the truth, made from it once.

They are kept in a copy of the dataset that consists of links and an annotations folder of its own,
so that the dataset itself is not changed.
"""

from dataclasses import dataclass
from pathlib import Path

from roboscape.annotate.perturb.depth import DepthErrors
from roboscape.annotate.perturb.perturb import Perturb
from roboscape.annotate.perturb.perturb import run as perturb
from roboscape.annotate.perturb.tracks import TrackErrors
from roboscape.annotate.pipeline import Annotate
from roboscape.annotate.pipeline import run as annotate
from roboscape.core.errors import UserError
from roboscape.dataset.annotations import NONE, SIMULATOR
from roboscape.dataset.depth_choice import RECORDED

ANNOTATIONS = "annotations"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The source of depth and tracks; the truth where nothing else is named."""

    depth: DepthErrors | None = None
    """Errors planted in true depth."""
    tracks: TrackErrors | None = None
    """Errors planted in true tracks."""
    tracker: str = ""
    """Name of a tracker whose tracks are taken."""

    def __post_init__(self) -> None:
        """Refuse two sources of tracks."""
        if self.tracks is not None and self.tracker:
            raise UserError("tracks are the truth with errors, or a tracker's, not both")

    @property
    def perturbed(self) -> bool:
        """True if any error is planted."""
        return self.depth is not None or self.tracks is not None

    def depth_source(self, name: str) -> str:
        """The value of `tokenize --depth` for labels of this name."""
        return RECORDED if self.depth is None else name

    def tracks_source(self, name: str) -> str:
        """The value of `tokenize --tracks` for labels of this name."""
        return self.tracker or (SIMULATOR if self.tracks is None else name)


TRUE = Labels()
"""As recorded."""


def labelled_dataset(
    dataset: Path, folder: Path, *, name: str, labels: Labels, camera: str
) -> Path:
    """A dataset's linked copy, with labels of this name among its annotations; goes on where it
    stopped."""
    view = linked_copy(dataset, folder / dataset.name)
    if labels.perturbed:
        perturb(
            Perturb(
                dataset=view,
                name=name,
                depth=labels.depth or DepthErrors(),
                tracks=labels.tracks or TrackErrors(),
                cameras=(camera,),
            )
        )
    if labels.tracker:
        annotate(Annotate(dataset=view, tracks=labels.tracker, depth=NONE, cameras=(camera,)))
    return view


def linked_copy(dataset: Path, copy: Path) -> Path:
    """A folder of links to a dataset's parts, but for its annotations folder, which is a folder of
    its own with a link to the true tracks."""
    if not (dataset / "meta").is_dir():
        raise UserError(f"expected a LeRobot dataset at {dataset}, found no folder `meta`")
    (copy / ANNOTATIONS).mkdir(parents=True, exist_ok=True)
    parts = [part for part in dataset.iterdir() if part.name != ANNOTATIONS]
    truth = dataset / ANNOTATIONS / f"tracks_{SIMULATOR}"
    for part in parts:
        link(part, copy / part.name)
    if truth.is_dir():
        link(truth, copy / ANNOTATIONS / truth.name)
    return copy


def link(target: Path, place: Path) -> None:
    """A link, if there is nothing yet."""
    if not place.exists():
        place.symlink_to(target.resolve())
