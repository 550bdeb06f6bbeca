"""Model FLOP/s of real training steps on one device: what `plan_run.py` takes in place of a guess.

    python benchmarks/training/measure_step.py --preset large --clips 16 --recompute --device cuda
    python benchmarks/training/measure_step.py --preset small --clips 1 --blocks 2     # a CPU

Everything that a step does is in the time: rows, both branches, all terms of the loss, the
optimiser, the average. Model FLOPs count the forward and the backward pass once.
"""

import resource
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from step_cost import head_flops, step_cost

from roboscape.bench.synthetic_store import make_store
from roboscape.core.precision import Precision, compute_format
from roboscape.presets.world_model import PRESETS
from roboscape.tokens.store import TokenStore
from roboscape.training.learner import Learner
from roboscape.training.optimizer import make_optimizer
from roboscape.training.parallel import ONE_RANK, Execution
from roboscape.world_model import train
from roboscape.world_model.train import WorldModelRun


@dataclass(frozen=True, kw_only=True)
class MeasureStep:
    """What to measure."""

    preset: str = "small"
    """Shape."""
    clips: int = 16
    """Of a step."""
    blocks: int = 0
    """Depth of each branch; 0 for the preset's."""
    steps: int = 5
    """Timed, after two that are not."""
    recompute: bool = False
    """Activation checkpointing."""
    device: str = "cpu"
    """`cpu` or `cuda`."""
    precision: Precision = "auto"
    """Number format."""


def main(config: MeasureStep) -> None:
    """Measure and print."""
    preset = PRESETS[config.preset]()
    shape = replace(preset.model, num_layers=config.blocks or preset.model.num_layers)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_store(root, episodes=16, tokens_per_side=shape.grid[0], points=320)
        run = replace(
            preset,
            tokens=root,
            output=root / "run",
            batch_size=config.clips,
            device=config.device,
            precision=config.precision,
            recompute=config.recompute,
            model=shape,
            # A forward pass more on a share of the steps: `plan_run.py` adds it itself.
            masking=replace(preset.masking, self_predicted=0.0),
            curriculum=replace(preset.curriculum, on=False),
        )
        seconds = time_steps(run, steps=config.steps)
        shape = replace(shape, control_size=TokenStore(root).control_size)
    forward = step_cost(shape, clips=1, recompute=False).forward.flops
    flops = 3 * config.clips * (forward + head_flops(shape))
    median = statistics.median(seconds)
    tokens = config.clips * shape.modalities * shape.window * shape.tokens_per_frame
    print(
        f"{config.preset}, {shape.num_layers} blocks, {config.clips} clips, {config.device}: "
        f"{median:.3f} s a step ({min(seconds):.3f} to {max(seconds):.3f}), "
        f"{tokens / median:,.0f} tokens/s, {flops / 1e9:,.0f} model GFLOPs a step, "
        f"peak memory {peak_gib(config.device):.1f} GiB\n"
        f"--model-flops-per-s {flops / median:.3g}"
    )


def time_steps(config: WorldModelRun, *, steps: int) -> list[float]:
    """Seconds of real training steps; each ends with the loss on the CPU, so the device is done."""
    store = TokenStore(config.tokens)
    model = train.make_model(config, store=store)
    execution = Execution(
        blocks=train.block_names(model),
        formats={"matmul": compute_format(config.precision, device=config.device)},
        recompute=config.recompute,
    )
    optimizer = make_optimizer(
        model, config=config.optimizer, tables=model.tables(), precision=config.precision
    )
    learner = Learner.prepare(model, optimizer, config=config.fit, execution=execution)
    batches = train.make_batches(model, store, config=config, ranks=ONE_RANK)
    step = train.make_step(model, config=config)
    seconds = []
    for number in range(steps + 2):
        pieces = batches(number)
        start = time.perf_counter()
        learner.take_step(pieces, step, config=config.fit)
        if config.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return seconds[2:]


def peak_gib(device: str) -> float:
    """Largest memory taken so far, on the device."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main(tyro.cli(MeasureStep))
