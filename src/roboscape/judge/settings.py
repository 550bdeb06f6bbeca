"""The settings of a judge's training or measuring: `roboscape train judge`."""

from dataclasses import dataclass, field
from pathlib import Path

from roboscape.core.device import AUTO
from roboscape.core.errors import UserError
from roboscape.training.learner import FitConfig
from roboscape.training.optimizer import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class JudgeRun:
    """A complete training of a success classifier: minutes on one core."""

    dataset: tuple[Path, ...]
    """LeRobot datasets with depth and a reward of 1 in rows that show success; their training
    splits are trained on. Episodes of all behaviours, those of failing policies (`roboscape collect
    policy`) among them: a judge that never saw a near miss does not find one."""
    validation: tuple[Path, ...] = ()
    """LeRobot datasets to calibrate and to measure on, half of their episodes each; the validation
    episodes of `dataset` where not given."""
    output: Path
    """Run folder; the judge itself ends in its `judge` folder."""
    checkpoint: str | None = None
    """Bundle that imagines the same episodes: the judge then learns imagined frames too, labelled
    by what happened in truth; recorded frames alone where not given."""
    camera: str = ""
    """Camera to read; the dataset's first one where not given."""
    stride: int = 4
    """Native rows from one frame to the next; of a checkpoint its own."""
    measure: str = ""
    """Folder, hub name or bundled name (`lift-judge`) of a trained judge: it is measured on all
    validation episodes, e.g. as another checkpoint imagines them, and nothing is trained."""
    imagined_episodes: int = 160
    """Training episodes of each dataset that are imagined, the first ones."""
    imagined_frames: int = 25
    """Frames of each, the given one included."""
    worlds: int = 16
    """Worlds imagined at a time."""
    frames: int = 2
    """Last frames that the judge reads."""
    reads_first: bool = False
    """Whether it reads the episode's first frame beside them: what has moved since is then to be
    seen, as of a drawer that stands elsewhere in every episode."""
    input_size: int = 64
    """Height and width that images are shrunk to."""
    finds_object: bool = True
    """Whether it learns when the object is not to be seen (Lift's cube, by its colour), so that
    verdicts can be unknown."""
    batch_size: int = 64
    """Frames a step."""
    seed: int = 0
    """Where all randomness comes from."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            kind="adamw", learning_rate=2e-3, weight_decay=1e-3, decay_fraction=0.7
        )
    )
    """How weights move."""
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=2500, log_every=50, evaluate_every=500, checkpoint_every=250
        )
    )
    """How long."""

    def __post_init__(self) -> None:
        """Refuse a training of nothing."""
        sizes = (self.stride, self.imagined_frames - 1, self.worlds, self.frames, self.batch_size)
        if min(sizes) < 1 or self.imagined_episodes < 0:
            raise UserError(f"expected sizes of 1 or more, got {self}")
