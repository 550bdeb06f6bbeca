"""The accuracy of a tracker, against a simulator's true tracks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from roboscape.annotate.backends import TrackAnnotator
from roboscape.core.errors import UserError
from roboscape.dataset.records import Tracks

MOVES_FROM_PX = 2.0
"""A point counts as moving when its true path is at least this long."""
SURVIVES_WITHIN_PX = 3.0
"""A point has survived when the tracker still has it, and has it this near to the truth."""


@dataclass(frozen=True, kw_only=True)
class TrackAccuracy:
    """A tracker's errors over some episodes, for points of one kind."""

    points: int
    """Number of points, all episodes together."""
    mean_px: float
    """Mean error where the truth is visible and the tracker says so too."""
    median_px: float
    """Median of the same."""
    within_2_px: float
    """Share of truly visible points that the tracker has within two pixels."""
    followed: float
    """Share of truly visible points that the tracker says it sees."""
    false_alarms: float
    """Share of truly hidden points that the tracker says it sees; NaN where none is hidden."""
    survival: dict[int, float]
    """By row: share of the points truly visible there that the tracker still has (3 px)."""


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """One episode: the distance of each estimate from the truth, and who says it is visible."""

    error_px: Float[np.ndarray, "t k"]
    truth_visible: Bool[np.ndarray, "t k"]
    found: Bool[np.ndarray, "t k"]
    moves: Bool[np.ndarray, " k"]


class AccuracyReport:
    """Collects episodes, then computes the tracker's accuracy on moving and on static points."""

    def __init__(self, annotator: TrackAnnotator, *, survival_rows: tuple[int, ...]) -> None:
        self._annotator = annotator
        self._survival_rows = survival_rows
        self._comparisons: list[_Comparison] = []

    def add(self, frames: np.ndarray, truth: Tracks) -> None:
        """Track the points whose truth is known."""
        estimate = self._annotator.follow(frames, points_px=truth.xy_px[0])
        self._comparisons.append(
            _Comparison(
                error_px=np.linalg.norm(estimate.xy_px - truth.xy_px, axis=-1),
                truth_visible=truth.visible,
                found=estimate.visible,
                moves=path_px(truth) >= MOVES_FROM_PX,
            )
        )

    def result(self) -> dict[str, TrackAccuracy]:
        """Accuracy on `moving` and on `static` points."""
        if not self._comparisons:
            raise UserError("there is no episode to compare: no split or range selected any")
        return {
            "moving": self._accuracy([one.moves for one in self._comparisons]),
            "static": self._accuracy([~one.moves for one in self._comparisons]),
        }

    def _accuracy(self, chosen: list[np.ndarray]) -> TrackAccuracy:
        """Accuracy on the chosen points of each episode."""
        pairs = list(zip(self._comparisons, chosen, strict=True))
        # The first row is where the points were given.
        error_px = np.concatenate([one.error_px[1:, kept].ravel() for one, kept in pairs])
        truth = np.concatenate([one.truth_visible[1:, kept].ravel() for one, kept in pairs])
        found = np.concatenate([one.found[1:, kept].ravel() for one, kept in pairs])
        both = truth & found
        return TrackAccuracy(
            points=int(sum(kept.sum() for kept in chosen)),
            mean_px=_mean(error_px[both]),
            median_px=float(np.median(error_px[both])) if both.any() else float("nan"),
            within_2_px=_mean((found & (error_px <= 2))[truth]),
            followed=_mean(found[truth]),
            false_alarms=_mean(found[~truth]),
            survival={row: survival(pairs, row=row) for row in self._survival_rows},
        )


def survival(pairs: list[tuple[_Comparison, np.ndarray]], *, row: int) -> float:
    """Share of the points truly visible at a row that the tracker has there, near the truth."""
    held = [
        (one.found[row] & (one.error_px[row] <= SURVIVES_WITHIN_PX))[kept & one.truth_visible[row]]
        for one, kept in pairs
        if row < len(one.found)
    ]
    return _mean(np.concatenate(held)) if held else float("nan")


def path_px(tracks: Tracks) -> Float[np.ndarray, " k"]:
    """Length of each point's path through the image."""
    return np.linalg.norm(np.diff(tracks.xy_px, axis=0), axis=-1).sum(axis=0)


def as_table(accuracy: dict[str, TrackAccuracy]) -> str:
    """The report as lines of text."""
    lines = ["points    count   mean px  median px  within 2 px  followed  survival at row"]
    for kind, one in accuracy.items():
        rows = "  ".join(f"{row}: {share:.0%}" for row, share in one.survival.items())
        lines.append(
            f"{kind:8} {one.points:6d}  {one.mean_px:8.2f}  {one.median_px:9.2f}  "
            f"{one.within_2_px:11.0%}  {one.followed:8.0%}  {rows}"
        )
    return "\n".join(lines)


def _mean(values: np.ndarray) -> float:
    """Mean of possibly no values."""
    return float(values.mean()) if values.size else float("nan")
