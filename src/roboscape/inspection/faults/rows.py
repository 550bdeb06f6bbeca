"""Rows that should not be there, or are missing: idle, doubled, dropped; and their rate."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from roboscape.dataset.records import DatasetSpec
from roboscape.inspection.faults.finding import Finding, Line, Plot, drop_episodes, list_of
from roboscape.inspection.faults.pairs import grippers
from roboscape.inspection.image_changes import ImageChanges
from roboscape.inspection.survey import EpisodeRows, Survey, ranges_of

STILL_WITHIN = 0.002
"""Share of a dimension's range (1 % to 99 %) that counts as no motion from row to row."""
IDLE_RUN_S = 1.0
IDLE_SHARE = 0.05
"""Share of the rows in idle runs from which on cutting them is proposed."""
DOUBLED_SHARE = 0.005
STEADY = 2.0
"""The fastest of the steps around a gap is at most so many times as long as the slowest."""
JUMP = 1.6
"""A step across a gap is at least so many times as long as those around it."""
MIN_ODD_ROWS = 3


def row_faults(seen: Survey, spec: DatasetSpec) -> Iterator[Finding]:
    """Findings about single rows and the time between them."""
    yield from _rates(seen, spec)
    if not spec.state_names or len(seen.values("state")) < 3:
        return
    ranges = ranges_of(seen.values("state"))
    yield from _idle(seen, spec, ranges=ranges)
    yield from _doubled(seen, ranges=ranges)
    # A gripper's stroke may be over in three rows, which looks like a gap.
    yield from _dropped(seen, ranges=np.where(grippers(spec.state_names), np.inf, ranges))


def relative_motion(
    state: Float[np.ndarray, "t s"], *, ranges: Float[np.ndarray, " s"]
) -> Float[np.ndarray, "m s"]:
    """Changes from row to row, as shares of the dimensions' ranges."""
    return np.diff(state.astype(np.float64), axis=0) / ranges


def idle_runs(
    state: Float[np.ndarray, "t s"], *, ranges: Float[np.ndarray, " s"], fps: float
) -> list[tuple[int, int]]:
    """Runs of rows (first, last + 1) of at least a second in which no dimension moves."""
    still = (np.abs(relative_motion(state, ranges=ranges)) < STILL_WITHIN).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], still.astype(np.int8), [0]])))
    shortest = max(4, math.ceil(IDLE_RUN_S * fps))
    return [
        (int(first), int(last) + 1)
        for first, last in zip(edges[::2], edges[1::2], strict=True)
        if last - first >= shortest
    ]


def doubled_rows(
    rows: EpisodeRows, *, ranges: Float[np.ndarray, " s"], images: list[ImageChanges]
) -> Bool[np.ndarray, " t"]:
    """True where a row is the one before again, amid motion: numbers and, if looked at, images."""
    motion = np.linalg.norm(relative_motion(rows.state, ranges=ranges), axis=1)
    same = (motion == 0) & (np.diff(rows.actions, axis=0) == 0).all(axis=1)
    for change in images:
        same &= change.repeated
    doubled = np.zeros(len(rows.state), bool)
    if not motion.any():
        return doubled
    moving = motion > 0.5 * np.median(motion[motion > 0])
    doubled[2:-1] = same[1:-1] & moving[:-2] & moving[2:]
    return doubled


