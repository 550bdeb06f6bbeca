"""The comparisons of a study, and the runs that they take.

Every variant gets either the same CPU seconds of one thread or the same number of steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from roboscape.reproduce.results import CPU, ResultFolder, RunResult
from roboscape.reproduce.variants import Variant

SAME_COST = 0.1
"""Variants whose steps cost the same up to this share get the same number in either protocol: on a
busy machine no cost is known better."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run of a study."""

    variant: Variant
    seed: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class StudyDesign:
    """Variants, seeds and budget of a study, with the results that are there."""

    variants: tuple[Variant, ...]
    """The first is the reference whose step is the unit of cost."""
    results: ResultFolder
    budget_s: float
    """CPU seconds of one thread a run."""
    seeds: tuple[int, ...]
    protocols: tuple[str, ...] = (CPU,)
    step_s: float | None = None
    """CPU seconds of the reference's step, where they are not those that were timed."""
    fixed_steps: int | None = None
    """Steps of every run, where it is not the budget that decides."""
    only: tuple[str, ...] = ()
    """Names of the variants to run; all where none is named."""

    @property
    def chosen(self) -> tuple[Variant, ...]:
        """The variants to run."""
        return tuple(one for one in self.variants if not self.only or one.name in self.only)

    def plan(self) -> list[Planned]:
        """Every run once, seed by seed; the first protocol before what only the second needs."""
        found: dict[tuple[str, int, int], Planned] = {}
        for seed in self.seeds:
            for protocol in self.protocols:
                for variant in self.chosen:
                    steps = self.steps(variant, protocol)
                    one = Planned(variant=variant, seed=seed, steps=steps)
                    found.setdefault((variant.name, seed, steps), one)
        return list(found.values())

    def steps(self, variant: Variant, protocol: str) -> int:
        """The number of steps of a variant.

        Under `cpu` as many as fit into the study's CPU seconds, under `steps` as many as the
        reference gets in that time.
        """
        if self.fixed_steps is not None:
            return max(1, round(variant.budget * self.fixed_steps))
        step_s = self.step_s or self._cost(self.variants[0])["step_s"]
        if protocol == CPU and abs((ratio := self._cost(variant)["ratio"]) - 1) > SAME_COST:
            step_s *= ratio
        return max(1, round(variant.budget * self.budget_s / step_s))

    def is_timed(self, variant: Variant, protocol: str) -> bool:
        """Whether all is known that the number of steps of a variant follows from."""
        if self.fixed_steps is not None:
            return True
        needed = [variant] if protocol == CPU else []
        if self.step_s is None:
            needed.append(self.variants[0])
        return all(self.results.cost(one.step_as or one.name) is not None for one in needed)

    def is_done(self, one: Planned) -> bool:
        """Whether the result of a run is there."""
        return self.results.path(one.variant.name, steps=one.steps, seed=one.seed).is_file()

    def _cost(self, variant: Variant) -> dict[str, float]:
        found = self.results.cost(variant.step_as or variant.name)
        assert found is not None, "steps are timed before they are planned"
        return found


def runs_of(study: StudyDesign, protocol: str) -> dict[str, dict[int, RunResult]]:
    """The results that are there, by variant and seed."""
    found = {}
    for variant in study.variants:
        if not study.is_timed(variant, protocol):
            continue
        runs = study.results.load_seeds(
            variant.name, steps=study.steps(variant, protocol), seeds=study.seeds
        )
        if runs:
            found[variant.name] = runs
    return found


def complete_seeds(runs: dict[str, dict[int, RunResult]], names: Sequence[str]) -> list[int]:
    """Seeds that all of some variants have."""
    sets = [set(runs.get(name, {})) for name in names]
    return sorted(set.intersection(*sets)) if sets else []
