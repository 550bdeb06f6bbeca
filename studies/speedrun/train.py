"""Training of one variant of the speed-run for a fixed number of steps, and what a step costs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from roboscape.core.precision import Precision
from roboscape.reproduce.training import TIMED_RUN, Trained, Trainer, step_costs, train_steps
from roboscape.world_model.train import WorldModelRun
from studies.speedrun.variants import BASELINE, Variant, short_lift, variant_named


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data that all variants learn from."""

    tokens: Path
    """Token store."""
    precision: Precision
    """Number format of the passes."""


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
    variant: Variant, data: Data, *, steps: int, seed: int, report: Callable[[int, float], None]
) -> Trained:
    """Train for so many steps on one thread; `report` gets steps and losses."""
    run = run_of(variant, data, steps=steps, seed=seed)
    return train_steps(Trainer(run, surgery=variant.model), report=report)


def relative_cost(variant: Variant, data: Data) -> dict[str, float]:
    """The cost of a step, in CPU seconds and in steps of the baseline."""
    both = {BASELINE: variant_named(BASELINE), variant.name: variant}
    found = step_costs(
        {name: run_of(one, data, steps=TIMED_RUN) for name, one in both.items()},
        surgeries={name: one.model for name, one in both.items()},
    )
    return {"step_s": found[variant.name], "ratio": found[variant.name] / found[BASELINE]}