def jumps_and_dips(
    state: Float[np.ndarray, "t s"], *, ranges: Float[np.ndarray, " s"]
) -> tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Steps much longer than those around them, in their direction; and steps as much shorter.

    The two steps before and the two after must be alike: otherwise the rate is too low to tell a
    lost row from a stroke. Smooth motion has as few jumps as dips; lost rows make jumps only.
    """
    motion = relative_motion(state, ranges=ranges)
    jumps, dips = np.zeros(len(motion), bool), np.zeros(len(motion), bool)
    if len(motion) < 5:
        return jumps, dips
    here = motion[2:-2]
    around = np.stack([motion[:-4], motion[1:-3], motion[3:-1], motion[4:]])
    expected = (around[1] + around[2]) / 2
    speeds = np.linalg.norm(around, axis=2)
    speed, usual = np.linalg.norm(here, axis=1), np.linalg.norm(expected, axis=1) + 1e-12
    steady = speeds.max(axis=0) < STEADY * speeds.min(axis=0)
    steady &= (around[1] * around[2]).sum(axis=1) > 0.8 * speeds[1] * speeds[2]
    steady &= (here * expected).sum(axis=1) > 0.9 * speed * usual
    steady &= usual > 0.5 * np.median(usual)
    ratio = speed / usual
    jumps[2:-2] = steady & (ratio > JUMP)
    dips[2:-2] = steady & (ratio < 1 / JUMP)
    return jumps, dips


def _rates(seen: Survey, spec: DatasetSpec) -> Iterator[Finding]:
    gaps_s = [
        np.diff(rows.timestamps_s)
        for rows in seen.episodes
        if rows.timestamps_s is not None and len(rows.timestamps_s) > 1
    ]
    measured = float(np.median(np.concatenate(gaps_s))) if gaps_s else 0.0
    plot = None
    if gaps_s:
        shown = np.concatenate(gaps_s)[:2000]
        rows = np.arange(len(shown))
        lines = (
            Line(label="by time stamps", x=rows, y=shown, points=True),
            Line(label="frames", x=rows, y=np.full(len(rows), 1 / spec.fps)),
            Line(label="actions", x=rows, y=np.full(len(rows), 1 / spec.action.action_hz)),
        )
        plot = Plot(x_label="row", y_label="seconds to the next row", lines=lines)
    if measured > 0 and abs(measured * spec.fps - 1) > 0.05:
        yield Finding(
            kind="wrong_rate",
            where="rows",
            text=f"rows are {measured:.4g} s apart by their time stamps, which is "
            f"{1 / measured:.4g} Hz, but the dataset says {spec.fps:g} Hz",
            fix=(f"set_fps={1 / measured:.4g}",),
            plot=plot,
        )
    elif spec.action.action_hz != spec.fps:
        yield Finding(
            kind="wrong_rate",
            where="action",
            text=f"actions at {spec.action.action_hz:g} Hz but frames at {spec.fps:g} Hz: every "
            "row holds one of each, so one of the two rates is wrong",
            fix=(f"set_fps={spec.fps:g}",),
            plot=plot,
        )


def _idle(seen: Survey, spec: DatasetSpec, *, ranges: np.ndarray) -> Iterator[Finding]:
    """The share of rows in which nothing moves for a second and longer."""
    runs = {
        rows.episode: idle_runs(rows.state, ranges=ranges, fps=spec.fps) for rows in seen.episodes
    }
    idle = sum(last - first for found in runs.values() for first, last in found)
    share = idle / len(seen.values("state"))
    if share <= IDLE_SHARE:
        return
    worst = max(seen.episodes, key=lambda rows: sum(b - a for a, b in runs[rows.episode]))
    motion = np.abs(relative_motion(worst.state, ranges=ranges)).max(axis=1)
    yield Finding(
        kind="idle",
        where=f"episodes {list_of([number for number, found in runs.items() if found])}",
        text=f"the state stands still in {share:.0%} of the rows, for a second and longer "
        f"(episode {worst.episode}: rows "
        + ", ".join(f"{first} to {last - 1}" for first, last in runs[worst.episode][:3])
        + "): cut the idle parts, or most clips will teach that nothing happens",
        fix=("trim_idle",),
        plot=Plot(
            x_label="row",
            y_label="largest change, share of range",
            lines=(Line(label=f"episode {worst.episode}", x=np.arange(len(motion)), y=motion),),
        ),
    )


def _doubled(seen: Survey, *, ranges: np.ndarray) -> Iterator[Finding]:
    found = {
        rows.episode: doubled_rows(rows, ranges=ranges, images=seen.images_of_episode(rows.episode))
        for rows in seen.episodes
    }
    count = sum(int(doubled.sum()) for doubled in found.values())
    if count < MIN_ODD_ROWS or count < DOUBLED_SHARE * len(seen.values("state")):
        return
    worst = max(seen.episodes, key=lambda rows: found[rows.episode].sum())
    speed = np.linalg.norm(relative_motion(worst.state, ranges=ranges), axis=1)
    marked = np.flatnonzero(found[worst.episode])
    yield Finding(
        kind="duplicated_rows",
        where=f"episodes {list_of([number for number, doubled in found.items() if doubled.any()])}",
        text=f"{count} rows are the row before once more, in the middle of a motion (episode "
        f"{worst.episode}: rows {list_of(marked.tolist(), most=5)}): the recorder wrote them twice",
        fix=("drop_duplicated_rows",),
        plot=_speed_plot(speed, marked - 1, label="doubled"),
    )


def _dropped(seen: Survey, *, ranges: np.ndarray) -> Iterator[Finding]:
    """Gaps: by time stamps, or by steps that are too long for a smooth motion."""
    by_episode: dict[int, np.ndarray] = {}
    num_jumps = num_dips = num_gaps = 0
    for rows in seen.episodes:
        jumps, dips = jumps_and_dips(rows.state, ranges=ranges)
        gaps = np.zeros(len(jumps), bool)
        if rows.timestamps_s is not None and len(rows.timestamps_s) > 1:
            steps_s = np.diff(rows.timestamps_s)
            gaps = steps_s > 1.5 * np.median(steps_s)
        by_episode[rows.episode] = jumps | gaps
        num_jumps, num_dips = num_jumps + int(jumps.sum()), num_dips + int(dips.sum())
        num_gaps += int(gaps.sum())
    if not num_gaps and num_jumps < 3 * num_dips + MIN_ODD_ROWS:
        return
    affected = [number for number, found in by_episode.items() if found.any()]
    if not affected:
        return
    worst = max(seen.episodes, key=lambda rows: by_episode[rows.episode].sum())
    marked = np.flatnonzero(by_episode[worst.episode])
    yield Finding(
        kind="dropped_rows",
        where=f"episodes {list_of(affected)}",
        text=f"rows are missing: {num_jumps} steps are longer than smooth motion allows (and only "
        f"{num_dips} as much shorter), {num_gaps} gaps by time stamps; episode {worst.episode} "
        f"after rows {list_of(marked.tolist(), most=5)}",
        fix=drop_episodes(affected),
        plot=_speed_plot(
            np.linalg.norm(relative_motion(worst.state, ranges=ranges), axis=1),
            marked,
            label="gap",
        ),
    )


def _speed_plot(speed: np.ndarray, marked: np.ndarray, *, label: str) -> Plot:
    line = Line(label="speed", x=np.arange(len(speed)), y=speed)
    points = Line(label=label, x=marked, y=speed[marked], points=True)
    return Plot(x_label="row", y_label="motion a row, shares of ranges", lines=(line, points))
