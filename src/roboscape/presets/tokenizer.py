"""Complete tokenizer trainings."""

from dataclasses import replace
from pathlib import Path

from roboscape.tokenizer.losses import TokenizerLossConfig
from roboscape.tokenizer.model import TokenizerConfig
from roboscape.tokenizer.train import TokenizerRun
from roboscape.training.learner import StopConfig
from roboscape.training.loop import FitConfig
from roboscape.training.optimizer import OptimizerConfig


def debug() -> TokenizerRun:
    """Seconds on a laptop: proves that everything runs, and learns almost nothing."""
    return TokenizerRun(
        dataset=(Path("data/lift_train"),),
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
    """Half an hour on one CPU core: robosuite Lift at 128 pixels to the paper's 16 x 16 tokens."""
    return TokenizerRun(
        dataset=(Path("data/lift_train"),),
        validation=Path("data/lift_validation"),
        output=Path("runs/tokenizer_lift"),
        # Many small steps: at equal time 8 images a step beat 32 by 2 dB (docs/decisions.md).
        batch_size=8,
        model=TokenizerConfig(
            downsampling=8,
            code_groups=3,
            decoder_merge=2,
            decoder_blocks=2,
            convolution_width=96,
            convolution_blocks=2,
            depth_min_m=0.3,
            depth_max_m=3.0,
            # Where nothing has changed the decoder takes over the given frame's pixels.
            given_frame=True,
        ),
        # A weak push to use all codes: tokens of a scene at rest stay the same, and none collapses.
        loss=TokenizerLossConfig(entropy=0.0005, commitment=0.25),
        optimizer=OptimizerConfig(learning_rate=1e-3, muon_learning_rate=0.005),
        fit=FitConfig(steps=5500, log_every=50, evaluate_every=500, checkpoint_every=250),
    )


def general() -> TokenizerRun:
    """For scenes never seen before: drawn ones, simulators in random colours, real recordings."""
    lift_run = lift()
    return replace(
        lift_run,
        dataset=tuple(Path("data/general") / name for name in GENERAL),
        validation=None,
        output=Path("runs/tokenizer_general"),
        # The recordings are in the common form, already thinned.
        stride=1,
        procedural_scenes=800,
        balance=0.5,
        validation_episodes=12,
        fit=replace(lift_run.fit, steps=4500, evaluate_every=750),
        # From a hand's camera to the wall of a laboratory.
        model=replace(lift_run.model, depth_min_m=0.05, depth_max_m=10.0),
    )


def metaworld() -> TokenizerRun:
    """Many tasks of Meta-World at 128 pixels, as `recipes/metaworld.sh` collects them."""
    lift_run = lift()
    return replace(
        lift_run,
        dataset=(Path("data/metaworld_train"),),
        validation=Path("data/metaworld_validation"),
        output=Path("runs/tokenizer_metaworld"),
        stride=8,
        # The camera's nearest pixel is .56 m away; a quarter show no thing within 6 m, its limit.
        model=replace(lift_run.model, depth_min_m=0.4, depth_max_m=6.0),
    )


def fine_tuning(run: TokenizerRun) -> TokenizerRun:
    """The same training for a start that has learnt already: short, ended by validation."""
    return replace(
        run,
        # It knows codes: the given frame can be shown from the first step on.
        given_from=0.0,
        optimizer=replace(
            run.optimizer, learning_rate=3e-4, muon_learning_rate=0.0015, warmup_steps=20
        ),
        fit=replace(
            run.fit,
            steps=min(run.fit.steps, 600),
            evaluate_every=100,
            checkpoint_every=100,
            stop=StopConfig(figure="psnr", better="higher", after=3),
        ),
    )


GENERAL = (
    "metaworld_random",
    "metaworld_random_validation",
    "lift_random",
    "metaworld",
    "lift",
    "droid",
    "bridge",
    "bair",
    "metaworld_npz",
)
"""Recordings that `recipes/general.sh` makes, below `data/general`."""
PRESETS = {"debug": debug, "lift": lift, "general": general, "metaworld": metaworld}
