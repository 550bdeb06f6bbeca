"""The one training loop: resume, step, report, save."""

import json
import logging
import time
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from roboscape.core.files import atomic_path
from roboscape.core.precision import Precision
from roboscape.core.progress import progress
from roboscape.training.checkpoint import load_latest, save_checkpoint
from roboscape.training.formats import settle_formats
from roboscape.training.learner import (
    EvaluateFunction,
    FitConfig,
    Learner,
    PrepareFunction,
    StepFunction,
)
from roboscape.training.optimizer import MuonAdamW, OptimizerConfig, make_optimizer
from roboscape.training.parallel import Execution
from roboscape.training.prefetch import prefetching
from roboscape.training.stopping import stop_requests

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=nn.Module)


def fit(
    model: nn.Module,
    *,
    step: StepFunction,
    optimizer: MuonAdamW,
    config: FitConfig,
    run: Path,
    evaluate: EvaluateFunction | None = None,
    prepare: PrepareFunction | None = None,
    execution: Execution = Execution(),  # noqa: B008
) -> nn.Module:
    """Train `model` and return its averaged twin (the model itself with averaging off).

    With `config.stop` it is the best average by a validation figure, and training may end early.

    Goes on from the newest checkpoint in `run`, and then ends with the same weights as a run that
    was never interrupted, bit for bit on a CPU. Asked to stop (SIGINT or SIGTERM, at any of its
    processes), it finishes the step and saves a checkpoint.

    Raises:
        FloatingPointError: the loss is no longer a number; the last checkpoint is untouched.
        KeyboardInterrupt: stopped by SIGINT.
        SystemExit: stopped by SIGTERM.
    """
    learner = Learner.prepare(model, optimizer, config=config, execution=execution)
    state, ranks = learner.state, execution.ranks
    if load_latest(state, run / "checkpoints"):
        log.info("resumed from step %d of %d in %s", state.step, config.steps, run)
    metrics = MetricsFile(run / "metrics.jsonl", from_step=state.step, silent=not ranks.is_main)
    if state.step == 0 and config.stop.figure:
        # A start to fine-tune may be better than all that follows.
        validate(learner, evaluate, metrics=metrics, config=config)
    steps = learner.steps_left(config)
    clock = time.perf_counter()
    with (
        progress(config.steps, run.name, initial=state.step, silent=not ranks.is_main) as bar,
        prefetching(prepare or just_the_number, steps, loaders=execution.loaders) as batches,
        stop_requests() as request,
    ):
        for parts in batches:
            loss, figures = learner.take_step(parts, step, config=config)
            bar.update()
            if is_due(state.step, config.log_every, config.steps):
                now = time.perf_counter()
                metrics.write(state.step, {"loss": loss, **figures, "clock_s": now - clock})
                bar.set_postfix_str(f"loss {loss:.3f}")
            validate(learner, evaluate, metrics=metrics, config=config)
            # One process may have been asked a moment before the others: they stop together.
            stop = ranks.sum(torch.tensor(float(request.made))).item() > 0
            over = learner.is_over(config)
            if stop or over or is_due(state.step, config.checkpoint_every, config.steps):
                save_checkpoint(state, run / "checkpoints", keep=config.keep_checkpoints)
            if over:
                break
            if stop:
                log.warning("stopped at step %d. Run the same command again to go on", state.step)
                request.raise_interrupt()
    return learner.result()


def fit_in_fp32(
    model: Model,
    *,
    step: StepFunction,
    optimizer: OptimizerConfig,
    config: FitConfig,
    run: Path,
    evaluate: EvaluateFunction,
    precision: Precision = "auto",
) -> Model:
    """Train a small model by `fit`, on the device that it is on, and return it as it will be used:
    in evaluation mode, without gradients.

    Its passes are in fp32: small matrices gain nothing from another format. Muon's iteration does.

    Args:
        model: What to train.
        step: As for `fit`.
        optimizer: How weights move.
        config: How long.
        run: The run's folder.
        evaluate: As for `fit`.
        precision: Number format of Muon's iteration, where the optimiser is Muon.
    """
    formats = settle_formats(
        run,
        precision if optimizer.kind == "muon" else "fp32",
        kinds=["matmul"],
        device=str(next(model.parameters()).device),
    )
    trained = fit(
        model,
        step=step,
        optimizer=make_optimizer(model, config=optimizer, precision=formats["matmul"]),
        config=config,
        run=run,
        evaluate=evaluate,
        execution=Execution(formats=formats),
    )
    assert isinstance(trained, type(model))
    return trained.eval().requires_grad_(requires_grad=False)


def validate(
    learner: Learner,
    evaluate: EvaluateFunction | None,
    *,
    metrics: "MetricsFile",
    config: FitConfig,
) -> None:
    """Validate where it is due: write the figures, keep the weights if they are the best so far."""
    if evaluate is None or not is_due(learner.state.step, config.evaluate_every, config.steps):
        assert evaluate or not config.stop.figure, "a figure that decides needs validation"
        return
    figures = learner.run_evaluation(evaluate)
    metrics.write(learner.state.step, figures)
    learner.note_validation(figures, config=config.stop)


def just_the_number(number: int) -> tuple[int]:
    """All there is to prepare for a step that makes its own batch."""
    return (number,)


def is_due(step: int, every: int, steps: int) -> bool:
    """True if something that happens `every` so many steps happens now."""
    return step % every == 0 or step == steps


class MetricsFile:
    """`metrics.jsonl`: one line a report; lines after the step resumed from are dropped."""

    def __init__(self, path: Path, *, from_step: int, silent: bool = False) -> None:
        self.path = path
        self.silent = silent
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and not silent:
            lines = read_metrics(path)
            with atomic_path(path) as temporary:
                # A run without a checkpoint begins anew, with its first validation.
                kept = [json.dumps(x) + "\n" for x in lines if 0 < from_step >= x["step"]]
                temporary.write_text("".join(kept))

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Append one line; the main process does so for all."""
        if self.silent:
            return
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")


def read_metrics(path: Path) -> list[dict[str, float | int]]:
    """All complete lines of a metrics file; a kill can cut only the last one, which is left out."""
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            log.warning("%s: left out a line that was cut off", path)
    return lines
