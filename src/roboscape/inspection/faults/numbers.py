"""Single dimensions that look wrong: constant, clipped, with spikes."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from roboscape.dataset.conventions import is_gripper
from roboscape.dataset.records import DatasetSpec
from roboscape.inspection.faults.finding import Finding, Line, Plot, drop_episodes, list_of
from roboscape.inspection.faults.lags import LONGEST_DELAY_S
from roboscape.inspection.faults.pairs import Pair, motion_pairs
from roboscape.inspection.survey import NUMBERS, EpisodeRows, Numbers, Survey

FEW_VALUES = 8
"""A dimension with fewer different values is a switch, such as a gripper."""
CLIPPED_SHARE = 0.2
"""Share of an episode's rows at its own extremes from which on it looks cut off."""
CLIPPED_SHARE_ALONE = 0.5
"""The same where no state shows whether the robot got larger commands than were recorded."""
FARTHER_AT_LIMIT = 1.5
"""At its limit a command that lost something moves the robot this much farther than it says.

Commands at their limit last, so the robot gets up to speed: whole ones reach 1.3 (docs/inspect.md).
"""
MIN_PREDICTS = 0.6
"""Correlation of command and motion, below which the slope between them is not used."""
SPIKE_RANGES = 1.5
"""A spike leaves its neighbours by more than this many ranges (5 % to 95 %) and comes back.

One row in twenty may be wrong on either side without widening that range.
"""


def number_faults(seen: Survey, spec: DatasetSpec) -> Iterator[Finding]:
    """Findings about single dimensions."""
    for what in NUMBERS:
        names = seen.names(what)
        values = seen.values(what)
        if not len(values):
            continue
        yield from _constant(values, names, what=what)
        yield from _spikes(seen, names, what=what)
    yield from _clipped(seen, spec)


def constant_dimensions(values: Float[np.ndarray, "n c"]) -> Bool[np.ndarray, " c"]:
    """True where a dimension never changes."""
    return np.ptp(values, axis=0) <= 1e-6 * np.maximum(1.0, np.abs(values).max(axis=0))


def spike_limits(values: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " c"]:
    """The distance from both neighbours that makes a value a spike; infinite for switches."""
    low, high = np.quantile(values, (0.05, 0.95), axis=0)
    limits = SPIKE_RANGES * (high - low)
    few = [len(np.unique(column[:5000])) < FEW_VALUES for column in values.T]
    return np.where(np.array(few, bool) | (limits <= 0), np.inf, limits)


def spike_rows(
    values: Float[np.ndarray, "t c"], *, limits: Float[np.ndarray, " c"]
) -> Bool[np.ndarray, "t c"]:
    """True where one row leaves both of its neighbours, which agree with each other."""
    spikes = np.zeros(values.shape, bool)
    before, here, after = values[:-2], values[1:-1], values[2:]
    nearer = np.minimum(np.abs(here - before), np.abs(here - after))
    spikes[1:-1] = (nearer > limits) & (np.abs(after - before) < 0.25 * nearer)
    return spikes


def _constant(values: np.ndarray, names: tuple[str, ...], *, what: str) -> Iterator[Finding]:
    constant = [
        name
        for name, still in zip(names, constant_dimensions(values), strict=True)
        if still and len(values) > 1
    ]
    if constant:
        column = values[:, names.index(constant[0])]
        yield Finding(
            kind="constant",
            where=f"{what} {', '.join(constant)}",
            text=f"{what} never changes in {', '.join(constant)} (always {column[0]:g}"
            f"{' in the first of them' if len(constant) > 1 else ''}): nothing can be learned "
            "from it",
            fix=tuple(f"drop_dimension={what}:{name}" for name in constant),
            plot=_rows_plot(column, label=constant[0]),
        )


def _spikes(seen: Survey, names: tuple[str, ...], *, what: Numbers) -> Iterator[Finding]:
    limits = spike_limits(seen.values(what))
    counts = np.zeros(len(names), int)
    example: tuple[np.ndarray, int] | None = None
    episodes: list[int] = []
    for rows in seen.episodes:
        found = spike_rows(rows.of(what), limits=limits)
        if found.any():
            episodes.append(rows.episode)
            example = example or (rows.of(what), int(found.any(axis=0).argmax()))
        counts += found.sum(axis=0)
    if example is None:
        return
    where = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count]
    worst = [name for name, count in zip(names, counts, strict=True) if count]
    yield Finding(
        kind="spikes",
        where=f"{what} {', '.join(worst)}",
        text=f"{what} leaps away for a single row and back by more than {SPIKE_RANGES:g} times the "
        f"range of 90 % of its values: {', '.join(where)} times, in episodes {list_of(episodes)}",
        fix=(f"repair_spikes={what}",),
        plot=_rows_plot(example[0][:, example[1]], label=names[example[1]]),
    )


