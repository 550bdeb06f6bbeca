"""The sweep at the paper's sizes, as commands for a GPU with estimated costs."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from roboscape.core.errors import UserError
from roboscape.presets.world_model import large, medium, small
from roboscape.reproduce.setup import StudyFlags
from roboscape.world_model.model import WorldModel
from roboscape.world_model.train import WorldModelRun

FLOP_PER_WEIGHT = 6
"""A forward and a backward pass: 2 and 4 operations a weight and token."""
ASSUMED_TFLOPS = 200.0
"""What is assumed of one H100 or H200 in bf16, half of what large matrix products reach there."""
DEFAULT_STEPS = 20_000
SIZES = {"small": small, "medium": medium, "large": large}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The estimated cost of one training."""

    parameters: int
    tokens_a_step: int
    hours: float


def plan_text(*, shares: Sequence[float], flags: StudyFlags) -> str:
    """A command a cell and seed-independent cost, then the sum."""
    steps = flags.steps or DEFAULT_STEPS
    lines = [
        "# The sweep at the paper's sizes. Each command does one cell, all its seeds, and may run",
        "# beside the others: they share --output. Hours are estimates for one GPU of "
        f"{ASSUMED_TFLOPS:g} TFLOP/s:",
        "# 6 x weights x tokens, attention not counted, measuring not counted.",
    ]
    total = 0.0
    for size, make in SIZES.items():
        cost = estimate(make(), steps=steps)
        for share in shares:
            hours = cost.hours * flags.seeds
            total += hours
            lines.append(
                f"{command(size, share, shares=shares, flags=flags, steps=steps)}"
                f"  # {cost.parameters / 1e6:.0f}M weights, {cost.tokens_a_step} tokens a step, "
                f"{hours:.1f} GPU hours"
            )
    lines.append(f"# {total:.1f} GPU hours in all")
    return "\n".join(lines)


def command(
    size: str, share: float, *, shares: Sequence[float], flags: StudyFlags, steps: int
) -> str:
    """The command of one cell."""
    words = [
        *("roboscape", "reproduce", "sweep", "--sizes", "paper", "--device", "cuda"),
        *("--steps", str(steps), "--seeds", str(flags.seeds)),
        *("--shares", *(f"{one:g}" for one in shares)),
        *("--only", f"{size}_data{share:g}"),
        *("--train", str(flags.train), "--validation", str(flags.validation)),
        *("--checkpoint", flags.checkpoint, "--output", str(flags.output / "gpu")),
    ]
    return shlex.join(words)


def estimate(run: WorldModelRun, *, steps: int) -> Cost:
    """The cost of a training on one GPU."""
    if steps < 1:
        raise UserError(f"--steps must be 1 or more, got {steps}")
    with torch.device("meta"):
        model = WorldModel(run.model)
    branch = model.parameter_counts()["one branch"]
    frames = run.batch_size * run.model.window
    tokens = frames * run.model.tokens_per_frame
    # Each branch reads its own modality's tokens.
    flop = FLOP_PER_WEIGHT * branch * tokens * run.model.modalities * steps
    return Cost(
        parameters=model.parameter_counts()["total"],
        tokens_a_step=tokens * run.model.modalities,
        hours=flop / (ASSUMED_TFLOPS * 1e12) / 3600,
    )
