"""Complete trainings of the world model."""

from dataclasses import replace
from pathlib import Path

from roboscape.clips.curriculum import CurriculumConfig
from roboscape.training.learner import StopConfig
from roboscape.training.loop import FitConfig
from roboscape.training.optimizer import OptimizerConfig
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.losses import LossConfig
from roboscape.world_model.objective import MaskingConfig
from roboscape.world_model.train import WorldModelRun


def debug() -> WorldModelRun:
    """Seconds on a laptop: proves that everything runs, and learns almost nothing."""
    return WorldModelRun(
        tokens=Path("data/lift_tokens"),
        output=Path("runs/world_model_debug"),
        batch_size=2,
        validation_clips=2,
        model=WorldModelConfig(num_layers=2, width=32, heads=2),
        optimizer=OptimizerConfig(warmup_steps=2),
        fit=FitConfig(steps=20, log_every=5, evaluate_every=20, checkpoint_every=10),
    )


def lift() -> WorldModelRun:
    """An hour or two on a CPU: robosuite Lift, 16 x 16 tokens a frame, 5 Hz."""
    return WorldModelRun(
        tokens=Path("data/lift_tokens"),
        output=Path("runs/world_model_lift"),
        batch_size=4,
        # Four tokens are one position: the paper's token grid at an eighth of its attention.
        model=WorldModelConfig(
            num_layers=4, width=128, heads=4, patch=2, factors=3, control_field=256
        ),
        # Rollouts take one pass a frame by default, so most rows train exactly that.
        masking=MaskingConfig(fully_masked=0.8),
        loss=LossConfig(keypoints=64),
        optimizer=OptimizerConfig(learning_rate=6e-3, muon_learning_rate=0.02, warmup_steps=50),
        fit=FitConfig(steps=6000, evaluate_every=500, checkpoint_every=100, average_decay=0.998),
    )


def general() -> WorldModelRun:
    """The lift model on several robots in the common form: a start for others."""
    run = lift()
    return replace(
        run,
        tokens=Path("data/general_tokens"),
        output=Path("runs/world_model_general"),
        # Without it fewer tokens of held-out scenes were right than in a copy of the frame before.
        model=replace(run.model, copy_previous=True),
        fit=replace(run.fit, steps=1100, evaluate_every=275),
    )


def metaworld() -> WorldModelRun:
    """The lift model on many tasks of Meta-World at 10 Hz, given each clip's task in words."""
    run = lift()
    return replace(
        run,
        tokens=Path("data/metaworld_tokens"),
        output=Path("runs/world_model_metaworld"),
        # Most of every scene rests. Measured with it alone (docs/generalisation.md).
        model=replace(run.model, copy_previous=True),
    )


def fine_tuning(run: WorldModelRun) -> WorldModelRun:
    """The same training for a start that has learnt already: short, ended by validation."""
    return replace(
        run,
        # At the rates of a new model: lower ones only lost time (docs/decisions.md).
        optimizer=replace(run.optimizer, warmup_steps=20),
        fit=replace(
            run.fit,
            steps=min(run.fit.steps, 1000),
            evaluate_every=100,
            checkpoint_every=100,
            average_decay=0.98,
            # What is shown are beliefs, which overconfidence spoils: so the loss, not the share of
            # right tokens, by which copying the last frame is hard to beat (docs/decisions.md).
            stop=StopConfig(figure="rgb_loss", after=4),
        ),
    )


def shortened(run: WorldModelRun, *, steps: int) -> WorldModelRun:
    """The same training in so few steps: what it counts in steps is fitted to their number."""
    return replace(
        run,
        optimizer=replace(run.optimizer, warmup_steps=min(50, max(1, steps // 8))),
        masking=replace(run.masking, self_predicted_after=steps // 2),
        fit=replace(
            run.fit,
            steps=steps,
            evaluate_every=steps,
            checkpoint_every=steps,
            # The preset's average remembers 500 steps, which is more than a short run has.
            average_decay=0.99,
        ),
    )


def genie() -> WorldModelRun:
    """The Genie baseline at Lift's size: plain masked objective, no physical knowledge."""
    lift_run = lift()
    return replace(
        lift_run,
        output=Path("runs/world_model_genie"),
        model=replace(lift_run.model, objective="masked", branches="rgb"),
        loss=LossConfig(depth=0.0, keypoint=0.0, attention=0.0),
    )


def small() -> WorldModelRun:
    """RoboScape-S: 32 blocks, width 256, 16 x 16 tokens; 34M parameters in one branch."""
    return paper_size(width=256, heads=8, name="small")


def medium() -> WorldModelRun:
    """RoboScape-M: width 512; 131M parameters in one branch."""
    return paper_size(width=512, heads=8, name="medium")


def large() -> WorldModelRun:
    """RoboScape-L: width 1024; 544M parameters in one branch."""
    return paper_size(width=1024, heads=16, name="large")


def paper_size(*, width: int, heads: int, name: str) -> WorldModelRun:
    """A size of the paper's, for GPUs, taught as the paper's: easy clips, then hard ones."""
    return WorldModelRun(
        tokens=Path("data/tokens"),
        output=Path(f"runs/world_model_{name}"),
        model=WorldModelConfig(num_layers=32, width=width, heads=heads, grid=(16, 16)),
        curriculum=CurriculumConfig(on=True),
        fit=FitConfig(steps=100_000, evaluate_every=2_000, checkpoint_every=1_000),
    )


PRESETS = {
    "debug": debug,
    "lift": lift,
    "general": general,
    "metaworld": metaworld,
    "genie": genie,
    "small": small,
    "medium": medium,
    "large": large,
}
