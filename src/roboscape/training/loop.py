"""The one training loop: resume, step, report, save."""

import copy
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from roboscape.core.files import atomic_path
from roboscape.core.progress import progress
from roboscape.training.checkpoint import TrainingState, load_latest, save_checkpoint
from roboscape.training.optimizer import MuonAdamW, rate_at

log = logging.getLogger(__name__)

StepFunction = Callable[[int], tuple[Tensor, dict[str, float]]]
"""From a step's number to its loss and what to report; randomness derives from the number."""
EvaluateFunction = Callable[[nn.Module], dict[str, float]]
"""From the averaged model to validation figures."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How long, and how often to look."""

    steps: int = 1000
    """Optimiser steps."""
    log_every: int = 10
    """Steps between lines in `metrics.jsonl`."""
    evaluate_every: int = 250
    """Steps between validations; the last step is always validated."""
    checkpoint_every: int = 100
    """Steps between checkpoints; an interrupt saves one too."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    average_decay: float = 0.99
    """Exponential average of the weights, the one evaluated and released; 0 turns it off."""

    def __post_init__(self) -> None:
        """Refuse a run without steps."""
        if self.steps < 1 or not 0 <= self.average_decay < 1:
            raise ValueError(
                f"expected steps >= 1 and 0 <= average_decay < 1, got {self.steps} and "
                f"{self.average_decay}"
            )


def fit(
    model: nn.Module,
    *,
    step: StepFunction,
    optimizer: MuonAdamW,
    config: FitConfig,
    run: Path,
    evaluate: EvaluateFunction | None = None,
) -> nn.Module:
    """Train `model` and return its averaged twin (the model itself with averaging off).

    Goes on from the newest checkpoint in `run`, and then ends with the same weights as a run that
    was never interrupted, bit for bit on a CPU.

    Raises:
        FloatingPointError: the loss is no longer a number; the last checkpoint is untouched.
    """
    average = (
        copy.deepcopy(model).requires_grad_(requires_grad=False) if config.average_decay else None
    )
    state = TrainingState(model=model, average=average, optimizer=optimizer)
    if load_latest(state, run / "checkpoints"):
        log.info("resumed from step %d of %d in %s", state.step, config.steps, run)
    metrics = MetricsFile(run / "metrics.jsonl", from_step=state.step)
    clock = time.perf_counter()
    with progress(config.steps, run.name, initial=state.step) as bar:
        try:
            while state.step < config.steps:
                loss, figures = take_step(state, step, config=config)
                bar.update()
                if state.step % config.log_every == 0 or state.step == config.steps:
                    now = time.perf_counter()
                    metrics.write(state.step, {"loss": loss, **figures, "clock_s": now - clock})
                    bar.set_postfix_str(f"loss {loss:.3f}")
                if evaluate and is_due(state.step, config.evaluate_every, config.steps):
                    metrics.write(state.step, run_evaluation(evaluate, average or model))
                if is_due(state.step, config.checkpoint_every, config.steps):
                    save_checkpoint(state, run / "checkpoints")
        except KeyboardInterrupt:
            path = save_checkpoint(state, run / "checkpoints")
            log.warning("interrupted; saved %s. Run the same command again to go on", path)
            raise
    return average or model


def is_due(step: int, every: int, steps: int) -> bool:
    """Whether something that happens `every` so many steps happens now."""
    return step % every == 0 or step == steps


def take_step(
    state: TrainingState, step: StepFunction, *, config: FitConfig
) -> tuple[float, dict[str, float]]:
    """One optimiser step; returns the loss and the step's own figures."""
    assert isinstance(state.optimizer, MuonAdamW)
    state.model.train()
    loss, figures = step(state.step)
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss is {value} at step {state.step}; the last checkpoint is untouched. "
            "Lower the learning rate, or look at the batch of this step"
        )
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.gradient_clip)
    rate = rate_at(state.step, steps=config.steps, config=state.optimizer.config)
    state.optimizer.set_rate(rate)
    state.optimizer.step()
    state.step += 1
    if state.average is not None:
        # A young average forgets its random start quickly.
        decay = min(config.average_decay, (1 + state.step) / (10 + state.step))
        update_average(state.average, state.model, decay=decay)
    return value, {**figures, "gradient_norm": norm.item(), "rate": rate}


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, *, decay: float) -> None:
    """Move the averaged weights towards the model's; buffers are copied."""
    weights: list[Tensor] = list(average.parameters())
    torch._foreach_lerp_(weights, list[Tensor](model.parameters()), 1 - decay)
    for old, new in zip(average.buffers(), model.buffers(), strict=True):
        old.copy_(new)


def run_evaluation(evaluate: EvaluateFunction, model: nn.Module) -> dict[str, float]:
    """Validation figures, named as such."""
    model.eval()
    with torch.no_grad():
        figures = {f"validation_{name}": value for name, value in evaluate(model).items()}
    log.info(" ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    return figures


class MetricsFile:
    """`metrics.jsonl`: one line a report; lines after the step resumed from are dropped."""

    def __init__(self, path: Path, *, from_step: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            lines = read_metrics(path)
            with atomic_path(path) as temporary:
                kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= from_step]
                temporary.write_text("".join(kept))

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Append one line."""
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
