"""The results of an evaluation: plain records that survive a trip through `results.json`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roboscape.core.config import config_from_dict, save_config
from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.evaluate.metrics import MetricName
from roboscape.evaluate.statistics import Estimate
from roboscape.evaluate.tasks import TaskResult

RESULTS = "results.json"
LAYOUT = 2
"""Of `results.json`; a file of another layout is refused."""

Subject = Literal["model", "static", "static_decoded", "ceiling"]
SUBJECTS: tuple[Subject, ...] = ("model", "static", "static_decoded", "ceiling")
Curve = tuple[float | None, ...]
"""The mean over clips at each imagined frame 1, 2, ...; None where no clip has a value."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One subject's score in one row."""

    estimate: Estimate
    curve: Curve = ()
    """Empty for metrics of a whole video."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric against one reference, for everything that is compared."""

    name: MetricName
    reference: Literal["raw", "decoded", "codes"]
    """Recorded frames, the same through the tokenizer, or their tokens."""
    camera: str = ""
    """The one that was looked at, of several, or two as `one → other`; empty: the mean over all."""
    model: Measured | None = None
    """What was evaluated; None where the row is empty."""
    static: Measured | None = None
    """Floor: the given frame repeated, as recorded."""
    static_decoded: Measured | None = None
    """Floor: the given frame repeated, through the tokenizer."""
    ceiling: Measured | None = None
    """The true video through the tokenizer: what a model scores that predicts every token right. It
    is no bound: a blurred guess may be nearer to the truth than its decoded tokens."""

    @property
    def is_measured(self) -> bool:
        """True if there is anything in it."""
        return any(self.of(subject) for subject in SUBJECTS)

    def of(self, subject: Subject) -> Measured | None:
        """The score of one subject."""
        found: Measured | None = getattr(self, subject)
        return found


@dataclass(frozen=True, kw_only=True)
class ClipOutcome:
    """The outcome of a task metric in one clip."""

    truth: bool | None
    """Whether the event happens in the true video; None where the clip was left out."""
    predicted: bool | None
    """Whether it happens in the predicted one; None where the object was lost."""


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """The record of one clip (first seed)."""

    episode: int
    start: int = 0
    """Row of its given frame."""
    seed: int
    behaviour: str
    success: bool | None
    """Of the whole episode, as the dataset says."""
    psnr_db: float
    """Model against raw truth."""
    static_psnr_db: float
    ceiling_psnr_db: float | None
    """None for a model without tokens."""
    tasks: dict[str, ClipOutcome]
    """By the task metric's key."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The setting of a measurement: enough to do it again."""

    subject: str
    """The model's name."""
    checkpoint: str
    """Where it comes from."""
    parameters: int | None
    """Its number of weights, where it says so."""
    facts: dict[str, str]
    """What else it says about itself."""
    dataset: str
    split: str
    """The episodes' own, as the dataset says."""
    num_clips: int
    num_episodes: int = 0
    """Episodes that the clips are of; 0 in results of older versions, one a clip."""
    num_skipped: int
    """Episodes of the split that are too short for the horizon."""
    first_seed: int
    last_seed: int
    """The episodes' seeds, lowest and highest."""
    horizon: int
    """Predicted frames a clip."""
    stride: int
    frame_hz: float
    """Model frames a second."""
    camera: str
    """Of several their names, from top to bottom, with commas between them."""
    given_depth: bool
    """Whether the given frame comes with depth."""
    state_size: int
    """Numbers of the robot's state that are given with it."""
    commands: str
    """What to know about the actions, for example that they are recorded future poses."""
    seeds: tuple[int, ...]
    command: str
    commit: str
    machine: str
    versions: str
    date: str
    duration_s: float

    @property
    def what(self) -> str:
        """The clips in words, e.g. `16 clips of 2 validation episodes`."""
        episodes = self.num_episodes or self.num_clips
        words = f"{episodes} {self.split} episode{'s' if episodes != 1 else ''}"
        return words if episodes == self.num_clips else f"{self.num_clips} clips of {words}"


@dataclass(frozen=True, kw_only=True)
class Results:
    """Every number of an evaluation."""

    layout: int = LAYOUT
    setting: Setting
    rows: tuple[Row, ...]
    tasks: tuple[TaskResult, ...]
    tasks_missing: dict[str, str]
    """Why the other task metrics were not measured, by their title."""
    clips: tuple[ClipRecord, ...]

    def row(self, key: str, *, reference: str = "raw", camera: str = "") -> Row:
        """The row of a metric, of all cameras together or of one; an unknown one is a `ValueError`
        that lists the known ones."""
        for row in self.rows:
            if (row.name.key, row.reference, row.camera) == (key, reference, camera):
                return row
        known = sorted({f"{row.name.key} ({row.reference})" for row in self.rows})
        raise UserError(f"no row `{key}` ({reference}); there are: {', '.join(known)}")

    def task(self, key: str) -> TaskResult:
        """The findings of a task metric; an unmeasured one is a `ValueError`."""
        for task in self.tasks:
            if task.name.key == key:
                return task
        known = ", ".join(task.name.key for task in self.tasks) or "none"
        raise UserError(f"no task metric `{key}` was measured; there are: {known}")

    def save(self, folder: Path) -> None:
        """Write `results.json` into a folder."""
        save_config(self, folder / RESULTS)

    @classmethod
    def load(cls, folder: Path) -> "Results":
        """Read `results.json` back.

        Raises:
            ValueError: it was written by a version with another layout.
        """
        content = read_json(folder / RESULTS)
        layout = content.get("layout", 1)
        if layout != LAYOUT:
            raise UserError(
                f"{folder / RESULTS} has layout {layout}, this version reads layout {LAYOUT}; run "
                "`roboscape evaluate` again, with the command under setting.command in the file"
            )
        return config_from_dict(cls, content, where=str(folder / RESULTS))
