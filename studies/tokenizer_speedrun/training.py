"""Training a variant for a number of steps, and what a step of it costs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from roboscape.core.precision import compute_dtype
from roboscape.core.seeding import seed_for
from roboscape.presets.tokenizer import lift
from roboscape.tokenizer.frames import FrameCache
from roboscape.tokenizer.losses import tokenizer_loss
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokenizer.train import TABLES, TokenizerRun, images_of, indices_at
from roboscape.training.learner import Learner
from roboscape.training.optimizer import make_optimizer
from roboscape.training.parallel import Execution
from studies.tokenizer_speedrun.scores import previous
from studies.tokenizer_speedrun.terms import Seen
from studies.tokenizer_speedrun.variants import Variant

AVERAGE_DECAY = 0.97
"""Of the weights: 33 steps, where the preset's 5500 have 100."""
TRIAL_STEPS = 12
"""Steps timed. A third of them lie before what starts later."""
WARM_UP_STEPS = 3
"""Steps before them, of which a third, too."""


@dataclass(kw_only=True)
class Training:
    """A variant in training."""

    learner: Learner
    step: Callable[[int], tuple[Tensor, dict[str, float]]]
    run: TokenizerRun

    @classmethod
    def start(cls, variant: Variant, frames: FrameCache, *, seed: int, steps: int) -> "Training":
        """At step 0 of a schedule of so many."""
        run = configuration(variant, seed=seed, steps=steps)
        torch.manual_seed(seed_for(seed))
        tokenizer = Tokenizer(run.model)
        optimizer = make_optimizer(
            tokenizer, config=run.optimizer, tables=TABLES, precision=run.precision
        )
        return cls(
            learner=Learner.prepare(tokenizer, optimizer, config=run.fit, execution=Execution()),
            step=make_step(tokenizer, frames, run=run, variant=variant),
            run=run,
        )

    def take_step(self) -> float:
        """One step; returns its loss."""
        number = self.learner.state.step
        return self.learner.take_step((number,), self.step, config=self.run.fit)[0]

    def result(self) -> Tokenizer:
        """The average, or the model itself without one."""
        trained = self.learner.result()
        assert isinstance(trained, Tokenizer)
        return trained.eval()


def configuration(variant: Variant, *, seed: int, steps: int) -> TokenizerRun:
    """The `lift` preset for a run so short, with the variant's change.

    Without a given frame: the study asks what the tokens themselves hold.
    """
    preset = lift()
    fit = replace(preset.fit, steps=steps, average_decay=AVERAGE_DECAY)
    model = replace(preset.model, given_frame=False)
    return variant.set_up(replace(preset, seed=seed, fit=fit, model=model))


def costs_the_same(variant: Variant, other: Variant) -> bool:
    """Whether a step does the same work: only rates and weights of the loss differ."""
    one, two = (configuration(each, seed=0, steps=1) for each in (variant, other))
    optimizer = replace(one.optimizer, kind=two.optimizer.kind)
    same_work = replace(two, loss=one.loss, optimizer=optimizer)
    return one == same_work and (variant.term, variant.look) == (other.term, other.look)


def make_step(
    tokenizer: Tokenizer, frames: FrameCache, *, run: TokenizerRun, variant: Variant
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    """The step of `roboscape.tokenizer.train`, and what the variant adds."""
    dtype = compute_dtype(run.precision, kind="convolution")
    term = None if variant.term is None else variant.term(run.seed)

    def step(number: int) -> tuple[Tensor, dict[str, float]]:
        indices = indices_at(number, frames=frames, config=run)

        def before() -> Tensor:
            earlier = previous(indices, episode=frames.episode)
            return images_of(earlier, tokenizer=tokenizer, frames=frames)

        images = images_of(indices, tokenizer=tokenizer, frames=frames)
        with (
            torch.autocast("cpu", dtype, enabled=dtype != torch.float32),
            keeping_output(tokenizer.encoder) as vectors,
        ):
            result = tokenizer(variant.look(images, run.seed, number))
        loss, figures = tokenizer_loss(result, images, config=run.loss)
        if term is not None:
            seen = Seen(
                tokenizer=tokenizer,
                images=images,
                before=before,
                result=result,
                vectors=vectors[0],
                loss=loss,
                share=number / run.fit.steps,
            )
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                extra = term(seen)
            figures["term"] = extra.item()
            loss = loss + extra
        return loss, figures

    return step


@contextmanager
def keeping_output(module: nn.Module) -> Iterator[list[Tensor]]:
    """What the module gives while this is open."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kept.append(output)

    handle = module.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


def cpu_seconds(variants: list[Variant], frames: FrameCache) -> list[float]:
    """CPU seconds of a step of each variant, timed in turns, so that a neighbour slows all alike.

    A short schedule warms up; then each goes through a whole one.
    """
    spent = [0.0] * len(variants)
    for steps in (WARM_UP_STEPS, TRIAL_STEPS):
        trainings = [Training.start(variant, frames, seed=0, steps=steps) for variant in variants]
        spent = [0.0] * len(variants)
        for _ in range(steps):
            for index, training in enumerate(trainings):
                start = time.process_time()
                training.take_step()
                spent[index] += time.process_time() - start
    return [seconds / TRIAL_STEPS for seconds in spent]
