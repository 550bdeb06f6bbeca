"""Episodes that look wrong: unreadable, too short, there twice, all alike; and what is not said."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from roboscape.dataset.records import DatasetSpec
from roboscape.inspection.faults.finding import (
    FaultKind,
    Finding,
    Line,
    Plot,
    counted,
    drop_episodes,
    list_of,
)
from roboscape.inspection.survey import Survey

SHORT_EPISODE = 16
"""Rows below which an episode holds no clip."""
ALIKE_FROM = 11
"""Episodes from which on equal outcomes say something: did a quarter fail, one of so many would
with a chance of 96 %."""


def unreadable_episodes(seen: Survey) -> Iterator[Finding]:
    """Episodes that no stage can use."""
    groups: dict[FaultKind, list[int]] = {
        "not_finite": sorted(seen.not_finite),
        "unreadable": sorted(set(seen.broken) - seen.not_finite),
    }
    for kind, numbers in groups.items():
        for number in numbers[:5]:
            yield Finding(
                kind=kind,
                where=f"episode {number}",
                text=f"cannot be read: {seen.broken[number]}",
                fix=drop_episodes([number]),
            )
        if len(numbers) > 5:
            yield Finding(
                kind=kind,
                where=f"episodes {list_of(numbers[5:])}",
                text=f"{counted(numbers[5:])} more cannot be read",
                fix=drop_episodes(numbers[5:]),
            )


def unknown_convention(spec: DatasetSpec) -> Iterator[Finding]:
    """Findings about a dataset that does not describe its actions."""
    if not spec.action.known:
        yield Finding(
            kind="convention_unknown",
            where="action",
            text="the dataset does not say what its actions mean (delta or absolute, units, frame, "
            "gripper direction): they are taken as absolute; write meta/roboscape.json to say it",
        )


def episode_faults(seen: Survey) -> Iterator[Finding]:
    """Findings about whole episodes."""
    if not seen.lengths:
        yield Finding(kind="no_episodes", where="dataset", text="the dataset has no episodes")
        return
    short = [number for number, length in enumerate(seen.lengths) if length < SHORT_EPISODE]
    if short:
        yield Finding(
            kind="short_episode",
            where=f"episodes {list_of(short)}",
            text=f"{counted(short)} with fewer than {SHORT_EPISODE} rows (the shortest has "
            f"{min(seen.lengths)}): no clip fits into them",
            fix=drop_episodes(short),
            plot=_of_episodes(np.array(seen.lengths), y_label="rows"),
        )
    yield from _repeated(seen)
    yield from _outcomes(seen)


def _outcomes(seen: Survey) -> Iterator[Finding]:
    """Only successes, or only failures."""
    outcomes = sum(seen.outcomes.values(), Counter())
    if outcomes.total() < ALIKE_FROM:
        return
    if set(outcomes) == {True}:
        yield Finding(
            kind="outcomes_alike",
            where="episodes",
            text=f"all {outcomes.total()} episodes succeed: a world model that never saw a failure "
            "imagines success; record misses too",
        )
    if set(outcomes) == {False}:
        yield Finding(
            kind="outcomes_alike",
            where="episodes",
            text=f"none of {outcomes.total()} episodes succeeds: the goal never occurs in this "
            "dataset",
        )


def _repeated(seen: Survey) -> Iterator[Finding]:
    """Episodes with the numbers, or at least the seed, of an earlier one."""
    again, of_seed = _later_ones(seen.contents), _later_ones(dict(enumerate(seen.seeds)))
    if again:
        yield Finding(
            kind="repeated_episode",
            where=f"episodes {list_of(again)}",
            text=f"{counted(again)} with the numbers of an earlier one: the same episode "
            "twice, in training and in test if the split parts them",
            fix=drop_episodes(again),
            plot=_same_numbers(seen, again[0]),
        )
    elif of_seed:
        yield Finding(
            kind="repeated_episode",
            where=f"episodes {list_of(of_seed)}",
            text=f"{counted(of_seed)} with the seed of an earlier one: maybe the same "
            "episode twice",
            fix=drop_episodes(of_seed),
            plot=_of_episodes(np.array(seen.seeds), y_label="seed"),
        )


def _of_episodes(values: np.ndarray, *, y_label: str) -> Plot:
    """One point an episode."""
    line = Line(label=y_label, x=np.arange(len(values)), y=values, points=True)
    return Plot(x_label="episode", y_label=y_label, lines=(line,))


def _same_numbers(seen: Survey, later: int) -> Plot:
    """The first action of an episode and of the earlier one that holds the same numbers."""
    earlier = next(
        number for number, value in seen.contents.items() if value == seen.contents[later]
    )
    lines = tuple(
        Line(label=f"episode {rows.episode}", x=np.arange(len(rows.actions)), y=rows.actions[:, 0])
        for rows in seen.episodes
        if rows.episode in (earlier, later)
    )
    return Plot(x_label="row", y_label=seen.action_names[0], lines=lines)


def _later_ones(values: dict[int, str] | dict[int, int]) -> list[int]:
    """Episodes whose value an earlier episode has."""
    seen_values: set[str | int] = set()
    later: list[int] = []
    for number, value in values.items():
        if value in seen_values:
            later.append(number)
        seen_values.add(value)
    return later
