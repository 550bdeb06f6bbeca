"""`roboscape demo`: the whole path in minutes, starting from the released checkpoint."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from roboscape.core.pretrained import resolve
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.evaluate import EvaluationSettings, evaluate
from roboscape.evaluate.headline import text_table
from roboscape.evaluate.report import write_report
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.pipelines.pipeline import (
    Amount,
    Stages,
    collect,
    cut_clips,
    write_tokens,
)
from roboscape.presets.world_model import lift
from roboscape.rollout.bundle import TOKENIZER, WORLD_MODEL, Bundle
from roboscape.training.loop import FitConfig
from roboscape.training.optimizer import OptimizerConfig
from roboscape.world_model.model import WorldModel
from roboscape.world_model.train import train as train_world_model

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Collect fresh episodes, annotate, tokenize, fine-tune, imagine held-out ones, report."""

    output: Path = Path("runs/demo")
    """Where everything goes; running again goes on there."""
    checkpoint: str = "lift"
    """Name (`lift` comes with the package), folder or hub name of the bundle to start from."""
    episodes: int = 24
    """Fresh training episodes, with seeds that the bundle was not trained on."""
    held_out: int = 12
    """Fresh test episodes: seeds that nothing was trained, chosen or reported on."""
    steps: int = 30
    """Fine-tuning steps."""
    workers: int = 2
    """Simulating processes."""


def run(config: Demo) -> Path:
    """Run every stage; returns the report's path."""
    stages = Stages(total=6)
    bundle = Bundle.from_pretrained(config.checkpoint)
    stages.begin(f"Collect {config.episodes + config.held_out} fresh episodes in MuJoCo")
    folders = collect(config.output, amount=amount(config), workers=config.workers)
    stages.begin("Cut clips")
    cut_clips(folders)
    stages.begin("Tokenize")
    store = config.output / "tokens"
    write_tokens(
        folders,
        tokenizer=resolve(config.checkpoint, subfolder=TOKENIZER),
        output=store,
        controls=resolve(config.checkpoint),
    )
    stages.begin(f"Fine-tune the world model for {config.steps} steps")
    tuned = replace(bundle, world_model=fine_tune(config, bundle=bundle, store=store))
    tuned.save_pretrained(config.output / "checkpoint")
    stages.begin("Imagine and measure the held-out episodes, before and after")
    held_out = LeRobotDataset(folders["test"])
    settings = EvaluationSettings(split="test", examples=1)
    released, fine_tuned = (
        BundlePredictor(one, name=name)
        for one, name in ((bundle, "released"), (tuned, "fine-tuned"))
    )
    before = evaluate(released, held_out, settings=settings, checkpoint=config.checkpoint)
    after = evaluate(
        fine_tuned, held_out, settings=settings, checkpoint=str(config.output / "checkpoint")
    )
    stages.begin("Write the report")
    after.results.save(config.output)
    path = write_report(after.results, after.examples, config.output)
    log.info(
        "\n%s\n\n%d test episodes, 15 frames imagined from the first. Report: %s",
        text_table({"released": before.results, "fine-tuned": after.results}),
        config.held_out,
        path.resolve(),
    )
    return path


def amount(config: Demo) -> Amount:
    """Seeds apart from those that the released checkpoint was trained, chosen or reported on.

    Its tokenizer was once chosen on seeds 900000 to 900059; figures are of seeds from 980000 on.
    """
    return Amount(
        train=config.episodes,
        validation=4,
        test=config.held_out,
        train_seed=500_000,
        validation_seed=850_000,
        test_seed=990_000,
    )


def fine_tune(config: Demo, *, bundle: Bundle, store: Path) -> WorldModel:
    """Train the bundle's world model a little further on the fresh episodes."""
    return train_world_model(
        replace(
            lift(),
            tokens=store,
            output=config.output / "world_model_run",
            start_from=str(resolve(config.checkpoint, subfolder=WORLD_MODEL)),
            model=bundle.world_model.config,
            optimizer=OptimizerConfig(
                learning_rate=2e-4, muon_learning_rate=0.002, warmup_steps=5, decay_fraction=1.0
            ),
            fit=FitConfig(
                steps=config.steps,
                evaluate_every=config.steps,
                checkpoint_every=10,
                average_decay=0.9,
            ),
        )
    )
