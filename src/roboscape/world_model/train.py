"""Train the world model on tokens: `roboscape train world-model PRESET`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from roboscape.clips.curriculum import Curriculum, CurriculumConfig
from roboscape.clips.split import Split
from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.core.precision import Precision, compute_dtype
from roboscape.core.pretrained import resolve
from roboscape.core.runs import open_run
from roboscape.core.seeding import seed_for
from roboscape.tokens.store import ClipTable, TokenClip, TokenStore
from roboscape.training.formats import settle_formats
from roboscape.training.learner import FitConfig, Microbatch
from roboscape.training.loop import fit
from roboscape.training.optimizer import OptimizerConfig, make_optimizer
from roboscape.training.parallel import Execution, Parallel, Ranks, init_distributed
from roboscape.world_model.batches import BatchMaker, moved, self_predict, tokens_of
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.losses import LossConfig, Predictions, total_loss
from roboscape.world_model.model import Block, WorldModel
from roboscape.world_model.objective import MaskingConfig, objective_of
from roboscape.world_model.start import start_from
from roboscape.world_model.validation import describe, validate

log = logging.getLogger(__name__)

MOST_WHOLE_DRAWS = 8
"""Processes beyond which preparing the whole batch in each is worth a warning."""


@dataclass(frozen=True, kw_only=True)
class WorldModelRun:
    """A complete training of the world model."""

    tokens: Path
    """Token store to learn from, made by `roboscape tokenize`."""
    output: Path
    """Run folder; the model itself ends in its `world_model` folder."""
    start_from: str = ""
    """Folder or hub name of a world model to fine-tune; its shape must be `model`'s, but for
    `max_frames`, and for a depth branch that it may have and `model` has not."""
    new_controls: bool = False
    """Fine-tune with control signals other than those of that model's training (other actions,
    states or stride): what reads them begins anew."""
    batch_size: int = 16
    """Clips a step."""
    validation_clips: int = 32
    """Clips measured on, the first of that many validation episodes."""
    seed: int = 0
    """Where all randomness comes from."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    precision: Precision = "auto"
    """Number format of the passes; "auto" times both. A resumed run keeps its own."""
    parallel: Parallel = "none"
    """How the processes that `torchrun` started share the work: `ddp` keeps the whole model on
    each, `fsdp` a part of it. The result does not depend on it."""
    accumulate: int = 1
    """Passes that each process's clips of a step are cut into, to save memory; the same loss."""
    draw_size: int = 0
    """Clips that share a draw of what is hidden and corrupted, and lend each other frames; 0: the
    whole batch. A process reads every draw that it has a clip of, so many processes want small
    ones: a divisor of the clips in a pass. Another size is another (equally good) run."""
    recompute: bool = False
    """Compute a block's inner activations again in the backward pass instead of keeping them
    (activation checkpointing): less memory, a third more work."""
    loaders: int = 0
    """Processes (for each that trains) that prepare batches; 0: a thread, which is enough where a
    step takes longer than preparing its clips."""
    dry_run: bool = False
    """Say how large the model and a step are, and stop."""
    model: WorldModelConfig = field(default_factory=WorldModelConfig)
    """Shape of the transformer."""
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    """What training masks, and how it disturbs the frames before."""
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    """Order of the clips: easy ones first, if it is on."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the terms; zeros are the paper's ablations."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How weights move."""
    fit: FitConfig = field(default_factory=FitConfig)
    """How long."""

    def __post_init__(self) -> None:
        """Raise `UserError` for an empty batch."""
        if self.batch_size < 1 or self.validation_clips < 1:
            raise UserError("batch_size and validation_clips must be 1 or more")
        if self.accumulate < 1 or self.draw_size < 0 or self.loaders < 0:
            raise UserError("accumulate must be 1 or more, draw_size and loaders 0 or more")


def run(config: WorldModelRun) -> None:
    """Train, or with `dry_run` only say how large it would be."""
    if config.dry_run:
        announce(make_model(config, store=TokenStore(config.tokens)), config=config)
    else:
        train(config)


def train(config: WorldModelRun) -> WorldModel:
    """Train, and leave the averaged model in `output/world_model`."""
    with init_distributed(config.parallel, device=config.device) as ranks:
        return train_in(ranks, config)


def train_in(ranks: Ranks, config: WorldModelRun) -> WorldModel:
    """One rank's part of the training; every one ends with the whole averaged model."""
    store = TokenStore(config.tokens)
    model = make_model(config, store=store)
    announce(model, config=config)
    if ranks.is_main:
        # How the work is shared is no part of what the run is: it may be resumed otherwise.
        sharing = {"parallel": "none", "accumulate": 1, "recompute": False, "loaders": 0}
        open_run(config.output, replace(config, **sharing))
    ranks.wait()
    formats = settle_formats(
        config.output, config.precision, kinds=["matmul"], device=ranks.device, ranks=ranks
    )
    config = replace(config, precision=formats["matmul"])
    trained = fit(
        model,
        prepare=make_batches(model, store, config=config, ranks=ranks),
        step=make_step(model, config=config),
        optimizer=make_optimizer(
            model, config=config.optimizer, tables=model.tables(), precision=config.precision
        ),
        config=config.fit,
        run=config.output,
        evaluate=make_evaluation(store, config=config),
        execution=Execution(
            ranks=ranks,
            blocks=block_names(model),
            formats=formats,
            recompute=config.recompute,
            loaders=config.loaders,
        ),
    )
    assert isinstance(trained, WorldModel)
    if ranks.is_main:
        trained.eval().save_pretrained(config.output / "world_model")
    return trained


