"""One optimiser step of a model, on one process or many."""

import copy
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from roboscape.core.errors import UserError
from roboscape.training.checkpoint import Record, TrainingState
from roboscape.training.optimizer import MuonAdamW, rate_at
from roboscape.training.parallel import (
    Execution,
    Ranks,
    free_gathered,
    gathered,
    gradients_later,
    local,
    whole,
)

log = logging.getLogger(__name__)

StepFunction = Callable[[Any], tuple[Tensor, dict[str, float]]]
"""From a step's number, or a `Microbatch` where there is a `PrepareFunction`, to its loss and what
to report. All randomness derives from the number."""
EvaluateFunction = Callable[[nn.Module], dict[str, float]]
"""From the averaged model to validation figures."""


@dataclass(frozen=True, kw_only=True)
class Microbatch:
    """A part of a step's batch: one forward and backward pass of one process."""

    content: Any
    counts: dict[str, float]
    """How many things of it each term of the loss is a mean over, by the term's name."""
    totals: dict[str, float] | None = None
    """The same of the whole batch; None where this is the whole batch."""

    @property
    def divisors(self) -> dict[str, float]:
        """The numbers to divide the sums of the terms by, so that the losses of all microbatches
        add up to that of the whole batch."""
        totals = self.counts if self.totals is None else self.totals
        return {name: max(1.0, total) for name, total in totals.items()}


PrepareFunction = Callable[[int], Sequence[Microbatch]]
"""From a step's number to this process's microbatches. Runs ahead in a thread of its own, so
it touches neither the model nor the other processes."""


