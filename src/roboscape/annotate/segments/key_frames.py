"""Key rows of an action and the rows that relate to it (RoboScape, section 2.2, clip filtering)."""

import numpy as np
from jaxtyping import Bool, Float


def gripper_key_row(opening: Float[np.ndarray, " t"], *, first: int, end: int) -> int:
    """The row of a segment in which the gripper moves fastest: it takes hold, or lets go."""
    if end - first < 2:
        return first
    moved = np.abs(np.diff(opening[first:end]))
    return first + int(moved.argmax()) + 1 if moved.any() else first


def arrival_row(speed: Float[np.ndarray, " t"], *, first: int, end: int) -> int:
    """The last row of a segment in which the hand still moves at half its speed: it arrives."""
    within = speed[first:end]
    return first + int(np.flatnonzero(within >= 0.5 * within.max())[-1])


def relevant_rows(
    busy: Bool[np.ndarray, " t"], *, first: int, end: int, key: int
) -> tuple[int, int]:
    """Rows of a segment that relate to its key row: from the first busy one to the last.

    Rows in which neither hand nor gripper moves, before everything or after it, only wait. The key
    row itself always belongs.
    """
    rows = first + np.flatnonzero(busy[first:end])
    if not len(rows):
        return key, key + 1
    return min(int(rows[0]), key), max(int(rows[-1]), key) + 1


def relevant_share(relevant: list[tuple[int, int]], *, rows: range) -> float:
    """Share of some rows that lie in any of the relevant stretches (first, end)."""
    if not len(rows):
        return 0.0
    return sum(any(first <= row < end for first, end in relevant) for row in rows) / len(rows)
