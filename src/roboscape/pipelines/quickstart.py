"""`roboscape quickstart`: everything from scratch, small, in half an hour on two CPU cores."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from roboscape.controls.train import ProprioceptionRun
from roboscape.controls.train import run as train_proprioception
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
from roboscape.presets import proprioception as proprioception_presets
from roboscape.presets import tokenizer as tokenizer_presets
from roboscape.presets import world_model as world_model_presets
from roboscape.rollout.bundle import Bundle
from roboscape.tokenizer.train import TokenizerRun
from roboscape.tokenizer.train import run as train_tokenizer
from roboscape.world_model.train import WorldModelRun
from roboscape.world_model.train import train as train_world_model

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Quickstart:
    """Collect and train everything from scratch, small; expect a blurred but obedient arm."""

    output: Path = Path("runs/quickstart")
    """Where everything goes; running again goes on there."""
    episodes: int = 220
    """Training episodes."""
    held_out: int = 24
    """Test episodes, and as many for validation."""
    tokenizer_steps: int = 1800
    """Training steps of the tokenizer."""
    proprioception_steps: int = 800
    """Training steps of the model that predicts the robot's states from commands."""
    world_model_steps: int = 1200
    """Training steps of the world model."""
    workers: int = 2
    """Simulating processes."""


def run(config: Quickstart) -> Path:
    """Run every stage; returns the report's path."""
    stages = Stages(total=7)
    total = config.episodes + 2 * config.held_out
    stages.begin(f"Collect {total} episodes in MuJoCo: about 6 minutes")
    folders = collect(config.output, amount=amount(config), workers=config.workers)
    stages.begin("Cut clips")
    cut_clips(folders)
    stages.begin("Train a tokenizer: about 6 minutes")
    tokenizer = train_tokenizer(tokenizer_run(config, folders=folders))
    stages.begin("Learn where commands bring the arm: about 1 minute")
    train_proprioception(proprioception_run(config, folders=folders))
    stages.begin("Tokenize: about 1 minute")
    store = write_tokens(
        folders,
        tokenizer=config.output / "tokenizer_run" / "tokenizer",
        output=config.output / "tokens",
        proprioception=config.output / "proprioception_run" / "proprioception",
    )
    stages.begin("Train a world model: about 10 minutes")
    world_model = train_world_model(world_model_run(config))
    bundle = Bundle(
        tokenizer=tokenizer,
        world_model=world_model,
        controls=store.controls,
        object_reader=store.object_reader,
    )
    bundle.save_pretrained(config.output / "checkpoint")
    stages.begin("Imagine and measure the test episodes, write the report")
    result = evaluate(
        BundlePredictor(bundle, name="your model"),
        LeRobotDataset(folders["test"]),
        settings=EvaluationSettings(split="test", examples=1),
        checkpoint=str(config.output / "checkpoint"),
    )
    result.results.save(config.output)
    path = write_report(result.results, result.examples, config.output)
    log.info(
        "\n%s\n\n%d test episodes, 15 frames imagined from the first. Report: %s",
        text_table({"your model": result.results}),
        config.held_out,
        path.resolve(),
    )
    return path


def amount(config: Quickstart) -> Amount:
    """The first seeds of every split."""
    return Amount(
        train=config.episodes,
        validation=config.held_out,
        test=config.held_out,
        train_seed=0,
        validation_seed=800_000,
        test_seed=980_000,
    )


def tokenizer_run(config: Quickstart, *, folders: dict[str, Path]) -> TokenizerRun:
    """The lift tokenizer, shorter."""
    preset = tokenizer_presets.lift()
    fit = replace(preset.fit, steps=config.tokenizer_steps)
    return replace(
        preset,
        dataset=(folders["train"],),
        validation=folders["validation"],
        output=config.output / "tokenizer_run",
        fit=fit,
    )


def proprioception_run(config: Quickstart, *, folders: dict[str, Path]) -> ProprioceptionRun:
    """The lift model of the arm, shorter."""
    preset = proprioception_presets.lift()
    return replace(
        preset,
        dataset=folders["train"],
        validation=folders["validation"],
        output=config.output / "proprioception_run",
        fit=replace(preset.fit, steps=config.proprioception_steps),
    )


def world_model_run(config: Quickstart) -> WorldModelRun:
    """The lift world model, shorter."""
    preset = world_model_presets.lift()
    return replace(
        preset,
        tokens=config.output / "tokens",
        output=config.output / "world_model_run",
        fit=replace(preset.fit, steps=config.world_model_steps),
    )
