"""Training of one variant of the speed-run for a fixed number of steps, and what a step costs."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from roboscape.core.precision import Precision, compute_format
from roboscape.tokens.store import TokenStore
from roboscape.training.learner import Learner, Microbatch
from roboscape.training.optimizer import make_optimizer
from roboscape.training.parallel import ONE_RANK, Execution
from roboscape.world_model import train
from roboscape.world_model.model import WorldModel
from roboscape.world_model.train import WorldModelRun
from studies.speedrun.variants import BASELINE, Variant, short_lift, variant_named

WARM_STEPS, TIMED_STEPS = 1, 4
REPORTS = 20
"""Training losses that a result keeps."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """What all variants learn from."""

    tokens: Path
    """Token store."""
    precision: Precision
    """Number format of the passes."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training."""

    model: WorldModel
    """The averaged one where there is an average."""
    cpu_s: float
    """Seconds of this process on the CPU."""
    losses: dict[int, float]
    """Training loss at some steps, the mean since the last."""


class Trainer:
    """A variant under training, step by step."""

    def __init__(self, variant: Variant, run: WorldModelRun) -> None:
        self.run = run
        store = TokenStore(run.tokens)
        self.model = variant.model(train.make_model(run, store=store))
        self.learner = Learner.prepare(
            self.model,
            make_optimizer(
                self.model,
                config=run.optimizer,
                tables=self.model.tables(),
                precision=run.precision,
            ),
            config=run.fit,
            execution=Execution(
                blocks=train.block_names(self.model),
                formats={"matmul": compute_format(run.precision, device=run.device)},
            ),
        )
        self.batches: Callable[[int], list[Microbatch]] = train.make_batches(
            self.model, store, config=run, ranks=ONE_RANK
        )
        self.step: Callable[[Microbatch], tuple[Tensor, dict[str, float]]] = train.make_step(
            self.model, config=run
        )

    def advance(self, number: int) -> float:
        """One step; returns its loss."""
        loss, _ = self.learner.take_step(self.batches(number), self.step, config=self.run.fit)
        return loss

    def result(self) -> WorldModel:
        """The model that is measured."""
        model = self.learner.result()
        assert isinstance(model, WorldModel)
        return model.eval().requires_grad_(requires_grad=False)


def run_of(variant: Variant, data: Data, *, steps: int, seed: int = 0) -> WorldModelRun:
    """The run of a variant."""
    base = replace(
        short_lift(steps=steps),
        tokens=data.tokens,
        device="cpu",
        precision=data.precision,
        seed=seed,
    )
    return variant.run(base)


def train_variant(
    variant: Variant,
    data: Data,
    *,
    steps: int,
    seed: int,
    report: Callable[[int, float], None] = lambda _step, _loss: None,
) -> Trained:
    """Train for so many steps on one thread."""
    torch.set_num_threads(1)
    trainer = Trainer(variant, run_of(variant, data, steps=steps, seed=seed))
    every, recent, losses = max(1, steps // REPORTS), [], {}
    start = time.process_time()
    for number in range(steps):
        recent.append(trainer.advance(number))
        if (number + 1) % every == 0 or number + 1 == steps:
            losses[number + 1] = statistics.mean(recent)
            recent = []
            report(number + 1, losses[number + 1])
    return Trained(model=trainer.result(), cpu_s=time.process_time() - start, losses=losses)


def measure_steps(variants: dict[str, Variant], data: Data) -> dict[str, float]:
    """CPU seconds of an average step of each, measured in turns: other load meets all alike."""
    torch.set_num_threads(1)
    kinds = {
        (name, share): Trainer(variant, timed_run(variant, data, share=share))
        for name, variant in variants.items()
        for share in ((0.0, 1.0) if late_share(variant, data) else (0.0,))
    }
    seconds: dict[tuple[str, float], list[float]] = {kind: [] for kind in kinds}
    for number in range(WARM_STEPS + TIMED_STEPS):
        for kind, trainer in kinds.items():
            start = time.process_time()
            trainer.advance(number)
            seconds[kind].append(time.process_time() - start)
    median = {kind: statistics.median(times[WARM_STEPS:]) for kind, times in seconds.items()}
    return {
        name: median[name, 0.0]
        + late_share(variant, data)
        * (median.get((name, 1.0), median[name, 0.0]) - median[name, 0.0])
        for name, variant in variants.items()
    }


def late_share(variant: Variant, data: Data) -> float:
    """Share of all steps whose pasts are self-predicted: it may happen in the second half."""
    run = run_of(variant, data, steps=100)
    return run.masking.self_predicted / 2 if run.model.objective == "next_frame" else 0.0


def timed_run(variant: Variant, data: Data, *, share: float) -> WorldModelRun:
    """A run in which all steps, or none, predict their own pasts."""
    run = run_of(variant, data, steps=100)
    masking = replace(run.masking, self_predicted=share, self_predicted_after=0)
    return replace(run, masking=masking)


def relative_cost(variant: Variant, data: Data) -> dict[str, float]:
    """What a step costs, in seconds and in steps of the baseline."""
    if variant.name == BASELINE:
        return {"step_s": measure_steps({BASELINE: variant}, data)[BASELINE], "ratio": 1.0}
    both = {BASELINE: variant_named(BASELINE), variant.name: variant}
    found = measure_steps(both, data)
    return {"step_s": found[variant.name], "ratio": found[variant.name] / found[BASELINE]}
