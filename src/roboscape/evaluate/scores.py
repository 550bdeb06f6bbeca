"""Scores of every clip, collected batch by batch and turned into rows."""

from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from roboscape.evaluate.metrics import MetricName, Scores
from roboscape.evaluate.results import SUBJECTS, Curve, Measured, Row, Subject
from roboscape.evaluate.statistics import estimate


@dataclass(frozen=True)
class ScoreKey:
    """The key of a score: its subject, its metric and its reference."""

    metric: str
    reference: str
    subject: Subject
    camera: str = ""
    """One of several; empty: the mean over all."""


@dataclass
class ScoreBook:
    """All scores so far: for each key and seed, one piece a batch."""

    episodes: Int[np.ndarray, " b"] | None = None
    """The episode that each clip is of; its own where not given."""
    _pieces: dict[ScoreKey, dict[int, list[Scores]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    _weights: dict[tuple[str, str], list[Float[np.ndarray, " b"]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, key: ScoreKey, scores: Scores, *, seed: int = 0) -> None:
        """Append the scores of a batch; batches come in the order of the clips."""
        self._pieces[key][seed].append(scores)

    def add_views(self, key: ScoreKey, scores: dict[str, Scores], *, seed: int = 0) -> None:
        """Append the scores of every camera of a batch, and their mean where there are several."""
        self.add(key, known_mean(np.stack(list(scores.values())), axis=0), seed=seed)
        if len(scores) > 1:
            for camera, found in scores.items():
                self.add(replace(key, camera=camera), found, seed=seed)

    def add_weights(self, metric: str, weights: dict[str, Float[np.ndarray, " b"]]) -> None:
        """Append how much the clips of a batch count, by camera."""
        self._weights[metric, ""].append(np.sum(list(weights.values()), axis=0))
        for camera, found in weights.items():
            self._weights[metric, camera].append(found)

    def scores(self, key: ScoreKey) -> Float[np.ndarray, "s b *t"] | None:
        """All scores of a key, seeds first; None where there are none."""
        if key not in self._pieces:
            return None
        return np.stack([np.concatenate(pieces) for pieces in self._pieces[key].values()])

    def row(
        self, name: MetricName, *, reference: str, at_frame: int | None = None, camera: str = ""
    ) -> Row:
        """The row of a metric.

        Args:
            name: the metric.
            reference: what was compared with.
            at_frame: the imagined frame (1 is the first) whose score is the headline; the mean over
                all of them where there is none.
            camera: one of several; the mean over all where there is none.
        """
        weights = self._weights.get((name.key, camera))
        measured = {
            subject: measure(
                self.scores(ScoreKey(name.key, reference, subject, camera)),
                weights=np.concatenate(weights) if weights else None,
                episodes=self.episodes,
                at_frame=at_frame,
            )
            for subject in SUBJECTS
        }
        return Row(name=name, reference=reference, camera=camera, **measured)  # pyright: ignore[reportArgumentType]


def measure(
    scores: Float[np.ndarray, "s b *t"] | None,
    *,
    weights: Float[np.ndarray, " b"] | None = None,
    episodes: Int[np.ndarray, " b"] | None = None,
    at_frame: int | None = None,
) -> Measured | None:
    """Mean, errors and curve of one subject's scores; None where nothing is known."""
    if scores is None:
        return None
    per_clip = scores
    if scores.ndim == 3:
        per_clip = scores[..., at_frame - 1] if at_frame else known_mean(scores, axis=2)
    found = estimate(per_clip, weights=weights, episodes=episodes)
    if found is None:
        return None
    return Measured(estimate=found, curve=curve_of(scores) if scores.ndim == 3 else ())


def curve_of(scores: Float[np.ndarray, "s b t"]) -> Curve:
    """The mean over seeds and clips at every imagined frame."""
    means = known_mean(scores, axis=(0, 1))
    return tuple(float(mean) if np.isfinite(mean) else None for mean in means)


def known_mean(
    scores: Float[np.ndarray, "*d"], *, axis: int | tuple[int, ...]
) -> Float[np.ndarray, "*e"]:
    """The mean of the values that are known (not NaN); NaN where none is."""
    known = np.isfinite(scores)
    total = np.where(known, scores, 0.0).sum(axis=axis)
    count = known.sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
