"""The accuracy of a cut detector, on videos with planted cuts."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from roboscape.annotate.backends import CutDetector


@dataclass(frozen=True, kw_only=True)
class CutAccuracy:
    """Cuts found, missed and made up."""

    planted: int
    found: int
    """Planted cuts with a detected one near enough."""
    false_alarms: int
    """Detected cuts with no planted one near enough."""
    rows: int
    """Rows of all the videos together."""

    @property
    def recall(self) -> float:
        """Share of the planted cuts that were found; NaN where none was planted."""
        return self.found / self.planted if self.planted else float("nan")

    @property
    def detected(self) -> int:
        """Cuts that were detected, rightly or not."""
        return self.found + self.false_alarms

    @property
    def precision(self) -> float:
        """Share of the detected cuts that are planted ones; NaN where none was detected."""
        return self.found / self.detected if self.detected else float("nan")

    def __add__(self, other: "CutAccuracy") -> "CutAccuracy":
        """Both videos together."""
        return CutAccuracy(
            planted=self.planted + other.planted,
            found=self.found + other.found,
            false_alarms=self.false_alarms + other.false_alarms,
            rows=self.rows + other.rows,
        )


def concatenate(
    shots: Iterable[UInt8[np.ndarray, "_ h w 3"]],
) -> tuple[UInt8[np.ndarray, "t h w 3"], tuple[int, ...]]:
    """Shots as one video, and the first rows of all but the first shot."""
    kept = list(shots)
    rows = np.cumsum([len(shot) for shot in kept])[:-1]
    return np.concatenate(kept), tuple(int(row) for row in rows)


def cut_accuracy(
    detector: CutDetector,
    frames: UInt8[np.ndarray, "t h w 3"],
    *,
    planted: tuple[int, ...],
    tolerance: int = 1,
) -> CutAccuracy:
    """Detect the cuts of a video whose cuts are known; each counts once, `tolerance` rows apart."""
    left = list(detector.annotate(frames).rows)
    found = 0
    for row in planted:
        near = [one for one in left if abs(one - row) <= tolerance]
        if near:
            left.remove(min(near, key=lambda one: abs(one - row)))
            found += 1
    return CutAccuracy(planted=len(planted), found=found, false_alarms=len(left), rows=len(frames))
