"""Train the world model on tokens: `roboscape train world-model PRESET`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from roboscape.clips.split import Split
from roboscape.core.precision import Precision, compute_dtype
from roboscape.core.pretrained import load_weights, resolve
from roboscape.core.runs import open_run
from roboscape.core.seeding import generator_for, numpy_generator_for, seed_for
from roboscape.tokens.store import TokenClip, TokenStore
from roboscape.training.loop import FitConfig, fit
from roboscape.training.optimizer import OptimizerConfig, make_optimizer
from roboscape.world_model.config import WorldModelConfig
from roboscape.world_model.embedding import Rows
from roboscape.world_model.keypoints import select_keypoints
from roboscape.world_model.losses import LossConfig
from roboscape.world_model.masking import (
    MaskingConfig,
    corrupted_rows,
    masked_rows,
    next_frame_rows,
    revealed_rows,
    self_predicted_rows,
)
from roboscape.world_model.model import WorldModel
from roboscape.world_model.objective import loss_terms
from roboscape.world_model.validation import describe, validate

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorldModelRun:
    """A complete training of the world model."""

    tokens: Path
    """Token store to learn from, made by `roboscape tokenize`."""
    output: Path
    """Run folder; the model itself ends in its `world_model` folder."""
    start_from: str = ""
    """Folder or hub name of a world model to fine-tune; its shape must be `model`'s."""
    batch_size: int = 16
    """Clips a step."""
    validation_clips: int = 32
    """Clips measured on, the first of that many validation episodes."""
    seed: int = 0
    """Where all randomness comes from."""
    device: str = "cpu"
    """`cpu` or `cuda`."""
    precision: Precision = "auto"
    """Number format of the passes; "auto" times both."""
    dry_run: bool = False
    """Say how large the model and a step are, and stop."""
    model: WorldModelConfig = field(default_factory=WorldModelConfig)
    """Shape of the transformer."""
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    """How training rows are made."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the terms; zeros are the paper's ablations."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How weights move."""
    fit: FitConfig = field(default_factory=FitConfig)
    """How long."""

    def __post_init__(self) -> None:
        """Refuse an empty batch."""
        if self.batch_size < 1 or self.validation_clips < 1:
            raise ValueError("batch_size and validation_clips must be 1 or more")


def run(config: WorldModelRun) -> None:
    """Train, or with `dry_run` only say how large it would be."""
    if config.dry_run:
        announce(make_model(config, store=TokenStore(config.tokens)), config=config)
    else:
        train(config)


def train(config: WorldModelRun) -> WorldModel:
    """Train, and leave the averaged model in `output/world_model`."""
    store = TokenStore(config.tokens)
    model = make_model(config, store=store)
    announce(model, config=config)
    open_run(config.output, config)
    trained = fit(
        model,
        step=make_step(model, store, config=config),
        optimizer=make_optimizer(
            model, config=config.optimizer, tables=model.tables(), precision=config.precision
        ),
        config=config.fit,
        run=config.output,
        evaluate=make_evaluation(store, config=config),
    )
    assert isinstance(trained, WorldModel)
    trained.eval().save_pretrained(config.output / "world_model")
    return trained


def announce(model: WorldModel, *, config: WorldModelRun) -> None:
    """Log the size of the model and of a step."""
    for line in describe(model, batch_size=config.batch_size):
        log.info("%s", line)


def make_model(config: WorldModelRun, *, store: TokenStore) -> WorldModel:
    """A model that fits the tokens: freshly initialised, or the one to fine-tune."""
    if config.model.branches == "both" and not store.config.has_depth:
        raise ValueError(
            f"{config.tokens} holds no depth, which the depth branch needs; annotate depth and "
            "tokenize again, or train with --model.branches rgb"
        )
    torch.manual_seed(seed_for(config.seed))
    shape = replace(
        config.model,
        control_size=store.control_size,
        grid=store.grid,
        code_bits=store.code_bits,
    )
    model = WorldModel(shape)
    if config.start_from:
        load_weights(model, resolve(config.start_from))
    return model.to(config.device)


