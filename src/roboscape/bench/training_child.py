"""Training steps of one form, in a process of its own so that its peak memory is its own.

Both forms take the same random weights, the same batch and the same optimiser.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roboscape.bench.models import random_model, shape_of
from roboscape.bench.plain import PlainWorldModel
from roboscape.bench.timing import seconds_of
from roboscape.core.config import config_from_dict
from roboscape.core.memory import keep_freed_memory
from roboscape.core.precision import Precision
from roboscape.presets.world_model import PRESETS
from roboscape.tokenizer.codes import split_factors
from roboscape.training.learner import Microbatch
from roboscape.training.optimizer import make_optimizer
from roboscape.training.parallel import Execution
from roboscape.world_model.batches import Batch
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.keypoints import Keypoints
from roboscape.world_model.losses import LossConfig, Targets, loss_terms
from roboscape.world_model.model import ModelInputs, WorldModel
from roboscape.world_model.objective import next_frame_inputs, revealed_inputs
from roboscape.world_model.train import WorldModelRun, block_names, make_step

Form = Literal["plain", "plain bf16", "ours", "ours recomputed"]
"""`ours recomputed`: with activation checkpointing."""
Objective = Literal["RGB", "all terms"]
LossFunction = Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class Task:
    """The task of a child process."""

    form: Form
    objective: Objective
    """The RGB branch's cross-entropy (Eq. 4) alone, or both branches and all terms (Eq. 8)."""
    preset: str
    clips: int
    """Of the batch."""
    steps: int
    """Timed ones, after a forward and backward pass that warms up."""
    threads: int
    device: str
    precision: Precision
    """That ours computes in; the plain form's is its own."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The measured time and memory of the steps."""

    pass_s: list[float]
    """Forward and backward."""
    optimizer_s: list[float]
    losses: list[float]
    """Before every step of the optimiser."""
    peak_mib: float
    """Largest memory of the process (of the GPU) in forward and backward passes."""


def run(task: Task) -> Taken:
    """The seconds, losses and memory of a task's steps, after a warm-up."""
    torch.set_num_threads(task.threads)
    # As the command line does for every training; the plain form gains by it too.
    keep_freed_memory()
    model, loss_of = make_plain(task) if task.form.startswith("plain") else make_ours(task)
    preset = PRESETS[task.preset]()
    tables = [f"branches.{m}.{part}" for m in range(2) for part in ("embedding", "head")]
    optimizer = make_optimizer(
        model, config=preset.optimizer, tables=tables, precision=task.precision
    )
    loss_of().backward()
    peak_mib = memory_peak_mib(task.device)
    losses, pass_s, optimizer_s = [], [], []
    for _ in range(task.steps):
        optimizer.zero_grad(set_to_none=True)
        kept: list[Tensor] = []
        pass_s.append(seconds_of(lambda kept=kept: learn(loss_of, kept), device=task.device))
        losses.append(kept[0].item())
        optimizer.set_rate(1.0)
        optimizer_s.append(seconds_of(optimizer.step, device=task.device))
    return Taken(pass_s=pass_s, optimizer_s=optimizer_s, losses=losses, peak_mib=peak_mib)


def learn(loss_of: LossFunction, kept: list[Tensor]) -> None:
    """One forward and backward pass."""
    loss = loss_of()
    loss.backward()
    kept.append(loss.detach())


def make_plain(task: Task) -> tuple[nn.Module, LossFunction]:
    """The plain model, and its loss over all tokens that were masked."""
    if task.objective != "RGB":
        raise ValueError("the plain form is trained on RGB alone")
    model = PlainWorldModel.of(trainable(task))
    rows = make_batch(model.config, task).inputs
    groups = split_factors(
        rows.current[0], code_bits=model.config.code_bits, factors=model.config.factors
    )
    masked = rows.masked[0]
    kind, in_bf16 = torch.device(task.device).type, task.form == "plain bf16"

    def loss_of() -> Tensor:
        with torch.autocast(kind, torch.bfloat16, enabled=in_bf16):
            (logits,) = model(rows)
        losses = F.cross_entropy(logits.float().flatten(0, 3), groups.flatten(), reduction="none")
        return losses.reshape(groups.shape).sum(dim=-1)[masked].mean()

    return model, loss_of


def make_ours(task: Task) -> tuple[nn.Module, LossFunction]:
    """The world model, and the training step that `roboscape train world-model` takes."""
    model = trainable(task)
    Execution(blocks=block_names(model), recompute=task.form == "ours recomputed").apply(model)
    targets = make_batch(model.config, task)
    loss = PRESETS[task.preset]().loss
    if task.objective == "RGB":
        loss = LossConfig(depth=0.0, keypoint=0.0, attention=0.0)
    run_config = WorldModelRun(
        tokens=Path(),
        output=Path(),
        device=task.device,
        precision=task.precision,
        model=model.config,
        loss=loss,
    )
    step = make_step(model, config=run_config)
    # No step whose figures are reported: reading them waits for the device.
    batch = Batch(step=0, targets=targets)
    counts = {name: float(term.count) for name, term in loss_terms(targets, loss).items()}
    microbatch = Microbatch(content=batch, counts=counts)
    return model, lambda: step(microbatch)[0]


def trainable(task: Task) -> WorldModel:
    """The model, with weights that want gradients."""
    branches = "rgb" if task.objective == "RGB" else "both"
    model = random_model(shape_of(task.preset, branches=branches), device=task.device)
    return model.train().requires_grad_(requires_grad=True)


def make_batch(config: WorldModelConfig, task: Task) -> Targets:
    """Random clips, masked as the preset's training masks them."""
    generator = torch.Generator().manual_seed(2)
    frames, tokens = config.max_frames, config.tokens_per_frame
    shape = (config.modalities, task.clips, frames, tokens)
    codes = torch.randint(2**config.code_bits, shape, generator=generator).int()
    controls = torch.randn(task.clips, frames, config.control_size, generator=generator)
    rows = revealed_inputs(
        next_frame_inputs(codes, controls),
        fully_masked=PRESETS[task.preset]().masking.fully_masked,
        generator=generator,
    )
    points = PRESETS[task.preset]().loss.keypoints
    cells = torch.randint(tokens, (task.clips, frames, points), generator=generator)
    keypoints = Keypoints(cells=cells, valid=torch.ones_like(cells, dtype=torch.bool))
    rows = ModelInputs(**{name: value.to(task.device) for name, value in vars(rows).items()})
    keypoints = Keypoints(**{n: value.to(task.device) for n, value in vars(keypoints).items()})
    first = codes[0, :, 0].long().to(task.device)
    return Targets(inputs=rows, first=first, keypoints=keypoints)


def memory_peak_mib(device: str) -> float:
    """Largest memory so far: on the GPU, or of this program (its parent's is not inherited)."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    """Read a task as JSON, write what it took as JSON."""
    task = config_from_dict(Task, json.loads(sys.argv[1]), where="the task")
    sys.stdout.write(json.dumps(asdict(run(task))))


if __name__ == "__main__":
    main()
