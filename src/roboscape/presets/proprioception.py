"""Complete trainings of imagined proprioception."""

from pathlib import Path

from roboscape.controls.train import ProprioceptionRun
from roboscape.training.loop import FitConfig
from roboscape.training.optimizer import OptimizerConfig


def debug() -> ProprioceptionRun:
    """Seconds on a laptop: proves that everything runs, and learns almost nothing."""
    return ProprioceptionRun(
        dataset=Path("data/lift_train"),
        validation=Path("data/lift_validation"),
        output=Path("runs/proprioception_debug"),
        width=16,
        rows=8,
        batch_size=4,
        validation_sequences=4,
        optimizer=OptimizerConfig(kind="adamw", warmup_steps=2),
        fit=FitConfig(steps=20, log_every=5, evaluate_every=20, checkpoint_every=10),
    )


def lift() -> ProprioceptionRun:
    """Five minutes on one CPU core: robosuite Lift, 20 Hz."""
    return ProprioceptionRun(
        dataset=Path("data/lift_train"),
        validation=Path("data/lift_validation"),
        output=Path("runs/proprioception_lift"),
        fit=FitConfig(
            steps=3000, log_every=50, evaluate_every=500, checkpoint_every=250, average_decay=0.99
        ),
    )


PRESETS = {"debug": debug, "lift": lift}
