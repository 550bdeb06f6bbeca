"""The settings of a compact policy's training: `roboscape train policy compact`."""

from dataclasses import dataclass, field
from pathlib import Path

from roboscape.core.device import AUTO
from roboscape.core.errors import UserError
from roboscape.core.precision import Precision
from roboscape.training.learner import FitConfig
from roboscape.training.optimizer import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class CompactPolicyRun:
    """Train a small policy on the successful episodes of a dataset, in well under an hour."""

    dataset: Path
    """LeRobot dataset; the successful episodes of its training split are the demonstrations."""
    more: tuple[Path, ...] = ()
    """Further datasets with the same cameras, states and actions, e.g. imagined ones."""
    validation: Path | None = None
    """LeRobot dataset to measure on; the first one's validation episodes where not given, and
    nothing is measured where it has none."""
    output: Path
    """Run folder; the policy itself ends in its `policy` folder."""
    cameras: tuple[str, ...] = ()
    """Cameras that it reads; the dataset's first one where none is named."""
    demonstrations: tuple[int, ...] = ()
    """At most so many demonstrations of each dataset, the first ones; empty: all of them."""
    tokenizer: str = ""
    """Tokenizer whose tokens it reads in place of pixels, e.g. `lift/tokenizer`: in worlds imagined
    in these tokens no picture need be drawn for it. Empty: it reads pixels."""
    reader: str = ""
    """State reader or object reader of these tokens that its features begin as, e.g.
    `lift/object_reader`: it knows already where things are. Empty: they begin as random ones."""
    hidden_tokens: float = 0.1
    """Share of tokens that are hidden from it in training."""
    every_row: bool = True
    """Whether a sample begins in every native row of recordings; otherwise only where the frames of
    the policy's rate lie, as in imagined episodes, which have no others."""
    state: bool = True
    """Whether it reads the robot's state."""
    frame_hz: float = 5.0
    """Frames a second that it reads, as many as the simulator that it will act in shows."""
    frames: int = 2
    """Frames that it reads at once."""
    chunk: int = 16
    """Native actions that it gives at once."""
    executed: int = 8
    """Actions of a chunk that are taken before it is asked again."""
    batch_size: int = 64
    """Samples a step."""
    brightness: float = 0.15
    """Largest change of brightness and contrast in training, as a share of the full range."""
    seed: int = 0
    """Where all randomness comes from."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    precision: Precision = "auto"
    """Number format of the passes; `auto` measures which is fast."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            kind="adamw", learning_rate=1e-3, weight_decay=1e-4, warmup_steps=100
        )
    )
    """How weights move."""
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(
            steps=8000, log_every=50, evaluate_every=500, checkpoint_every=500, average_decay=0.998
        )
    )
    """How long."""

    def __post_init__(self) -> None:
        """Refuse empty batches."""
        if self.reader and not self.tokenizer:
            raise UserError(
                f"a reader ({self.reader}) reads tokens; give the --tokenizer that makes them too"
            )
        if not 0 <= self.hidden_tokens < 1:
            raise UserError(f"expected 0 <= hidden_tokens < 1, got {self.hidden_tokens:g}")
        if self.batch_size < 1 or any(count < 1 for count in self.demonstrations):
            raise UserError(
                f"expected batch_size >= 1 and demonstrations >= 1, got {self.batch_size} and "
                f"{self.demonstrations}"
            )
        if len(self.demonstrations) not in (0, 1 + len(self.more)):
            raise UserError(
                f"expected a number of demonstrations for each of {1 + len(self.more)} datasets, "
                f"got {len(self.demonstrations)}"
            )
