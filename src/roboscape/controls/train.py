"""Train imagined proprioception on recordings: `roboscape train proprioception PRESET`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
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
from roboscape.core.runs import open_run
from roboscape.core.seeding import numpy_generator_for, seed_for
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
    validation: Path | None = None
    """LeRobot dataset to measure on; the first one's validation episodes where not given."""
    output: Path
    """Run folder; the model itself ends in its `proprioception` folder."""
    width: int = 128
    """Of the recurrent state."""
    rows: int = 60
    """Actions imagined in a row; shorter episodes count as far as they go."""
    from_start: float = 0.3
    """Share of sequences that begin where an episode begins, as rollouts mostly do."""
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
        if not 0 <= self.from_start <= 1:
            raise UserError(f"from_start is a share, got {self.from_start}")


@dataclass(frozen=True)
class Sequences:
    """Numbers of some episodes, one after the other."""

    actions: Float[np.ndarray, "rows a"]
    states: Float[np.ndarray, "rows s"]
    ends: Int[np.ndarray, " e"]
    """Where each episode ends."""

    @classmethod
    def read(cls, dataset: LeRobotDataset, split: Split) -> "Sequences":
        """A split's episodes.

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
        return cls(
            np.concatenate([dataset.actions(episode) for episode in chosen]),
            np.concatenate(states),
            np.cumsum([len(state) for state in states]),
        )

    @property
    def starts(self) -> Int[np.ndarray, " e"]:
        """The row at which each episode begins."""
        return np.concatenate([[0], self.ends[:-1]])

    def deviations(self) -> Deviations:
        """The deviations that normalise the model's inputs."""
        changes = np.delete(np.diff(self.states, axis=0), self.ends[:-1] - 1, axis=0)
        return Deviations(
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
            state_before=as_tensor(self.states[np.maximum(begin - 1, first)]),
            known=as_tensor(known),
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences as the model takes them."""

    actions: Float[Tensor, "b n a"]
    states: Float[Tensor, "b n+1 s"]
    state_before: Float[Tensor, "b s"]
    known: Float[Tensor, "b n"]
    """1 where the state after an action was recorded."""

    def to(self, device: torch.device) -> "Batch":
        """The same sequences on a device."""
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})

    def imagine(self, model: Proprioception) -> Float[Tensor, "b n s"]:
        """The model's states, in deviations."""
        return model(self.actions, self.states[:, 0], self.state_before)


def device_of(model: nn.Module) -> torch.device:
    """The device of a model."""
    return next(model.parameters()).device


def as_tensor(values: np.ndarray) -> Float[Tensor, "..."]:
    """In fp32: small matrices gain nothing from another format."""
    return torch.from_numpy(np.asarray(values, np.float32))


def run(config: ProprioceptionRun) -> Proprioception:
    """Train, measure, and leave the model in `output/proprioception`."""
    dataset = LeRobotDataset(config.dataset)
    validation = dataset if config.validation is None else LeRobotDataset(config.validation)
    learnt, held_out = Sequences.read(dataset, "train"), Sequences.read(validation, "validation")
    torch.manual_seed(seed_for(config.seed))
    model = Proprioception(
        ProprioceptionConfig(
            convention=dataset.spec.action, state_names=dataset.spec.state_names, width=config.width
        )
    )
    model.check(validation)
    open_run(config.output, config)
    model.set_deviations(learnt.deviations())
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


def make_step(
    model: Proprioception, training: Sequences, *, config: ProprioceptionRun
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """The training step: from its number to its loss."""

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        batch = training.draw(
            numpy_generator_for(config.seed, number),
            size=config.batch_size,
            rows=config.rows,
            from_start=config.from_start,
        ).to(device_of(model))
        true = model.normalize(batch.states[:, 1:])
        return proprioception_loss(batch.imagine(model), true, known=batch.known), {}

    return step


def make_evaluation(
    held_out: Sequences, *, config: ProprioceptionRun
) -> Callable[[nn.Module], dict[str, float]]:
    """Errors on fixed sequences, as shares of the distance that the recorded state moves."""
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
        true = model.normalize(batch.states)
        way = (true[:, 1:] - true[:, :1]).abs()
        error = (batch.imagine(model) - true[:, 1:]).abs()
        figures = {}
        for rows in (rows for rows in REPORTED_ROWS if rows <= config.rows):
            known = batch.known[:, rows - 1, None]
            gone = (way[:, rows - 1] * known).sum().item()
            missed = (error[:, rows - 1] * known).sum().item()
            figures[f"error_after_{rows}_rows"] = missed / max(gone, UNCHANGING)
        return figures

    return evaluate
