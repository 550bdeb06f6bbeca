"""Train imagined proprioception on recordings: `roboscape train proprioception PRESET`."""

import functools
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from roboscape.clips.split import Split, episodes_of
from roboscape.controls.proprioception import (
    Deviations,
    Proprioception,
    ProprioceptionConfig,
    proprioception_loss,
)
from roboscape.controls.signals import UNCHANGING
from roboscape.core.device import AUTO, resolve_device
from roboscape.core.errors import UserError
from roboscape.core.files import write_json
from roboscape.core.pretrained import load_weights, read_config, resolve
from roboscape.core.runs import open_run
from roboscape.core.seeding import numpy_generator_for, seed_for
from roboscape.core.settings import differences
from roboscape.dataset.reader import LeRobotDataset
from roboscape.training.learner import FitConfig
from roboscape.training.loop import fit_in_fp32
from roboscape.training.optimizer import OptimizerConfig

log = logging.getLogger(__name__)

REPORTED_ROWS = (4, 16, 32, 60)
"""Actions after which validation measures the error."""


@dataclass(frozen=True, kw_only=True)
class ProprioceptionRun:
    """A complete training of imagined proprioception."""

    dataset: Path
    """LeRobot dataset with states; its training split is trained on."""
    more: tuple[Path, ...] = ()
    """Further ones of the same robot, e.g. of what policies do (`roboscape collect policy
    --no-pictures`)."""
    validation: Path | None = None
    """LeRobot dataset to measure on; the first one's validation episodes where not given."""
    output: Path
    """Run folder; the model itself ends in its `proprioception` folder."""
    start_from: str = ""
    """Folder or hub name of such a model to go on from (`lift/proprioception`); robot, objects and
    width must be its."""
    width: int = 128
    """Of the recurrent state."""
    second_order: bool = True
    """Whether it predicts how a row's change differs from the last one's, or the change itself."""
    rows: int = 60
    """Actions imagined in a row; shorter episodes count as far as they go."""
    from_start: float = 0.3
    """Share of sequences that begin where an episode begins, as rollouts mostly do."""
    objects: bool = True
    """Whether it takes the objects that recordings have (`collect lift --objects`)."""
    objects_hidden: float = 0.2
    """Share of sequences whose objects are unknown to it, so that it can do without."""
    batch_size: int = 128
    """Sequences a step."""
    validation_sequences: int = 256
    """Sequences measured on."""
    seed: int = 0
    """Where all randomness comes from."""
    device: str = AUTO
    """`auto`, `cpu` or `cuda`."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            kind="adamw", learning_rate=3e-3, weight_decay=1e-4, decay_fraction=0.9
        )
    )
    """How weights move."""
    fit: FitConfig = field(default_factory=FitConfig)
    """How long."""

    def __post_init__(self) -> None:
        """Refuse empty sequences."""
        if min(self.rows, self.batch_size, self.validation_sequences) < 1:
            raise UserError("rows, batch_size and validation_sequences must be 1 or more")
        for name, share in (
            ("from_start", self.from_start),
            ("objects_hidden", self.objects_hidden),
        ):
            if not 0 <= share <= 1:
                raise UserError(f"{name} is a share, got {share}")


@dataclass(frozen=True)
class Sequences:
    """Numbers of some episodes, one after the other."""

    actions: Float[np.ndarray, "rows a"]
    states: Float[np.ndarray, "rows s"]
    objects: Float[np.ndarray, "rows o"]
    """Of width 0 where none are taken."""
    ends: Int[np.ndarray, " e"]
    """Where each episode ends."""

    @classmethod
    def read(cls, dataset: LeRobotDataset, split: Split, *, objects: bool = False) -> "Sequences":
        """A split's episodes, with their objects if asked for.

        Raises:
            ValueError: the dataset has no states, or no episode of the split that moves on.
        """
        if not dataset.spec.state_names:
            raise UserError(
                f"{dataset.root} records no proprioception, so there is nothing to learn it from; "
                "train the world model without (`roboscape tokenize` without --proprioception)"
            )
        chosen = [e for e in episodes_of(dataset, split) if dataset.episode_info(e).length > 1]
        if not chosen:
            raise UserError(
                f"none of the {dataset.num_episodes} episodes of {dataset.root} is for {split} and "
                "has two rows or more; import or collect more, or give --validation another dataset"
            )
        states = [dataset.state(episode) for episode in chosen]
        placed = [
            dataset.objects(e) if objects else np.zeros((dataset.episode_info(e).length, 0))
            for e in chosen
        ]
        return cls(
            actions=np.concatenate([dataset.actions(episode) for episode in chosen]),
            states=np.concatenate(states),
            objects=np.concatenate(placed),
            ends=np.cumsum([len(state) for state in states]),
        )

    def followed_by(self, later: "Sequences") -> "Sequences":
        """These episodes, then others."""
        return Sequences(
            actions=np.concatenate([self.actions, later.actions]),
            states=np.concatenate([self.states, later.states]),
            objects=np.concatenate([self.objects, later.objects]),
            ends=np.concatenate([self.ends, self.ends[-1] + later.ends]),
        )

    @property
    def starts(self) -> Int[np.ndarray, " e"]:
        """The row at which each episode begins."""
        return np.concatenate([[0], self.ends[:-1]])

    def deviations(self) -> Deviations:
        """The deviations that normalise the model's inputs."""
        changes, moved = (
            np.delete(np.diff(values, axis=0), self.ends[:-1] - 1, axis=0)
            for values in (self.states, self.objects)
        )
        return Deviations(
            object_mean=self.objects.mean(axis=0),
            object_std=self.objects.std(axis=0),
            object_change_std=moved.std(axis=0),
            state_mean=self.states.mean(axis=0),
            state_std=self.states.std(axis=0),
            change_std=changes.std(axis=0),
            action_mean=self.actions.mean(axis=0),
            action_std=self.actions.std(axis=0),
        )

    def draw(
        self, generator: np.random.Generator, *, size: int, rows: int, from_start: float
    ) -> "Batch":
        """Random sequences; a long episode is drawn as often as a short one."""
        episode = generator.integers(len(self.ends), size=size)
        first, end = self.starts[episode], self.ends[episode]
        # The last begin from which a whole sequence fits; a short episode is taken from its start.
        room = np.maximum(end - first - rows - 1, 0)
        offset = generator.integers(room + 1) * (generator.random(size) >= from_start)
        begin = first + offset
        at = begin[:, None] + np.arange(rows + 1)
        known = at[:, 1:] < end[:, None]
        at = np.minimum(at, end[:, None] - 1)
        return Batch(
            actions=as_tensor(self.actions[at[:, :-1]]),
            states=as_tensor(self.states[at]),
            objects=as_tensor(self.objects[at]),
            state_before=as_tensor(self.states[np.maximum(begin - 1, first)]),
            known=as_tensor(known),
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences as the model takes them."""

    actions: Float[Tensor, "b n a"]
    states: Float[Tensor, "b n+1 s"]
    objects: Float[Tensor, "b n+1 o"]
    """NaN where they are unknown."""
    state_before: Float[Tensor, "b s"]
    known: Float[Tensor, "b n"]
    """1 where the state after an action was recorded."""

    def to(self, device: torch.device) -> "Batch":
        """The same sequences on a device."""
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})

    def hiding(self, hidden: Bool[np.ndarray, " b"]) -> "Batch":
        """The same, but nothing is known of the objects of some sequences."""
        unknown = torch.from_numpy(hidden).to(self.objects.device)[:, None, None]
        return replace(self, objects=self.objects.masked_fill(unknown, torch.nan))

    def imagine(self, model: Proprioception) -> Float[Tensor, "b n m"]:
        """The model's states, then objects, in deviations."""
        return model(self.actions, self.states[:, 0], self.state_before, self.objects[:, 0])

    def true(self, model: Proprioception) -> Float[Tensor, "b r m"]:
        """The recorded states and objects, in deviations; NaN where objects are unknown."""
        states = model.normalize(self.states)
        if not model.config.object_names:
            return states
        return torch.cat([states, model.normalize_objects(self.objects)], dim=-1)


def device_of(model: nn.Module) -> torch.device:
    """The device of a model."""
    return next(model.parameters()).device


def as_tensor(values: np.ndarray) -> Float[Tensor, "..."]:
    """In fp32: small matrices gain nothing from another format."""
    return torch.from_numpy(np.asarray(values, np.float32))


def run(config: ProprioceptionRun) -> Proprioception:
    """Train, measure, and leave the model in `output/proprioception`."""
    learnt_from = [LeRobotDataset(path) for path in (config.dataset, *config.more)]
    validation = LeRobotDataset(config.validation) if config.validation else learnt_from[0]
    objects = learnt_from[0].spec.object_names if config.objects else ()
    for dataset in (*learnt_from[1:], validation):
        if objects and dataset.spec.object_names != objects:
            raise UserError(
                f"{config.dataset} says where {', '.join(objects)} are and {dataset.root} does "
                "not; record both alike (`roboscape collect lift --objects`), or give --no-objects"
            )
    read = [Sequences.read(dataset, "train", objects=bool(objects)) for dataset in learnt_from]
    held_out = Sequences.read(validation, "validation", objects=bool(objects))
    torch.manual_seed(seed_for(config.seed))
    model = Proprioception(
        ProprioceptionConfig(
            convention=learnt_from[0].spec.action,
            state_names=learnt_from[0].spec.state_names,
            object_names=objects,
            width=config.width,
            second_order=config.second_order,
        )
    )
    for dataset in (*learnt_from, validation):
        model.check(dataset)
    learnt = functools.reduce(Sequences.followed_by, read)
    if config.start_from:
        # Its deviations are part of what it learnt.
        go_on_from(resolve(config.start_from), model)
    else:
        model.set_deviations(learnt.deviations())
    open_run(config.output, config)
    model.to(resolve_device(config.device))
    evaluate = make_evaluation(held_out, config=config)
    trained = fit_in_fp32(
        model,
        step=make_step(model, learnt, config=config),
        optimizer=config.optimizer,
        config=config.fit,
        run=config.output,
        evaluate=evaluate,
    )
    trained.save_pretrained(config.output / "proprioception")
    found = evaluate(trained)
    write_json(config.output / "proprioception" / "accuracy.json", found)
    for name, value in found.items():
        log.info("%s: %.1f %% of the distance moved", name.replace("_", " "), 100 * value)
    # Imagining a clip or two is quicker on the CPU than the way to another device.
    return trained.cpu()


def go_on_from(folder: Path, model: Proprioception) -> None:
    """Take over the weights of a trained model.

    Raises:
        UserError: it is of another robot, other objects or another size; the message names what
            differs.
    """
    found = read_config(ProprioceptionConfig, folder)
    if found != model.config:
        different = differences(asdict(found), asdict(model.config))
        raise UserError(f"{folder} does not fit as a start ({different}); train one from scratch")
    load_weights(model, folder)


def make_step(
    model: Proprioception, training: Sequences, *, config: ProprioceptionRun
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """The training step: from its number to its loss."""

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        generator = numpy_generator_for(config.seed, number)
        batch = training.draw(
            generator, size=config.batch_size, rows=config.rows, from_start=config.from_start
        ).to(device_of(model))
        if model.config.object_names:
            batch = batch.hiding(generator.random(config.batch_size) < config.objects_hidden)
        true = batch.true(model)[:, 1:]
        return proprioception_loss(batch.imagine(model), true, known=batch.known), {}

    return step


def make_evaluation(
    held_out: Sequences, *, config: ProprioceptionRun
) -> Callable[[nn.Module], dict[str, float]]:
    """Errors on fixed sequences, as shares of the distance that the recorded state moves; of a
    model that takes objects, also where they are unknown."""
    drawn = held_out.draw(
        numpy_generator_for(0),
        size=config.validation_sequences,
        rows=config.rows,
        from_start=config.from_start,
    )

    @torch.no_grad()
    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, Proprioception)
        batch = drawn.to(device_of(model))
        figures = errors_of(model, batch)
        if model.config.object_names:
            untold = errors_of(model, batch.hiding(np.ones(len(batch.known), bool)))
            figures |= {f"{name}_objects_unknown": value for name, value in untold.items()}
        return figures

    return evaluate


def errors_of(model: Proprioception, batch: Batch) -> dict[str, float]:
    """Errors of the arm's states, as shares of the distance that the recorded ones move."""
    robot = len(model.config.state_names)
    true = batch.true(model)[..., :robot]
    way = (true[:, 1:] - true[:, :1]).abs()
    error = (batch.imagine(model)[..., :robot] - true[:, 1:]).abs()
    figures = {}
    for rows in (rows for rows in REPORTED_ROWS if rows <= batch.known.shape[1]):
        known = batch.known[:, rows - 1, None]
        gone = (way[:, rows - 1] * known).sum().item()
        missed = (error[:, rows - 1] * known).sum().item()
        figures[f"error_after_{rows}_rows"] = missed / max(gone, UNCHANGING)
    return figures
