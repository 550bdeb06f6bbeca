"""What an evaluation found: plain records that survive a trip through `results.json`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roboscape.core.config import load_config, save_config
from roboscape.evaluate.cube import CubeTest
from roboscape.evaluate.metrics import MetricName
from roboscape.evaluate.statistics import Estimate

RESULTS = "results.json"

Subject = Literal["model", "static", "static_decoded", "ceiling"]
SUBJECTS: tuple[Subject, ...] = ("model", "static", "static_decoded", "ceiling")
Curve = tuple[float | None, ...]
"""The mean over clips at each imagined frame 1, 2, ...; None where no clip has a value."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One subject's score in one row."""

    estimate: Estimate
    curve: Curve = ()
    """Empty for metrics that judge a whole video."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric against one reference, for everything that is compared."""

    name: MetricName
    reference: Literal["raw", "decoded", "codes"]
    """Recorded frames, the same through the tokenizer, or their tokens."""
    model: Measured | None = None
    """The world model; None where the row is empty."""
    static: Measured | None = None
    """Floor: the given frame repeated, as recorded."""
    static_decoded: Measured | None = None
    """Floor: the given frame repeated, through the tokenizer."""
    ceiling: Measured | None = None
    """The true video through the tokenizer: no world model on this tokenizer can pass it."""

    def of(self, subject: Subject) -> Measured | None:
        """The score of one subject."""
        found: Measured | None = getattr(self, subject)
        return found


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """What happened in one clip (first seed)."""

    episode: int
    seed: int
    behaviour: str
    success: bool | None
    """Of the whole episode, as the dataset says."""
    psnr_db: float
    """Model against raw truth."""
    static_psnr_db: float
    ceiling_psnr_db: float
    cube_rose: bool | None = None
    """In the true video, by the cube rule; None where the clip was left out or not tested."""
    cube_rose_imagined: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How it was measured: enough to do it again."""

    checkpoint: str
    dataset: str
    split: str
    """By the episodes' seeds: only seeds from 900000 on are called test."""
    num_clips: int
    num_skipped: int
    """Episodes of the split that are too short for the horizon."""
    first_seed: int
    last_seed: int
    """The episodes' seeds, lowest and highest."""
    horizon: int
    """Imagined frames a clip."""
    stride: int
    frame_hz: float
    """Model frames a second."""
    camera: str
    seeds: tuple[int, ...]
    temperature: float
    refinement_steps: int
    world_model_parameters: int
    tokenizer_parameters: int
    command: str
    commit: str
    machine: str
    versions: str
    date: str
    duration_s: float
    number_format: str = "float32"
    """What the world model's hidden layers computed in."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Every number of an evaluation."""

    setting: Setting
    rows: tuple[Row, ...]
    cube: CubeTest | None
    """None where the scene has no Lift cube or the model imagines no depth."""
    cube_missing: str
    """Why there is no cube test."""
    clips: tuple[ClipRecord, ...]

    def row(self, key: str, *, reference: str = "raw") -> Row:
        """The row of a metric; an unknown one is a `ValueError` that lists the known ones."""
        for row in self.rows:
            if row.name.key == key and row.reference == reference:
                return row
        known = sorted({f"{row.name.key} ({row.reference})" for row in self.rows})
        raise ValueError(f"no row `{key}` ({reference}); there are: {', '.join(known)}")

    def save(self, folder: Path) -> None:
        """Write `results.json` into a folder."""
        save_config(self, folder / RESULTS)

    @classmethod
    def load(cls, folder: Path) -> "Results":
        """Read `results.json` back."""
        return load_config(cls, folder / RESULTS)
