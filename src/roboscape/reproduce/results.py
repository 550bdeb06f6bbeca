"""The results of a study on disk: a file a run, whole or absent."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from roboscape.core.claims import publish
from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError
from roboscape.core.files import read_json, write_json
from roboscape.core.settings import differences

CPU, STEPS = "cpu", "steps"
"""What variants have in common: CPU seconds, or optimiser steps (the paper's way)."""
SETTINGS, FLOORS, RUNS, COSTS = "settings.json", "floors.json", "runs", "costs"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One training and its scores."""

    variant: str
    what: str
    seed: int
    steps: int
    cpu_s: float
    """Of the training."""
    measuring_cpu_s: float
    """Of everything after it."""
    parameters: int
    frames: int
    """Frames of the training episodes."""
    losses: dict[str, float]
    """Validation: cross-entropy of the next frame after true ones, in nats a token."""
    scores: dict[str, list[float | None]]
    """By metric, a number a clip; None where a clip has none."""
    training_losses: dict[str, float]
    """By step."""
    machine: str
    commit: str

    def per_clip(self, metric: str) -> Float[np.ndarray, " b"]:
        """A metric of all clips; NaN where there is none."""
        return np.array([np.nan if x is None else x for x in self.scores[metric]], dtype=float)


@dataclass(frozen=True)
class ResultFolder:
    """The folder of a study's results."""

    root: Path

    def agree(self, wanted: dict[str, Any], *, ignored: Collection[str] = ()) -> None:
        """Keep the settings that all results have in common.

        Args:
            wanted: Nested settings.
            ignored: Dotted names of those that cannot change results, and so may differ.

        Raises:
            UserError: the folder holds results of other settings.
        """
        path = self.root / SETTINGS
        if not path.is_file():
            self.root.mkdir(parents=True, exist_ok=True)
            publish(path, wanted)
        if different := differences(read_json(path), wanted, ignored=ignored):
            raise UserError(
                f"{self.root} holds results of other settings ({different}); choose another "
                "--output, or ask for the same again"
            )

    @property
    def exists(self) -> bool:
        """Whether a study was begun here."""
        return (self.root / SETTINGS).is_file()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that all results have in common."""
        return read_json(self.root / SETTINGS)

    def path(self, variant: str, *, steps: int, seed: int) -> Path:
        """The file of one run."""
        return self.root / RUNS / variant / f"steps{steps}_seed{seed}.json"

    def claim(self, variant: str, *, steps: int, seed: int) -> Path:
        """The file that stands for working on one run."""
        return self.root / "claims" / f"{variant}_steps{steps}_seed{seed}"

    def save(self, result: RunResult) -> None:
        """Write one run."""
        write_json(self.path(result.variant, steps=result.steps, seed=result.seed), asdict(result))

    def load(self, variant: str, *, steps: int, seed: int) -> RunResult | None:
        """One run; None where it was not done yet."""
        path = self.path(variant, steps=steps, seed=seed)
        if not path.is_file():
            return None
        return config_from_dict(RunResult, read_json(path), where=str(path))

    def load_seeds(self, variant: str, *, steps: int, seeds: Sequence[int]) -> dict[int, RunResult]:
        """Those of some seeds that are there."""
        found = {seed: self.load(variant, steps=steps, seed=seed) for seed in seeds}
        return {seed: one for seed, one in found.items() if one is not None}

    def seeds_of(self, variant: str, *, steps: int) -> list[int]:
        """The seeds that were run, in order."""
        names = (self.root / RUNS / variant).glob(f"steps{steps}_seed*.json")
        return sorted(int(name.stem.rpartition("seed")[2]) for name in names)

    def save_floors(self, floors: dict[str, dict[str, list[float | None]]]) -> None:
        """Write what no model changes: the still picture's scores and the tokenizer's."""
        write_json(self.root / FLOORS, floors)

    def floors(self) -> dict[str, dict[str, float]] | None:
        """Means over clips of the still picture and of the ceiling; None where not measured."""
        path = self.root / FLOORS
        if not path.is_file():
            return None
        return {
            subject: {name: mean_of(values) for name, values in scores.items()}
            for subject, scores in read_json(path).items()
        }

    def cost(self, variant: str) -> dict[str, float] | None:
        """The CPU seconds of a step of a variant; None where it was not timed."""
        path = self.root / COSTS / f"{variant}.json"
        return read_json(path) if path.is_file() else None

    def save_cost(self, variant: str, cost: dict[str, float]) -> None:
        """Write what a step costs; the first to write it decides for all."""
        path = self.root / COSTS / f"{variant}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        publish(path, cost)


def listed(scores: Float[np.ndarray, " b"]) -> list[float | None]:
    """Numbers for JSON, which has no NaN."""
    return [float(x) if np.isfinite(x) else None for x in scores]


def mean_of(values: list[float | None]) -> float:
    """The mean of what is known; NaN where nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")
