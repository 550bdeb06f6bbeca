"""A study at work: its variants are trained and measured run by run on the same data.

Runs are done seed by seed, so that a study that is cut short is still a balanced one; what is
finished is never done again, and several processes may share a folder.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from roboscape.annotate.perturb.depth import DepthErrors
from roboscape.core.claims import claimed
from roboscape.core.errors import UserError
from roboscape.core.progress import progress
from roboscape.core.runs import describe_machine, git
from roboscape.reproduce.design import Planned, StudyDesign
from roboscape.reproduce.measuring import Measure, quiet_threads
from roboscape.reproduce.results import CPU, RunResult, listed
from roboscape.reproduce.training import TIMED_RUN, Recipe, Trained, step_costs, train_variant
from roboscape.rollout.bundle import Bundle, Compute
from roboscape.tokens.store import TokenStore
from roboscape.world_model.model import WorldModel
from roboscape.world_model.train import make_evaluation

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Study(StudyDesign):
    """A study with all that its runs need."""

    recipe: Recipe
    measure: Callable[[], Measure]
    """Reads the validation clips; called when the first run is to be measured."""
    bundle: Bundle
    """Tokenizer and control signals of all runs."""
    validation: TokenStore
    """Tokens of validation episodes."""
    given_errors: dict[str, DepthErrors] = field(default_factory=dict)
    """Errors of the given frame's depth at measuring, by the name of the labels; none of others."""

    def run(self) -> None:
        """Do what is missing."""
        quiet_threads()
        if unknown := set(self.only) - {variant.name for variant in self.variants}:
            raise UserError(
                f"no variant {', '.join(sorted(unknown))}; there are: "
                f"{', '.join(variant.name for variant in self.variants)}"
            )
        if self.fixed_steps is None:
            self.time_steps()
        plan = self.plan()
        done = sum(self.is_done(one) for one in plan)
        measure: Measure | None = None
        with progress(len(plan), "runs", initial=done, unit="run") as bar:
            for one in plan:
                claim = self.results.claim(one.variant.name, steps=one.steps, seed=one.seed)
                with claimed(claim) as mine:
                    if not mine or self.is_done(one):
                        continue
                    measure = measure or self.measured_clips()
                    self.results.save(self.perform(one, measure))
                    bar.update()

    def measured_clips(self) -> Measure:
        """The validation clips, with the floors written where they are not yet."""
        measure = self.measure()
        if self.results.floors() is None:
            still, ceiling = measure.still(), measure.ceiling(self.bundle)
            self.results.save_floors(
                {
                    "still": {name: listed(values) for name, values in still.items()},
                    "ceiling": {name: listed(values) for name, values in ceiling.items()},
                }
            )
        return measure

    def time_steps(self) -> None:
        """Time what was not yet: of equal steps the reference alone, of equal cost every variant,
        beside one of the reference."""
        reference = self.variants[0]
        compared = self.chosen if CPU in self.protocols else ()
        timed = {variant.step_as or variant.name for variant in (reference, *compared)}
        missing = [name for name in timed if self.results.cost(name) is None]
        for name in sorted(missing, key=lambda one: one != reference.name):
            variant = next(one for one in self.variants if one.name == name)
            both = {reference.name: reference, name: variant}
            costs = step_costs(
                {key: self.recipe.run(one, steps=TIMED_RUN, seed=0) for key, one in both.items()}
            )
            ratio = costs[name] / costs[reference.name]
            self.results.save_cost(name, {"step_s": costs[name], "ratio": ratio})
            log.info("a step of %s: %.3f CPU s, %.2f x the unit", name, costs[name], ratio)

    def perform(self, one: Planned, measure: Measure) -> RunResult:
        """Train and measure."""
        variant = one.variant
        log.info("%s, seed %d: %d steps", variant.name, one.seed, one.steps)
        trained = train_variant(self.recipe, variant, steps=one.steps, seed=one.seed)
        start = time.process_time()
        losses = make_evaluation(
            self.validation, config=self.recipe.run(variant, steps=one.steps, seed=one.seed)
        )(trained.model)
        scores = measure.of(
            self.bundle_of(trained.model), given_errors=self.given_errors.get(variant.labels)
        )
        return self._result(
            one,
            trained,
            losses={name: losses[name] for name in ("rgb_loss", "depth_loss") if name in losses},
            scores={name: listed(values) for name, values in scores.items()},
            measuring_cpu_s=time.process_time() - start,
        )

    def bundle_of(self, model: WorldModel) -> Bundle:
        """A trained model with the study's tokenizer and control signals, ready to imagine."""
        bundle = Bundle(
            tokenizer=self.bundle.tokenizer,
            world_model=model,
            controls=self.bundle.controls,
            object_reader=self.bundle.object_reader,
        )
        base = self.recipe.base
        return bundle.for_imagining(Compute(device=base.device, precision=base.precision))

    def _result(
        self,
        one: Planned,
        trained: Trained,
        *,
        losses: dict[str, float],
        scores: dict[str, list[float | None]],
        measuring_cpu_s: float,
    ) -> RunResult:
        return RunResult(
            variant=one.variant.name,
            what=one.variant.what,
            seed=one.seed,
            steps=one.steps,
            cpu_s=trained.cpu_s,
            measuring_cpu_s=measuring_cpu_s,
            parameters=sum(p.numel() for p in trained.model.parameters()),
            frames=trained.frames,
            losses=losses,
            scores=scores,
            training_losses={str(step): loss for step, loss in trained.losses.items()},
            machine=describe_machine(),
            commit=git("rev-parse", "--short=12", "HEAD"),
        )
