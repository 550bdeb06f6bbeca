"""Complete tokenizer trainings."""

from pathlib import Path

from roboscape.tokenizer.losses import TokenizerLossConfig
from roboscape.tokenizer.model import TokenizerConfig
from roboscape.tokenizer.train import TokenizerRun
from roboscape.training.loop import FitConfig
from roboscape.training.optimizer import OptimizerConfig


def debug() -> TokenizerRun:
    """Seconds on a laptop: proves that everything runs, and learns almost nothing."""
    return TokenizerRun(
        dataset=Path("data/lift_train"),
        validation=Path("data/lift_validation"),
        output=Path("runs/tokenizer_debug"),
        validation_episodes=2,
        batch_size=4,
        model=TokenizerConfig(
            encoder_width=16,
            decoder_width=32,
            decoder_blocks=1,
            decoder_heads=2,
            convolution_width=16,
            convolution_blocks=1,
        ),
        optimizer=OptimizerConfig(warmup_steps=2),
        fit=FitConfig(steps=20, log_every=5, evaluate_every=20, checkpoint_every=10),
    )


def lift() -> TokenizerRun:
    """Half an hour on two CPU cores: robosuite Lift at 128 pixels."""
    return TokenizerRun(
        dataset=Path("data/lift_train"),
        validation=Path("data/lift_validation"),
        output=Path("runs/tokenizer_lift"),
        model=TokenizerConfig(depth_min_m=0.3, depth_max_m=3.0, convolution_blocks=1),
        # A weak push to use all codes: tokens of a scene at rest stay the same, and none collapses.
        loss=TokenizerLossConfig(entropy=0.0005, commitment=0.25),
        fit=FitConfig(steps=1800, evaluate_every=300, checkpoint_every=100),
    )


PRESETS = {"debug": debug, "lift": lift}