def make_step(
    model: WorldModel, store: TokenStore, *, config: WorldModelRun
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """The training step: from its number to its loss."""
    dtype = compute_dtype(config.precision, kind="matmul", device=config.device)
    train_clips = len(store.clips("train", **clip_shape(store, config=config)))

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        indices = numpy_generator_for(config.seed, number).integers(
            train_clips, size=config.batch_size
        )
        clip = batch_of(store, indices, split="train", config=config)
        with torch.autocast(config.device, dtype, enabled=dtype != torch.float32):
            return step_loss(model, clip, number=number, config=config)

    return step


def step_loss(
    model: WorldModel, clip: TokenClip, *, number: int, config: WorldModelRun
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Loss of one batch of clips (Eq. 8), with the randomness of step `number`."""
    rows = training_rows(model, clip, number=number, config=config)
    keypoints = select_keypoints(
        clip.tracks, clip.visible, count=config.loss.keypoints, grid=model.config.grid
    )
    terms = loss_terms(
        model, rows, first=clip.rgb[:, 0].long(), keypoints=keypoints, config=config.loss
    )
    # The loop counts finished steps: it reports step 10 after the one that is numbered 9.
    report = (number + 1) % config.fit.log_every == 0 or number + 1 == config.fit.steps
    return terms.total(config.loss), terms.figures() if report else {}


def training_rows(
    model: WorldModel, clip: TokenClip, *, number: int, config: WorldModelRun
) -> Rows:
    """Rows of a batch: what is revealed, corrupted and self-predicted in step `number`."""
    generator = generator_for(config.seed, number)
    masking = config.masking
    tokens = tokens_of(clip, modalities=model.config.modalities)
    if model.config.objective == "masked":
        return masked_rows(tokens, clip.controls, generator=generator)
    rows = next_frame_rows(tokens, clip.controls)
    chance = torch.rand((), generator=generator).item()
    if chance < masking.self_predicted and number >= masking.self_predicted_after:
        rows = self_predicted_rows(model, rows)
    rows = corrupted_rows(rows, largest_rate=masking.corruption, generator=generator)
    return revealed_rows(rows, fully_hidden=masking.fully_hidden, generator=generator)


def tokens_of(clip: TokenClip, *, modalities: int) -> Int[Tensor, "m b t n"]:
    """RGB and, for two modalities, depth codes, stacked."""
    return torch.stack([clip.rgb, clip.depth][:modalities])


def clip_shape(store: TokenStore, *, config: WorldModelRun) -> dict[str, int]:
    """Frames of a clip, and native rows between them."""
    return {"length": config.model.max_frames, "stride": store.controls.stride}


def batch_of(
    store: TokenStore, indices: Int[np.ndarray, " b"], *, split: Split, config: WorldModelRun
) -> TokenClip:
    """Clips of a split, on the run's device."""
    clip = store.batch(indices, split=split, **clip_shape(store, config=config))
    tensors = {name: value.to(config.device) for name, value in vars(clip).items()}
    return TokenClip(**tensors)


def make_evaluation(
    store: TokenStore, *, config: WorldModelRun
) -> Callable[[nn.Module], dict[str, float]]:
    """Validation figures on fixed clips: the first of as many validation episodes as asked for."""
    table = store.clips("validation", **clip_shape(store, config=config))
    starts = table.first_of_episodes()[: config.validation_clips]
    dtype = compute_dtype(config.precision, kind="matmul", device=config.device)

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, WorldModel)
        figures = []
        for indices in np.array_split(starts, max(1, len(starts) // config.batch_size)):
            clip = batch_of(store, indices, split="validation", config=config)
            tokens = tokens_of(clip, modalities=model.config.modalities)
            with torch.autocast(config.device, dtype, enabled=dtype != torch.float32):
                figures.append(validate(model, tokens, clip.controls))
        return {name: float(np.mean([f[name] for f in figures])) for name in figures[0]}

    return evaluate
