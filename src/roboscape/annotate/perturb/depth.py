"""Errors that depth estimators make, planted in true depth in known amounts.

Every part is a factor close to one on the depth of every pixel, made so that it alone has exactly
the mean absolute relative error (AbsRel, mean |estimate - truth| / truth) that was asked for.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass, fields

import cv2
import numpy as np
from einops import rearrange
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for

Depth = Float[np.ndarray, "t h w"]

SMALLEST_FACTOR = 0.05
"""No error brings a surface nearer than this share of its true distance."""
_FIELD_CELLS = 4
"""A smooth error has this many independent values along each side of the picture."""
_FIELD_ROWS = 40
"""... and a new one after this many rows."""
_WIDEST_BLUR_SHARE = 0.25
"""Edges bleed at most over this share of the picture's shorter side (standard deviation)."""


@dataclass(frozen=True, kw_only=True)
class DepthErrors:
    """AbsRel of each part by itself; 0 leaves it out."""

    scale: float = 0.0
    """One wrong factor for a whole episode, too far or too near by this share."""
    smooth: float = 0.0
    """A field that varies slowly over picture and time, as of a bent ground plane."""
    bleeding: float = 0.0
    """Depth blurred across the edges of objects, as wide as it takes."""
    flicker: float = 0.0
    """A wrong factor for each frame of its own."""
    noise: float = 0.0
    """A wrong factor for each pixel of its own."""

    def __post_init__(self) -> None:
        """Raise `UserError` for errors so large that depth would become negative."""
        for field in fields(self):
            if not 0 <= getattr(self, field.name) <= 0.5:
                raise UserError(
                    f"an AbsRel between 0 and 0.5 is expected of `{field.name}`, got "
                    f"{getattr(self, field.name)}"
                )

    @property
    def any(self) -> bool:
        """True if any error is asked for."""
        return any(astuple(self))


def perturb_depth(depth_m: Depth, errors: DepthErrors, *, place: tuple[int, ...]) -> Depth:
    """Depth with all the errors asked for, one upon the other.

    Args:
        depth_m: the truth, positive.
        errors: how much of each.
        place: what the random numbers are derived from, e.g. (seed, episode, camera). Each part has
            its own, so that it stays the same when another is added.
    """
    result = depth_m.astype(np.float64)
    for index, field in enumerate(fields(errors)):
        target = getattr(errors, field.name)
        if target:
            make = _PARTS[field.name]
            result = result * make(depth_m, target, numpy_generator_for(*place, index))
    return result.astype(np.float32)


def abs_rel(estimate_m: Depth, truth_m: Depth) -> float:
    """Mean of |estimate - truth| / truth over all pixels, with no scale taken out."""
    return float((np.abs(estimate_m - truth_m) / truth_m).mean())


def _scale(depth_m: Depth, target: float, random: np.random.Generator) -> np.ndarray:
    return np.array(1 + target * random.choice((-1.0, 1.0)))


def _smooth(depth_m: Depth, target: float, random: np.random.Generator) -> np.ndarray:
    rows, height, width = depth_m.shape
    knots = random.normal(size=(rows // _FIELD_ROWS + 2, _FIELD_CELLS, _FIELD_CELLS))
    pictures = np.stack(
        [cv2.resize(knot, (width, height), interpolation=cv2.INTER_CUBIC) for knot in knots]
    )
    when = np.arange(rows) / _FIELD_ROWS
    before = when.astype(int)
    share = rearrange(when - before, "t -> t 1 1")
    return _factor((1 - share) * pictures[before] + share * pictures[before + 1], target)


def _flicker(depth_m: Depth, target: float, random: np.random.Generator) -> np.ndarray:
    return _factor(random.normal(size=(len(depth_m), 1, 1)), target)


def _noise(depth_m: Depth, target: float, random: np.random.Generator) -> np.ndarray:
    return _factor(random.normal(size=depth_m.shape), target)


def _factor(error: np.ndarray, target: float) -> np.ndarray:
    """1 plus an error of any size, scaled to a mean length; the rare impossible ones are cut off.

    What is cut off is made up for by the others, so that the mean stays what was asked.
    """
    scale = target / np.abs(error).mean()
    for _ in range(20):
        factor = np.maximum(1 + scale * error, SMALLEST_FACTOR)
        scale *= target / np.abs(factor - 1).mean()
    return np.maximum(1 + scale * error, SMALLEST_FACTOR)


def _bleeding(depth_m: Depth, target: float, random: np.random.Generator) -> np.ndarray:
    """Depth blurred (in its logarithm) as wide as gives the error; the width is found by halving.

    Raises:
        ValueError: not even the widest blur gives so much error.
    """
    logarithm = np.log(depth_m).astype(np.float32)
    low, high = 0.0, _WIDEST_BLUR_SHARE * min(depth_m.shape[1:])
    largest = np.abs(_blur_factor(logarithm, high) - 1).mean()
    if largest < target:
        raise UserError(
            f"edges of this depth bleed to an AbsRel of {largest:.3f} at most, {target} was asked "
            "for; ask for less, or for `smooth` in its place"
        )
    for _ in range(14):
        middle = (low + high) / 2
        if np.abs(_blur_factor(logarithm, middle) - 1).mean() < target:
            low = middle
        else:
            high = middle
    return _blur_factor(logarithm, high)


def _blur_factor(logarithm: Float[np.ndarray, "t h w"], sigma_px: float) -> np.ndarray:
    """Blurred over true depth."""
    blurred = [cv2.GaussianBlur(frame, (0, 0), sigma_px) for frame in logarithm]
    return np.exp(np.stack(blurred) - logarithm)


_PARTS: dict[str, Callable[[Depth, float, np.random.Generator], np.ndarray]] = {
    "scale": _scale,
    "smooth": _smooth,
    "bleeding": _bleeding,
    "flicker": _flicker,
    "noise": _noise,
}
