"""The accuracy of a segmenter's borders between actions, against a simulator's truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class BoundaryAccuracy:
    """A segmenter's borders over some episodes, against true ones."""

    truths: int
    """True borders, all episodes together."""
    estimates: int
    """Borders that the segmenter set."""
    recall: float
    """Share of the true borders with an estimate within the tolerance, one to one."""
    precision: float
    """Share of the estimates with a true border within the tolerance, one to one."""
    error_s: float
    """Mean distance of the pairs, seconds; NaN where there is none."""
    bias_s: float
    """Mean of estimate minus truth, seconds: positive where the segmenter is late."""


def boundary_accuracy(
    episodes: Sequence[tuple[Sequence[int], Sequence[int]]], *, fps: float, tolerance_s: float
) -> BoundaryAccuracy:
    """Compare (estimated, true) border rows of some episodes."""
    distances: list[int] = []
    for estimates, truths in episodes:
        pairs = match(estimates, truths, tolerance_rows=tolerance_s * fps)
        distances += [estimate - truth for estimate, truth in pairs]
    estimated = sum(len(estimates) for estimates, _ in episodes)
    true = sum(len(truths) for _, truths in episodes)
    return BoundaryAccuracy(
        truths=true,
        estimates=estimated,
        recall=len(distances) / true if true else float("nan"),
        precision=len(distances) / estimated if estimated else float("nan"),
        error_s=float(np.abs(distances).mean()) / fps if distances else float("nan"),
        bias_s=float(np.mean(distances)) / fps if distances else float("nan"),
    )


def match(
    estimates: Sequence[int], truths: Sequence[int], *, tolerance_rows: float
) -> list[tuple[int, int]]:
    """Pairs (estimate, truth) within the tolerance, nearest first, each border in one at most."""
    candidates = sorted(
        (abs(estimate - truth), estimate, truth)
        for estimate in estimates
        for truth in truths
        if abs(estimate - truth) <= tolerance_rows
    )
    pairs: list[tuple[int, int]] = []
    taken: set[tuple[str, int]] = set()
    for _, estimate, truth in candidates:
        if not {("estimate", estimate), ("truth", truth)} & taken:
            pairs.append((estimate, truth))
            taken |= {("estimate", estimate), ("truth", truth)}
    return pairs
