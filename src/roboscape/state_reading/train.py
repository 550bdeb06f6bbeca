"""Train a state reader on a token store: `roboscape train state-reader`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from roboscape.clips.split import SPLITS, Split
from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.core.files import write_json
from roboscape.core.runs import open_run
from roboscape.core.seeding import numpy_generator_for, seed_for
from roboscape.dataset.cameras import hand_columns, named_hand
from roboscape.state_reading.model import StateReader, StateReaderConfig
from roboscape.tokenizer.codes import MISSING
from roboscape.tokens.store import StoredFrames, TokenStore
from roboscape.training.learner import FitConfig
from roboscape.training.loop import fit_in_fp32
from roboscape.training.optimizer import OptimizerConfig

log = logging.getLogger(__name__)

SMOOTH = 0.1
"""Errors below so many deviations count squared."""


@dataclass(frozen=True, kw_only=True)
class StateReaderRun:
    """Learn to read the robot's state off a frame's tokens."""

    tokens: Path
    """Token store with states; its training split is trained on."""
    state_names: tuple[str, ...] = ()
    """Names of the states' dimensions; those of the store's arm model where none is named."""
    output: Path
    """Run folder; the reader itself ends in its `state_reader` folder."""
    width: int = 48
    """Channels."""
    batch_size: int = 64
    """Frames a step."""
    without_depth: float = 0.4
    """Share of frames that are shown without depth, so that a picture alone can be read too."""
    validation_frames: int = 512
    """Frames measured on."""
    seed: int = 0
    """Where all randomness comes from."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            kind="adamw", learning_rate=3e-3, weight_decay=1e-2, decay_fraction=0.9
        )
    )
    """How weights move."""
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=3000, evaluate_every=500))
    """How long."""

    def __post_init__(self) -> None:
        """Refuse steps of nothing."""
        if min(self.batch_size, self.validation_frames) < 1 or not 0 <= self.without_depth <= 1:
            raise UserError(
                "expected batch_size and validation_frames of 1 or more and a share without_depth, "
                f"got {self.batch_size}, {self.validation_frames} and {self.without_depth:g}"
            )


def run(config: StateReaderRun) -> StateReader:
    """Train, measure, and leave the reader in `output/state_reader`.

    Raises:
        ValueError: the store holds no states, or nothing says what their dimensions are.
    """
    store = TokenStore(config.tokens)
    names = state_names(store, config.state_names)
    open_run(config.output, config)
    torch.manual_seed(seed_for(config.seed))
    rows, columns = store.grid
    model = StateReader(
        StateReaderConfig(
            state_names=names,
            grid=(rows * len(store.config.cameras), columns),
            code_bits=store.code_bits,
            encoder_sha256=store.config.encoder_sha256,
            width=config.width,
        )
    )
    model.set_deviations(draw(store, "train", numpy_generator_for(config.seed), size=4096).state)
    model.to(resolve_device(config.device))
    evaluate = make_evaluation(store, config=config)
    trained = fit_in_fp32(
        model,
        step=make_step(model, store, config=config),
        optimizer=config.optimizer,
        config=config.fit,
        run=config.output,
        evaluate=evaluate,
    )
    trained.save_pretrained(config.output / "state_reader")
    found = evaluate(trained)
    write_json(config.output / "state_reader" / "accuracy.json", found)
    for name, value in found.items():
        log.info("%s: %.4f", name, value)
    return trained.cpu()


def state_names(store: TokenStore, named: tuple[str, ...]) -> tuple[str, ...]:
    """Names of a store's states.

    Raises:
        ValueError: it holds none, or they have other names than these, or none.
    """
    size = store.controls.statistics.state_size
    arm = store.controls.proprioception
    names = named or (() if arm is None else arm.config.state_names)
    if not size:
        raise UserError(f"{store.root} holds no states to learn from; its recordings had none")
    if len(names) != size:
        raise UserError(
            f"the states of {store.root} have {size} dimensions, and {len(names)} are named "
            f"({', '.join(names) or 'it has no arm model that names them'}); give --state-names"
        )
    return names


def draw(
    store: TokenStore, split: Split, generator: np.random.Generator, *, size: int
) -> StoredFrames:
    """Random frames of a split; a long episode is drawn as often as a short one.

    Raises:
        ValueError: no episode is of this split.
    """
    episodes = np.flatnonzero(store.episodes.split == SPLITS.index(split))
    if not len(episodes):
        raise UserError(f"{store.root} has no {split} episode; tokenize more datasets into it")
    chosen = generator.choice(episodes, size=size)
    return store.frames(chosen, generator.integers(store.episodes.length[chosen]))


def inputs(
    frames: StoredFrames, *, hidden: np.ndarray, device: torch.device
) -> tuple[Int[Tensor, "n t"], Int[Tensor, "n t"], Float[Tensor, "n s"]]:
    """Tokens and states of frames, the depth of some hidden."""
    rgb = torch.from_numpy(frames.rgb)
    depth = torch.full_like(rgb, MISSING)
    if frames.depth is not None:
        depth = torch.from_numpy(np.where(hidden[:, None], MISSING, frames.depth))
    return rgb.to(device), depth.to(device), torch.from_numpy(frames.state).to(device)


def make_step(
    model: StateReader, store: TokenStore, *, config: StateReaderRun
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """The training step: from its number to its loss."""

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        generator = numpy_generator_for(config.seed, number)
        frames = draw(store, "train", generator, size=config.batch_size)
        hidden = generator.random(config.batch_size) < config.without_depth
        device = next(model.parameters()).device
        rgb, depth, state = inputs(frames, hidden=hidden, device=device)
        loss = functional.smooth_l1_loss(model(rgb, depth), model.normalize(state), beta=SMOOTH)
        return loss, {}

    return step


def make_evaluation(
    store: TokenStore, *, config: StateReaderRun
) -> Callable[[nn.Module], dict[str, float]]:
    """Errors on fixed validation frames, from RGB alone and with depth.

    `error` is the mean absolute one in deviations; `hand_m` the median distance of the hand from
    where it was, and `hand_m_90` its 90th percentile, where the states name the hand.
    """
    frames = draw(store, "validation", numpy_generator_for(0), size=config.validation_frames)

    @torch.no_grad()
    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, StateReader)
        device = next(model.parameters()).device
        figures = {}
        for what, without in (("rgb", True), ("rgb_depth", False)):
            if not without and frames.depth is None:
                continue
            hidden = np.full(len(frames.rgb), without)
            rgb, depth, state = inputs(frames, hidden=hidden, device=device)
            found = torch.from_numpy(model.read(rgb, depth)).to(device)
            error = (model.normalize(found) - model.normalize(state)).abs()
            figures[f"error_{what}"] = error.mean().item()
            figures |= hand_errors(found - state, names=model.config.state_names, what=what)
        return figures

    return evaluate


def hand_errors(
    error: Float[Tensor, "n s"], *, names: tuple[str, ...], what: str
) -> dict[str, float]:
    """The hand's distances from where it was; none where the states do not name the hand."""
    if named_hand(names) is None:
        return {}
    away_m = error[:, hand_columns(names)].norm(dim=1)
    return {
        f"hand_m_{what}": away_m.median().item(),
        f"hand_m_90_{what}": away_m.quantile(0.9).item(),
    }
