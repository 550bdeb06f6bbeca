"""Train a state reader on a token store: `roboscape train state-reader`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
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
from roboscape.dataset.cameras import named_hand
from roboscape.dataset.reader import LeRobotDataset
from roboscape.tokenizer.codes import MISSING
from roboscape.tokens.state_reader import OBJECT_READER, StateReader, StateReaderConfig
from roboscape.tokens.store import EPISODES, StoredFrames, TokenStore
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
    objects: bool = False
    """Learn where objects are instead, from recordings that say (`roboscape collect lift
    --objects`): the object reader of an arm model that takes objects."""
    output: Path
    """Run folder; the reader itself ends in its `state_reader` or `object_reader` folder."""
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
        ValueError: the store holds no states, or augmented copies, or nothing says what the
            states' dimensions are.
    """
    store = TokenStore(config.tokens)
    if store.config.augmented_copies:
        raise UserError(
            f"{store.root} holds augmented copies, which show the recorded states at other places "
            "of the frame; tokenize again into another --output without --augmented-copies"
        )
    places = ObjectPlaces.of(store) if config.objects else None
    names = state_names(store, config.state_names) if places is None else places.names
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
    seen = draw(store, "train", numpy_generator_for(config.seed), size=4096, places=places)
    model.set_deviations(seen.state)
    model.to(resolve_device(config.device))
    evaluate = make_evaluation(store, config=config, places=places)
    trained = fit_in_fp32(
        model,
        step=make_step(model, store, config=config, places=places),
        optimizer=config.optimizer,
        config=config.fit,
        run=config.output,
        evaluate=evaluate,
    )
    folder = config.output / (OBJECT_READER if config.objects else "state_reader")
    trained.save_pretrained(folder)
    found = evaluate(trained)
    write_json(folder / "accuracy.json", found)
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


@dataclass(frozen=True, kw_only=True)
class ObjectPlaces:
    """Positions of objects in every row of a store's episodes, as recorded."""

    names: tuple[str, ...]
    """One a number."""
    by_episode: tuple[Float[np.ndarray, "rows o"], ...]

    @classmethod
    def of(cls, store: TokenStore) -> "ObjectPlaces":
        """Those of a store.

        Raises:
            ValueError: its recordings do not say where objects are, or not all of the same.
        """
        datasets = [LeRobotDataset(Path(root)) for root in store.config.datasets]
        names = {dataset.spec.object_names for dataset in datasets}
        if len(names) != 1 or not next(iter(names)):
            raise UserError(
                f"the recordings of {store.root} do not all say where the same objects are; record "
                "them with `roboscape collect lift --objects`"
            )
        table = pq.ParquetFile(store.root / EPISODES).read(columns=["dataset", "episode"])
        pairs = zip(table["dataset"].to_pylist(), table["episode"].to_pylist(), strict=True)
        return cls(
            names=names.pop(),
            by_episode=tuple(datasets[dataset].objects(episode) for dataset, episode in pairs),
        )

    def at(
        self, episodes: Int[np.ndarray, " n"], rows: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n o"]:
        """Places in single frames, by the store's episodes and their rows."""
        return np.stack([self.by_episode[e][row] for e, row in zip(episodes, rows, strict=True)])


def draw(
    store: TokenStore,
    split: Split,
    generator: np.random.Generator,
    *,
    size: int,
    places: ObjectPlaces | None = None,
) -> StoredFrames:
    """Random frames of a split, each as likely as every other, with objects in the place of states
    if given.

    Raises:
        ValueError: no episode is of this split.
    """
    episodes = np.flatnonzero(store.episodes.split == SPLITS.index(split))
    if not len(episodes):
        raise UserError(f"{store.root} has no {split} episode; tokenize more datasets into it")
    lengths = store.episodes.length[episodes]
    chosen = generator.choice(episodes, size=size, p=lengths / lengths.sum())
    rows = generator.integers(store.episodes.length[chosen])
    frames = store.frames(chosen, rows)
    return frames if places is None else replace(frames, state=places.at(chosen, rows))


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
    model: StateReader,
    store: TokenStore,
    *,
    config: StateReaderRun,
    places: ObjectPlaces | None,
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """The training step: from its number to its loss."""

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        generator = numpy_generator_for(config.seed, number)
        frames = draw(store, "train", generator, size=config.batch_size, places=places)
        hidden = generator.random(config.batch_size) < config.without_depth
        device = next(model.parameters()).device
        rgb, depth, state = inputs(frames, hidden=hidden, device=device)
        loss = functional.smooth_l1_loss(model(rgb, depth), model.normalize(state), beta=SMOOTH)
        return loss, {}

    return step


def make_evaluation(
    store: TokenStore, *, config: StateReaderRun, places: ObjectPlaces | None
) -> Callable[[nn.Module], dict[str, float]]:
    """Errors on fixed validation frames, from RGB alone and with depth.

    `error` is the mean absolute one in deviations; `hand_m` the median distance of the hand from
    where it was, and `hand_m_90` its 90th percentile, where the states name the hand; the same of
    objects by their names (`cube_m`).
    """
    size = config.validation_frames
    frames = draw(store, "validation", numpy_generator_for(0), size=size, places=places)

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
            figures |= distances_m(found - state, names=model.config.state_names, what=what)
        return figures

    return evaluate


def distances_m(
    error: Float[Tensor, "n s"], *, names: tuple[str, ...], what: str
) -> dict[str, float]:
    """Distances of hand and objects from where they were; of those that names give a position."""
    figures = {}
    hand = named_hand(names)
    for thing in dict.fromkeys(name.removesuffix("_x") for name in names if name.endswith("_x")):
        columns = [f"{thing}_{axis}" for axis in "xyz"]
        if not set(columns) <= set(names):
            continue
        away_m = error[:, [names.index(name) for name in columns]].norm(dim=1)
        called = "hand" if thing == hand else thing
        figures[f"{called}_m_{what}"] = away_m.median().item()
        figures[f"{called}_m_90_{what}"] = away_m.quantile(0.9).item()
    return figures
