"""Which recipe learns most from a fixed amount of compute: the speed-run of the world model.

    python -m studies.speedrun.run run --output runs/speedrun         # several may run at once
    python -m studies.speedrun.run table --page docs/speedrun.md

Every variant gets as many steps as fit into the same CPU seconds of one thread, so that its
learning-rate schedule ends exactly there. Finished variants are skipped, an interrupted one starts
again. Names joined by `+` apply several changes: `--variants copy_bias+batch_2`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import tyro

from roboscape.core.files import read_json, write_json
from roboscape.core.precision import Precision, compute_dtype
from roboscape.core.runs import describe_machine, git
from studies import sharing
from studies.pages import fill
from studies.sharing import agree_on_settings, publish
from studies.speedrun import table
from studies.speedrun.train import Data, relative_cost, run_of, train_variant
from studies.speedrun.validate import Validation
from studies.speedrun.variants import BASELINE, PLAIN_4X, Variant, listed, variant_named


@dataclass(frozen=True, kw_only=True)
class Run:
    """Train and measure variants."""

    output: Path = Path("runs/speedrun")
    """Folder of all results."""
    variants: tuple[str, ...] = ()
    """Which; all where none is named."""
    seeds: tuple[int, ...] = (0, 1)
    """Repetitions."""
    budget_s: float = 240.0
    """CPU seconds of one thread that a training takes."""
    tokens: Path = Path("data/lift_tokens")
    """Token store."""
    dataset: Path = Path("data/lift_validation")
    """Recordings of validation episodes."""
    bundle_tokenizer: Path = Path("runs/tokenizer_lift/tokenizer")
    """The tokenizer that made the tokens."""
    clips: int = 24
    """Validation clips."""
    precision: Precision = "auto"
    """Number format of the training's passes."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Write what was measured into a page."""

    output: Path = Path("runs/speedrun")
    """Folder of all results."""
    page: Path | None = None
    """Page with the places; printed where there is none."""
    place: str = "speedrun"
    """Place of the log; that of the goal, if the folder has its recipes, is called `PLACE goal`."""


def main(config: Run | Table) -> None:
    """Run, or write down."""
    if isinstance(config, Table):
        write_table(config)
    else:
        run_all(config)


def run_all(config: Run) -> None:
    """Work through the list; other processes may do so at the same time."""
    torch.set_num_threads(1)
    variants = [variant_named(name) for name in config.variants] or list(listed())
    agree_on_settings(config.output, settings_of(config))

    @cache
    def measure(tokens: Path) -> Validation:
        return Validation(
            tokens=tokens,
            dataset=config.dataset,
            tokenizer=config.bundle_tokenizer,
            clips=config.clips,
        )

    baseline_s = cost_of(variant_named(BASELINE), config)["step_s"]
    for variant in variants:
        for seed in config.seeds:
            with claimed(config.output / variant.name / f"seed{seed}") as folder:
                if folder is not None:
                    run_one(variant, config, measure, seed=seed, baseline_s=baseline_s)


def run_one(
    variant: Variant,
    config: Run,
    measure: Callable[[Path], Validation],
    *,
    seed: int,
    baseline_s: float,
) -> None:
    """Train and measure one variant with one seed; with its own store's control signals."""
    folder = config.output / variant.name / f"seed{seed}"
    ratio = cost_of(variant, config)["ratio"]
    steps = max(1, round(variant.budget * config.budget_s / (baseline_s * ratio)))
    print(f"{variant.name}, seed {seed}: {steps} steps", flush=True)
    trained = train_variant(
        variant,
        data_of(config),
        steps=steps,
        seed=seed,
        report=lambda step, loss: print(f"  {step:5d} loss {loss:.3f}", flush=True),
    )
    store = run_of(variant, data_of(config), steps=steps).tokens
    figures = measure(store).figures(trained.model)
    print("  " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()), flush=True)
    result = {
        "variant": variant.name,
        "what": variant.what,
        "seed": seed,
        "steps": steps,
        "budget_s": variant.budget * config.budget_s,
        "cpu_s": trained.cpu_s,
        "step_s": trained.cpu_s / steps,
        "relative_step": ratio,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "figures": figures,
        "training_losses": trained.losses,
        "machine": describe_machine(),
        "commit": git("rev-parse", "--short=12", "HEAD"),
    }
    write_json(folder / "result.json", result)


def data_of(config: Run) -> Data:
    """What all variants learn from."""
    return Data(tokens=config.tokens, precision=config.precision)


def cost_of(variant: Variant, config: Run) -> dict[str, float]:
    """A variant's cost of a step, measured once for all seeds and processes."""
    if variant.step_as:
        return cost_of(variant_named(variant.step_as), config)
    path = config.output / variant.name / "cost.json"
    if not path.is_file():
        publish(path, relative_cost(variant, data_of(config)))
    return read_json(path)


def settings_of(config: Run) -> dict[str, Any]:
    """What all results of a folder have in common: one budget on the same data."""
    return {
        "budget_s": config.budget_s,
        "tokens": str(config.tokens),
        "dataset": str(config.dataset),
        "clips": config.clips,
        "number_format": str(compute_dtype(config.precision)).removeprefix("torch."),
        "machine": describe_machine(),
    }


@contextmanager
def claimed(folder: Path) -> Iterator[Path | None]:
    """The folder, for this process alone; None where it is finished or another works on it."""
    with sharing.claimed(folder / "claim") as mine:
        yield folder if mine and not (folder / "result.json").is_file() else None


def write_table(config: Table) -> None:
    """Fill the page, or print."""
    results = table.read_results(config.output)
    parts = {config.place: table.log_of(results)}
    if PLAIN_4X in results:
        parts[f"{config.place} goal"] = table.goal_of(results)
    for name, content in parts.items():
        if config.page is None:
            print(content, end="\n\n")
        else:
            fill(config.page, name, content)


if __name__ == "__main__":
    main(tyro.cli(Run | Table))