def block_names(model: WorldModel) -> tuple[str, ...]:
    """The model's large repeated parts."""
    return tuple(name for name, module in model.named_modules() if isinstance(module, Block))


def announce(model: WorldModel, *, config: WorldModelRun) -> None:
    """Log the size of the model and of a step."""
    for line in describe(model, batch_size=config.batch_size):
        log.info("%s", line)


def make_model(config: WorldModelRun, *, store: TokenStore) -> WorldModel:
    """A model that fits the tokens: freshly initialised, or the one to fine-tune."""
    if config.model.branches == "both" and not store.config.has_depth:
        raise UserError(
            f"{config.tokens} holds no depth, which the depth branch needs; annotate depth and "
            "tokenize again, or train with --model.branches rgb"
        )
    torch.manual_seed(seed_for(config.seed))
    shape = replace(
        config.model,
        control_size=store.control_size,
        grid=store.grid,
        views=store.config.cameras,
        code_bits=store.code_bits,
    )
    model = WorldModel(shape)
    if config.start_from:
        start_from(model, resolve(config.start_from), new_controls=config.new_controls)
    return model.to(resolve_device(config.device))


def make_batches(
    model: WorldModel, store: TokenStore, *, config: WorldModelRun, ranks: Ranks
) -> Callable[[int], list[Microbatch]]:
    """Makes this rank's microbatches of a step, by its number."""
    shape = clip_shape(store, config=config)
    table = store.clips("train", **shape)
    if ranks.size > MOST_WHOLE_DRAWS and not config.draw_size:
        log.warning(
            "each of %d processes prepares all %d clips of every step, for they share one draw; "
            "--draw-size %d would leave each with its own (docs/scale.md)",
            ranks.size,
            config.batch_size,
            max(1, config.batch_size // (ranks.size * config.accumulate)),
        )
    maker = BatchMaker(
        config=config,
        model=model.config,
        clips=len(table),
        read=lambda indices: store.batch(indices, split="train", **shape),
        rank=ranks.rank,
        size=ranks.size,
        accumulate=config.accumulate,
        curriculum=make_curriculum(table, config=config) if config.curriculum.on else None,
        task_size=store.config.controls.task_size,
    )
    return maker.microbatches


def make_curriculum(table: ClipTable, *, config: WorldModelRun) -> Curriculum:
    """Draws easy clips first (RoboScape, section 2.2)."""
    return Curriculum(
        table.grade,
        table.ends,
        steps=config.fit.steps,
        seed=config.seed,
        config=config.curriculum,
    )


def make_step(
    model: WorldModel, *, config: WorldModelRun
) -> Callable[[Microbatch], tuple[Tensor, dict[str, float]]]:
    """The training step: from a microbatch to its part of the loss (Eq. 8)."""
    device = resolve_device(config.device)
    dtype = compute_dtype(config.precision, kind="matmul", device=device)
    objective = objective_of(model.config)

    def step(microbatch: Microbatch) -> tuple[Tensor, dict[str, float]]:
        batch = moved(microbatch.content, device)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            targets = self_predict(model, batch, corruption=config.masking.corruption)
            predictions = Predictions(model, targets.inputs)
            means = {
                name: term.sum(predictions) / microbatch.divisors[name]
                for name, term in objective.loss_terms(targets, config.loss).items()
            }
        # The loop counts finished steps: it reports step 10 after the one that is numbered 9.
        done = batch.step + 1
        report = done % config.fit.log_every == 0 or done == config.fit.steps
        figures = {f"loss_{name}": mean.item() for name, mean in means.items()} if report else {}
        return total_loss(means, config.loss), figures

    return step


def clip_shape(store: TokenStore, *, config: WorldModelRun) -> dict[str, int]:
    """Frames of a clip, and native rows from one to the next."""
    return {"length": config.model.max_frames, "stride": store.controls.stride}


def batch_of(
    store: TokenStore, indices: Int[np.ndarray, " b"], *, split: Split, config: WorldModelRun
) -> TokenClip:
    """Clips of a split, on the run's device."""
    clip = store.batch(indices, split=split, **clip_shape(store, config=config))
    return moved(clip, resolve_device(config.device))


def make_evaluation(
    store: TokenStore, *, config: WorldModelRun
) -> Callable[[nn.Module], dict[str, float]]:
    """Validation figures on fixed clips: the first of as many validation episodes as asked for."""
    table = store.clips("validation", **clip_shape(store, config=config))
    starts = table.first_of_episodes()[: config.validation_clips]
    device = resolve_device(config.device)
    dtype = compute_dtype(config.precision, kind="matmul", device=device)

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, WorldModel)
        figures = []
        for indices in np.array_split(starts, max(1, len(starts) // config.batch_size)):
            clip = batch_of(store, indices, split="validation", config=config)
            tokens = tokens_of(clip, modalities=model.config.modalities)
            with torch.autocast(device, dtype, enabled=dtype != torch.float32):
                figures.append(validate(model, tokens, clip.controls))
        # Batches of clips without depth have no figures of it.
        names = {name: None for one in figures for name in one}
        return {name: float(np.mean([f[name] for f in figures if name in f])) for name in names}

    return evaluate