@dataclass(frozen=True, kw_only=True)
class StopConfig:
    """The rule by which validation ends a training. Small datasets are memorised within minutes."""

    figure: str = ""
    """Validation figure by which the best averaged weights are kept, and released, rather than the
    last ones, the start included; none: the last ones."""
    better: Literal["lower", "higher"] = "lower"
    """Which way the figure improves."""
    after: int = 0
    """Validations without a new best after which the training ends; 0: never before its steps."""

    def __post_init__(self) -> None:
        """Raise `UserError` for a stop that nothing decides."""
        if self.after < 0 or (self.after and not self.figure):
            raise UserError(
                "expected after >= 0, and a validation figure that it counts by; got after "
                f"{self.after} and figure `{self.figure}`"
            )


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """The length of a training, and how often it is logged, validated and saved."""

    steps: int = 1000
    """Optimiser steps."""
    log_every: int = 10
    """Steps between lines in `metrics.jsonl`."""
    evaluate_every: int = 250
    """Steps between validations; the last step is always validated."""
    checkpoint_every: int = 100
    """Steps between checkpoints; an interrupt saves one too."""
    keep_checkpoints: int = 2
    """The newest checkpoints that are kept."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    average_decay: float = 0.99
    """Exponential average of the weights, the one evaluated and released; 0 turns it off."""
    stop: StopConfig = StopConfig()
    """Whether validation ends the training, and which weights are kept."""

    def __post_init__(self) -> None:
        """Raise `UserError` for a run without steps."""
        if self.steps < 1 or self.keep_checkpoints < 1 or not 0 <= self.average_decay < 1:
            raise UserError(
                "expected steps >= 1, keep_checkpoints >= 1 and 0 <= average_decay < 1, got "
                f"{self.steps}, {self.keep_checkpoints} and {self.average_decay}"
            )


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A model in training: what is stateful, and what its functions are called through."""

    state: TrainingState
    execution: Execution
    wrapped: nn.Module
    """Calls functions of the model."""
    wrapped_average: nn.Module
    """Calls functions of the averaged model, or of the model itself with averaging off."""
    skeleton: nn.Module | None
    """The model's structure before it was sharded, without memory."""

    @classmethod
    def prepare(
        cls, model: nn.Module, optimizer: MuonAdamW, *, config: FitConfig, execution: Execution
    ) -> "Learner":
        """Make the averaged twin and lay both out over the processes."""
        average = (
            copy.deepcopy(model).requires_grad_(requires_grad=False)
            if config.average_decay
            else None
        )
        sharded = execution.ranks.parallel == "fsdp"
        skeleton = copy.deepcopy(model).to("meta") if sharded else None
        best = (
            copy.deepcopy(average or model).requires_grad_(requires_grad=False)
            if config.stop.figure
            else None
        )
        before = list(model.parameters())
        wrapped = execution.apply(model)
        optimizer.replace_parameters(dict(zip(before, model.parameters(), strict=True)))
        if best is not None:
            # Nothing is computed with it: laid out as the average is, so that it can be copied.
            execution.apply(best)
        return cls(
            state=TrainingState(
                model=model,
                average=average,
                best=best,
                optimizer=optimizer,
                ranks=execution.ranks,
                formats=execution.formats,
            ),
            execution=execution,
            wrapped=wrapped,
            wrapped_average=wrapped if average is None else execution.apply(average),
            skeleton=skeleton,
        )

    def take_step(
        self, parts: Sequence[Any], step: StepFunction, *, config: FitConfig
    ) -> tuple[float, dict[str, float]]:
        """One optimiser step; returns the loss of the whole batch and the step's own figures."""
        state, ranks = self.state, self.execution.ranks
        state.model.train()
        state.optimizer.zero_grad(set_to_none=True)
        parts = with_totals(parts, ranks=ranks)
        losses, reports = zip(
            *(self.learn_from(parts, i, step) for i in range(len(parts))), strict=True
        )
        value = ranks.sum(torch.stack(losses).sum()).item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} at step {state.step}; the last checkpoint is untouched. "
                "Lower the learning rate, or look at the batch of this step"
            )
        norm = clip_gradients(state.model, limit=config.gradient_clip)
        rate = rate_at(state.step, steps=config.steps, config=state.optimizer.config)
        state.optimizer.set_rate(rate)
        state.optimizer.step()
        state.step += 1
        if state.average is not None:
            # A young average forgets its random start quickly.
            decay = min(config.average_decay, (1 + state.step) / (10 + state.step))
            update_average(state.average, state.model, decay=decay)
        figures = add_up(reports, ranks=ranks)
        return value, {**figures, "gradient_norm": norm.item(), "rate": rate}

    def learn_from(
        self, parts: Sequence[Any], index: int, step: StepFunction
    ) -> tuple[Tensor, dict[str, float]]:
        """Forward and backward of one microbatch; returns its loss, detached, and its figures."""
        last = index == len(parts) - 1
        with nullcontext() if last else gradients_later(self.wrapped):
            loss, figures = self.wrapped(step, parts[index])
            size = self.execution.ranks.size
            # DDP and FSDP take the mean over processes; the losses are made to be summed.
            (loss if size == 1 else loss * size).backward()
        return loss.detach(), figures

    def run_evaluation(self, evaluate: EvaluateFunction) -> dict[str, float]:
        """Validation figures of the average, named as such; none on processes not needed for it."""
        ranks, model = self.execution.ranks, self.state.average or self.state.model
        if ranks.parallel != "fsdp" and not ranks.is_main:
            return {}
        wrapped = self.wrapped_average
        if isinstance(wrapped, DistributedDataParallel):
            wrapped = wrapped.module
        model.eval()
        with torch.no_grad():
            figures = {f"validation_{k}": v for k, v in wrapped(evaluate, model).items()}
        free_gathered(wrapped)
        log.info(" ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        return figures

    def note_validation(self, figures: dict[str, float], *, config: StopConfig) -> None:
        """Keep the weights if they are the best so far by the figure that decides.

        Raises:
            ValueError: there is no such figure.
        """
        state = self.state
        if state.best is None:
            return
        figures = self.execution.ranks.share(figures)
        name = f"validation_{config.figure}"
        if name not in figures:
            known = ", ".join(key.removeprefix("validation_") for key in figures)
            raise UserError(f"no validation figure `{config.figure}`; there are: {known}")
        sign = 1 if config.better == "lower" else -1
        record = state.record
        if record is None or sign * figures[name] < sign * record.value:
            update_average(state.best, state.average or state.model, decay=0.0)
            state.record = Record(value=figures[name], step=state.step)
        else:
            state.record = replace(record, waited=record.waited + 1)

    def is_over(self, config: FitConfig) -> bool:
        """True if all steps are done, or validation has ended the training."""
        record, after = self.state.record, config.stop.after
        stopped = record is not None and 0 < after <= record.waited
        return stopped or self.state.step >= config.steps

    def steps_left(self, config: FitConfig) -> range:
        """Numbers of the steps to come, if validation does not end the training before."""
        return range(self.state.step, self.state.step if self.is_over(config) else config.steps)

    def result(self) -> nn.Module:
        """The best or the last average, or the model itself with averaging off; whole, on every
        process."""
        if record := self.state.record:
            log.info(
                "the weights of step %d are kept, of %d steps: %.4g was the best validation",
                *(record.step, self.state.step, record.value),
            )
        model = self.state.best or self.state.average or self.state.model
        return model if self.skeleton is None else gathered(model, skeleton=self.skeleton)


def with_totals(parts: Sequence[Any], *, ranks: Ranks) -> Sequence[Any]:
    """Count over all microbatches of all processes, and write the totals into each."""
    if ranks.size == 1 and len(parts) == 1:
        return parts
    assert all(isinstance(part, Microbatch) for part in parts), "a shared step needs `prepare`"
    names = sorted(parts[0].counts)
    counts = torch.tensor([[part.counts[name] for name in names] for part in parts]).double()
    totals = dict(zip(names, ranks.sum(counts.sum(dim=0)).tolist(), strict=True))
    return [replace(part, totals=totals) for part in parts]


def add_up(reports: Sequence[dict[str, float]], *, ranks: Ranks) -> dict[str, float]:
    """The figures of all microbatches and processes, which report under the same names."""
    if ranks.size == 1 and len(reports) == 1:
        return reports[0]
    names = sorted(reports[0])
    values = torch.tensor([[report[name] for name in names] for report in reports])
    return dict(zip(names, ranks.sum(values.sum(dim=0)).tolist(), strict=True))


def clip_gradients(model: nn.Module, *, limit: float) -> Tensor:
    """Scale the gradients to a norm of at most `limit`; returns the norm before that."""
    parameters = [p for p in model.parameters() if p.grad is not None]
    norm = whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
    nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, *, decay: float) -> None:
    """Move the averaged weights towards the model's; buffers are copied."""
    old, new = (local(list(m.parameters())) for m in (average, model))
    torch._foreach_lerp_(old, new, 1 - decay)
    for before, after in zip(average.buffers(), model.buffers(), strict=True):
        before.copy_(after)
