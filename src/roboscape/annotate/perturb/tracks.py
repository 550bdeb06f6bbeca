"""Errors that point trackers make, planted in true tracks in known amounts."""

from collections.abc import Callable
from dataclasses import astuple, dataclass, fields

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.records import Tracks


@dataclass(frozen=True, kw_only=True)
class TrackErrors:
    """The amount of each error; 0 leaves it out. The first row stays true: points begin there."""

    swaps: float = 0.0
    """Share of the points that jump, at some row, to where another point is, and follow that."""
    drift_px: float = 0.0
    """Mean distance from the true path at the last row; it grows as a random walk."""
    jitter_px: float = 0.0
    """Mean distance from the true path at each row, each for itself."""
    lost: float = 0.0
    """Share of the points that are lost at some row: invisible and at rest from there on."""

    def __post_init__(self) -> None:
        """Raise `UserError` for shares outside [0, 1] and for negative pixels."""
        for field in fields(self):
            value, is_share = getattr(self, field.name), not field.name.endswith("_px")
            if value < 0 or (is_share and value > 1):
                expected = "a share from 0 to 1" if is_share else "pixels, 0 or more"
                raise UserError(f"expected {expected} for `{field.name}`, got {value}")

    @property
    def any(self) -> bool:
        """True if any error is asked for."""
        return any(astuple(self))


def perturb_tracks(tracks: Tracks, errors: TrackErrors, *, place: tuple[int, ...]) -> Tracks:
    """Tracks with all the errors asked for: swaps, then drift, then jitter, then losses.

    Args:
        tracks: the truth.
        errors: how much of each.
        place: what the random numbers are derived from, e.g. (seed, episode, camera). Each part has
            its own, so that it stays the same when another is added.
    """
    result = tracks
    for index, field in enumerate(fields(errors)):
        amount = getattr(errors, field.name)
        if amount and len(tracks.xy_px) > 1:
            make = _PARTS[field.name]
            result = make(result, amount, numpy_generator_for(*place, index))
    return result


def swap_targets(points: int, share: float, random: np.random.Generator) -> np.ndarray:
    """For each point which point it follows in the end: chosen points in pairs, others themselves.

    Pairs need an even number, so that the share is right to one point.
    """
    chosen = random.permutation(points)[: 2 * round(share * points / 2)]
    target = np.arange(points)
    target[chosen[0::2]], target[chosen[1::2]] = chosen[1::2], chosen[0::2]
    return target


def _swaps(tracks: Tracks, amount: float, random: np.random.Generator) -> Tracks:
    rows, points = tracks.visible.shape
    target = swap_targets(points, amount, random)
    when = random.integers(1, rows, size=points)
    # Both of a pair change places at the same row.
    when = np.minimum(when, when[target])
    other = np.arange(rows)[:, None] >= when
    return Tracks(
        xy_px=np.where(other[..., None], tracks.xy_px[:, target], tracks.xy_px),
        visible=np.where(other, tracks.visible[:, target], tracks.visible),
        on_moving_body=tracks.on_moving_body,
    )


def _drift(tracks: Tracks, amount: float, random: np.random.Generator) -> Tracks:
    steps = random.normal(size=tracks.xy_px.shape)
    steps[0] = 0
    walk = steps.cumsum(axis=0)
    return _moved(tracks, amount * walk / np.linalg.norm(walk[-1], axis=-1).mean())


def _jitter(tracks: Tracks, amount: float, random: np.random.Generator) -> Tracks:
    error = random.normal(size=tracks.xy_px.shape)
    error[0] = 0
    return _moved(tracks, amount * error / np.linalg.norm(error[1:], axis=-1).mean())


def _lost(tracks: Tracks, amount: float, random: np.random.Generator) -> Tracks:
    rows, points = tracks.visible.shape
    chosen = random.permutation(points)[: round(amount * points)]
    when = np.full(points, rows)
    when[chosen] = random.integers(1, rows, size=len(chosen))
    gone = np.arange(rows)[:, None] >= when
    last = tracks.xy_px[np.minimum(when, rows) - 1, np.arange(points)]
    return Tracks(
        xy_px=np.where(gone[..., None], last, tracks.xy_px),
        visible=tracks.visible & ~gone,
        on_moving_body=tracks.on_moving_body,
    )


def _moved(tracks: Tracks, by_px: Float[np.ndarray, "t k 2"]) -> Tracks:
    return Tracks(
        xy_px=(tracks.xy_px + by_px).astype(np.float32),
        visible=tracks.visible,
        on_moving_body=tracks.on_moving_body,
    )


_PARTS: dict[str, Callable[[Tracks, float, np.random.Generator], Tracks]] = {
    "swaps": _swaps,
    "drift_px": _drift,
    "jitter_px": _jitter,
    "lost": _lost,
}