def _clipped(seen: Survey, spec: DatasetSpec) -> Iterator[Finding]:
    """Commands cut off at their ends: the robot got larger commands than were recorded."""
    pairs = {pair.action: pair for pair in motion_pairs(spec)}
    for place, name in enumerate(seen.names("action")):
        if is_gripper(name):
            # Open and closed are where a gripper stops.
            continue
        clipped = [rows for rows in seen.episodes if _share_at_ends(rows, place) > CLIPPED_SHARE]
        if not clipped:
            continue
        share = float(np.mean([_share_at_ends(rows, place) for rows in clipped]))
        farther = _farther_at_limit(seen, clipped, pairs.get(place), spec=spec)
        if farther is None and (share < CLIPPED_SHARE_ALONE or _at_full_scale(clipped, place)):
            continue
        if farther is not None and farther < FARTHER_AT_LIMIT:
            continue
        numbers = [rows.episode for rows in clipped]
        evidence = (
            f"; there the robot moves {farther:.1f} times as far as such a command does"
            if farther is not None
            else ""
        )
        yield Finding(
            kind="clipped",
            where=f"action {name}",
            text=f"action {name} is at its smallest or largest value in {share:.0%} of the rows of "
            f"episodes {list_of(numbers)}{evidence}: it looks clipped, so part of the command is "
            "lost; record these episodes again, or leave them out",
            fix=drop_episodes(numbers),
            plot=_rows_plot(clipped[0].actions[:, place], label=name),
        )


def _share_at_ends(rows: EpisodeRows, place: int) -> float:
    """Share of an episode's rows at its smallest or largest value; 0 for switches."""
    column = rows.actions[:, place]
    if len(np.unique(column)) < FEW_VALUES:
        return 0.0
    ends = [column == end for end in (column.min(), column.max())]
    # A single extreme row is no limit.
    return float(sum(end.mean() for end in ends if end.sum() > 2))


def _at_full_scale(episodes: list[EpisodeRows], place: int) -> bool:
    """True if the limit is 1: there a controller's own range ends, so nothing need be lost."""
    limits = [float(np.abs(rows.actions[:, place]).max()) for rows in episodes]
    return all(abs(limit - 1) < 1e-3 for limit in limits)


def _farther_at_limit(
    seen: Survey, clipped: list[EpisodeRows], pair: Pair | None, *, spec: DatasetSpec
) -> float | None:
    """Motion at the limit against what the other rows predict; None where they predict little."""
    if pair is None or spec.action.mode != "delta":
        return None
    lags = range(max(4, round(LONGEST_DELAY_S * spec.fps)) + 1)
    best = max(lags, key=lambda lag: _fit(seen.episodes, pair, lag=lag)[1])
    slope, correlation = _fit(seen.episodes, pair, lag=best)
    if correlation < MIN_PREDICTS:
        return None
    commanded, moved = 0.0, 0.0
    for rows in clipped:
        command, motion = _aligned(rows, pair, lag=best)
        column = rows.actions[:, pair.action]
        at_end = (command == column.min()) | (command == column.max())
        commanded += float(np.abs(command[at_end]).sum())
        moved += float((motion * np.sign(command))[at_end].sum())
    return moved / (slope * commanded) if commanded > 0 and slope > 0 else None


def _fit(episodes: tuple[EpisodeRows, ...], pair: Pair, *, lag: int) -> tuple[float, float]:
    """Slope and correlation of motion on command, rows at an episode's extremes left out."""
    commands, motions = [np.zeros(0)], [np.zeros(0)]
    for rows in episodes:
        command, motion = _aligned(rows, pair, lag=lag)
        column = rows.actions[:, pair.action]
        inner = (command != column.min()) & (command != column.max())
        commands.append(command[inner])
        motions.append(motion[inner])
    command, motion = np.concatenate(commands), np.concatenate(motions)
    if len(command) < 20 or not (command.std() > 0 and motion.std() > 0):
        return 0.0, 0.0
    slope = float((command * motion).sum() / (command * command).sum())
    return slope, float(np.corrcoef(command, motion)[0, 1])


def _aligned(rows: EpisodeRows, pair: Pair, *, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Commands and the motions `lag` rows later."""
    motion = np.diff(rows.state[:, pair.state].astype(np.float64))[lag:]
    return rows.actions[: len(motion), pair.action].astype(np.float64), motion


def _rows_plot(column: np.ndarray, *, label: str) -> Plot:
    shown = column[:2000]
    line = Line(label=label, x=np.arange(len(shown)), y=shown)
    return Plot(x_label="row", y_label=label, lines=(line,))
