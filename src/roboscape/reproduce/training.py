"""One training of a study for a fixed number of steps, and what a step costs."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from roboscape.core.errors import UserError
from roboscape.core.precision import compute_format
from roboscape.presets.world_model import shortened
from roboscape.reproduce.variants import Variant
from roboscape.tokens.store import TokenStore
from roboscape.training.learner import Learner
from roboscape.training.optimizer import make_optimizer
from roboscape.training.parallel import Execution
from roboscape.world_model import train
from roboscape.world_model.batches import BatchMaker
from roboscape.world_model.model import WorldModel
from roboscape.world_model.train import WorldModelRun

TIMED_RUN, WARM_STEPS, TIMED_STEPS = 100, 1, 6
"""Steps of a run that is timed, and how many of them are taken."""
REPORTS = 20
"""Training losses that a result keeps."""


Surgery = Callable[[WorldModel], WorldModel]
"""A change of the model that settings cannot make."""


def unchanged(model: WorldModel) -> WorldModel:
    """No surgery."""
    return model


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training that every variant of a study changes."""

    base: WorldModelRun
    """A complete run; its `tokens` and its number of steps are replaced."""
    tokens: dict[str, Path]
    """Token stores of the same episodes, by the name of the labels that they hold."""

    def run(self, variant: Variant, *, steps: int, seed: int) -> WorldModelRun:
        """The run of a variant: what it counts in steps is fitted to so many.

        Raises:
            UserError: there are no tokens of the variant's labels.
        """
        if variant.labels not in self.tokens:
            raise UserError(
                f"no tokens with labels `{variant.labels}`; there are: {', '.join(self.tokens)}"
            )
        base = shortened(self.base, steps=steps)
        return variant.change(replace(base, tokens=self.tokens[variant.labels], seed=seed))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training."""

    model: WorldModel
    """The averaged one where there is an average; no gradients."""
    cpu_s: float
    """CPU seconds of this process. Others lengthen them less than they do the clock."""
    losses: dict[int, float]
    """Training loss by step, the mean since the step before."""
    frames: int
    """Frames of all training episodes that clips are drawn from."""


class Trainer:
    """A variant in training, step by step, on one thread."""

    def __init__(
        self, run: WorldModelRun, *, data_share: float = 1.0, surgery: Surgery = unchanged
    ) -> None:
        """Build the model and open the data.

        Args:
            run: The training.
            data_share: Share of the training episodes, from the first, in (0, 1].
            surgery: Replaces parts of the model that the run builds.
        """
        torch.set_num_threads(1)
        store = TokenStore(run.tokens)
        self.run = run
        self.model = surgery(train.make_model(run, store=store))
        self.learner = Learner.prepare(
            self.model,
            make_optimizer(
                self.model,
                config=run.optimizer,
                tables=self.model.tables(),
                precision=run.precision,
            ),
            config=run.fit,
            execution=Execution(
                blocks=train.block_names(self.model),
                formats={"matmul": compute_format(run.precision, device=run.device)},
            ),
        )
        self.step = train.make_step(self.model, config=run)
        self.batches, self.frames = batches_of(self.model, store, run, data_share=data_share)

    def advance(self, number: int) -> float:
        """One step; returns its loss."""
        parts = self.batches.microbatches(number)
        loss, _ = self.learner.take_step(parts, self.step, config=self.run.fit)
        return loss

    def result(self) -> WorldModel:
        """The model that is measured."""
        model = self.learner.result()
        assert isinstance(model, WorldModel)
        return model.eval().requires_grad_(requires_grad=False)


def batches_of(
    model: WorldModel, store: TokenStore, run: WorldModelRun, *, data_share: float
) -> tuple[BatchMaker, int]:
    """The batches of a run, and how many frames of training episodes they are drawn from.

    Which clips a step reads follows from the seed, the step and the number of clips, so variants
    with equal seeds and equal data read the same.

    Args:
        model: To be trained.
        store: Where the clips are.
        run: Its seed, batch size and masking.
        data_share: Share of the training episodes, from the first, in (0, 1].
    """
    shape = train.clip_shape(store, config=run)
    table = store.clips("train", **shape)
    episodes = np.unique(table.episode[table.counts > 0])
    kept = episodes[: max(1, round(data_share * len(episodes)))]
    inside = table.episode <= kept[-1]
    # Ranges follow each other as the episodes do, so the first clips are those of the first ones.
    assert inside[: inside.sum()].all(), "the ranges of a store are in the order of its episodes"
    maker = BatchMaker(
        config=run,
        model=model.config,
        clips=int(table.counts[inside].sum()),
        read=lambda indices: store.batch(indices, split="train", **shape),
        task_size=store.config.controls.task_size,
    )
    return maker, int(store.episodes.length[kept].sum())


def train_variant(recipe: Recipe, variant: Variant, *, steps: int, seed: int) -> Trained:
    """Train a variant for so many steps on one thread."""
    run = recipe.run(variant, steps=steps, seed=seed)
    return train_steps(Trainer(run, data_share=variant.data_share))


def train_steps(
    trainer: Trainer, *, report: Callable[[int, float], None] = lambda _step, _loss: None
) -> Trained:
    """Take all steps of a trainer's run; `report` gets steps and losses."""
    steps = trainer.run.fit.steps
    every, recent, losses = max(1, steps // REPORTS), [], {}
    start = time.process_time()
    for number in range(steps):
        recent.append(trainer.advance(number))
        if (number + 1) % every == 0 or number + 1 == steps:
            losses[number + 1] = statistics.mean(recent)
            recent = []
            report(number + 1, losses[number + 1])
    return Trained(
        model=trainer.result(),
        cpu_s=time.process_time() - start,
        losses=losses,
        frames=trainer.frames,
    )


def step_costs(
    runs: dict[str, WorldModelRun], *, surgeries: dict[str, Surgery] | None = None
) -> dict[str, float]:
    """CPU seconds of a step of each run where nothing disturbs it, by name.

    They take their steps in turns, so that other load of the machine meets all alike, and the
    shortest counts. Steps with self-predicted pasts cost more, and count by their share.

    Args:
        runs: What is timed; how many steps a run has does not matter.
        surgeries: Changes of the models that the runs build, by the same names; none of others.
    """
    surgeries = surgeries or {}
    kinds = {
        (name, share): Trainer(timed_run(run, share=share), surgery=surgeries.get(name, unchanged))
        for name, run in runs.items()
        for share in ((0.0, 1.0) if late_share(run) else (0.0,))
    }
    seconds: dict[tuple[str, float], list[float]] = {kind: [] for kind in kinds}
    for number in range(WARM_STEPS + TIMED_STEPS):
        for kind, trainer in kinds.items():
            start = time.process_time()
            trainer.advance(number)
            seconds[kind].append(time.process_time() - start)
    # Other load lengthens CPU seconds too (shared caches and cores), and never shortens them.
    least = {kind: min(times[WARM_STEPS:]) for kind, times in seconds.items()}
    return {
        name: least[name, 0.0]
        + late_share(run) * (least.get((name, 1.0), least[name, 0.0]) - least[name, 0.0])
        for name, run in runs.items()
    }


def late_share(run: WorldModelRun) -> float:
    """Share of all steps whose pasts are self-predicted: it may happen in the second half."""
    return run.masking.self_predicted / 2 if run.model.objective == "next_frame" else 0.0


def timed_run(run: WorldModelRun, *, share: float) -> WorldModelRun:
    """A run in which all steps, or none, predict their own pasts."""
    masking = replace(run.masking, self_predicted=share, self_predicted_after=0)
    return replace(run, masking=masking)
