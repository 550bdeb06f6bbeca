"""Actions against the motion of the state: mode, lag, scale, the gripper's direction."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from roboscape.dataset.conventions import gripper_ends
from roboscape.dataset.records import ControlMode, DatasetSpec
from roboscape.inspection.faults.finding import Finding, Line, Plot
from roboscape.inspection.faults.lags import (
    LONGEST_DELAY_S,
    LagProfile,
    lag_profile,
    mean_correlation,
)
from roboscape.inspection.faults.pairs import Pair, aperture, grippers, motion_pairs
from roboscape.inspection.survey import EpisodeRows, Survey

REACH_S = 0.75
WINDOW_S = 0.5
"""Motion is compared over this time, in which a controller's delay matters little."""
SCALES = {"delta": (0.08, 1.6), "absolute": (0.4, 2.5)}
"""Motion per commanded motion: controllers may answer weakly, but not tenfold."""
GRIPPER_FOLLOWS = 0.5
"""Correlation of command and opening, from which on the gripper clearly follows its command."""


def motion_faults(seen: Survey, spec: DatasetSpec) -> Iterator[Finding]:
    """Findings about commands against the robot's motion."""
    yield from _gripper(seen, spec)
    pairs = motion_pairs(spec)
    if not pairs or len(seen.values("action")) < 3:
        return
    looks = apparent_mode(seen, pairs)
    known = spec.action.known
    if known and looks and looks != spec.action.mode:
        yield _wrong_mode(seen, spec, pairs, looks=looks)
        return
    mode = looks or spec.action.mode
    profile = action_lags(seen, pairs, mode=mode, fps=spec.fps)
    yield from _lag(profile, spec=spec)
    if known:
        yield from _scale(seen, spec, pairs, lag=profile.peak if profile.at_peak > 0.3 else 0)


def apparent_mode(seen: Survey, pairs: list[Pair]) -> ControlMode | None:
    """The mode that the actions seem to have: they follow the state, its changes, or neither."""
    level, motion = [], []
    for pair in pairs:
        here = np.concatenate([rows.state[:-1, [pair.state]] for rows in seen.episodes])
        ahead = np.concatenate([rows.state[1:, [pair.state]] for rows in seen.episodes])
        asked = [rows.actions[:-1, [pair.action]] for rows in seen.episodes]
        changes = [np.diff(rows.state[:, [pair.state]], axis=0) for rows in seen.episodes]
        level.append(max(mean_correlation(np.concatenate(asked), one) for one in (here, ahead)))
        motion.append(lag_profile(asked, changes, reach=3).at_peak)
    follows, drives = float(np.median(level)), float(np.median(motion))
    if follows > 0.95 and follows > drives + 0.1:
        return "absolute"
    return "delta" if drives > 0.6 and follows < 0.5 else None


def action_lags(seen: Survey, pairs: list[Pair], *, mode: ControlMode, fps: float) -> LagProfile:
    """Correlation of commanded motion with the motion some rows later.

    At lag 0 the action of row t causes the motion from row t to t + 1.
    """
    commanded, moved = [], []
    for rows in seen.episodes:
        asked, measured = _paired(rows, pairs)
        motion = np.diff(measured, axis=0)
        if mode == "delta":
            commanded.append(asked[:-1])
            moved.append(motion)
        else:
            # The target of row t is reached at row t + 1, so its change leads the motion by one.
            commanded.append(np.diff(asked, axis=0)[:-1])
            moved.append(motion[1:])
    return lag_profile(commanded, moved, reach=max(4, math.ceil(REACH_S * fps)))


def _paired(rows: EpisodeRows, pairs: list[Pair]) -> tuple[np.ndarray, np.ndarray]:
    asked = rows.actions[:, [pair.action for pair in pairs]].astype(np.float64)
    return asked, rows.state[:, [pair.state for pair in pairs]].astype(np.float64)


def _wrong_mode(
    seen: Survey, spec: DatasetSpec, pairs: list[Pair], *, looks: ControlMode
) -> Finding:
    names = ", ".join(pair.name for pair in pairs)
    first = seen.episodes[0]
    asked, measured = _paired(first, pairs[:1])
    follows = (
        "the state itself" if looks == "absolute" else "the changes of the state, not the state"
    )
    return Finding(
        kind="wrong_mode",
        where=f"action {names}",
        text=f"the convention says {spec.action.mode}, but the action follows {follows} in "
        f"{names}: it looks {looks}",
        fix=(f"set_mode={looks}",),
        plot=_two_lines(asked[:, 0], measured[:, 0], name=pairs[0].name),
    )


def _lag(profile: LagProfile, *, spec: DatasetSpec) -> Iterator[Finding]:
    latest = max(1, round(LONGEST_DELAY_S * spec.fps))
    if not profile.outside(0, latest):
        return
    rows = profile.peak
    says = (
        f"{rows} rows too early" if rows > 0 else f"{-rows} rows too late, after what they caused"
    )
    at_zero = float(profile.correlation[profile.lags == 0][0])
    yield Finding(
        kind="action_lag",
        where="action",
        text=f"actions stand {says}: they agree best with the motion {rows:+d} rows "
        f"({rows / spec.fps:+.2f} s) away (correlation {profile.at_peak:.2f}, {at_zero:.2f} in "
        "their own row)",
        fix=(f"shift_actions={rows}",),
        plot=Plot(
            x_label="rows from action to motion",
            y_label="correlation",
            lines=(Line(label="all episodes", x=profile.lags, y=profile.correlation),),
        ),
    )


def _scale(seen: Survey, spec: DatasetSpec, pairs: list[Pair], *, lag: int) -> Iterator[Finding]:
    """Motion per commanded motion, in the units that the convention declares."""
    low, high = SCALES[spec.action.mode]
    for pair in pairs:
        command, motion = windows(seen, spec, pair, lag=max(0, lag))
        if len(command) < 20 or not (command.std() > 0 and motion.std() > 0):
            continue
        correlation = float(np.corrcoef(command, motion)[0, 1])
        ratio = float((command * motion).sum() / (command * command).sum())
        if correlation < 0.5 or low <= ratio <= high:
            continue
        scale = spec.action.scale[pair.action] * ratio
        yield Finding(
            kind="scale_mismatch",
            where=f"action {pair.name}",
            text=f"action {pair.name} moves the robot {ratio:.3g} times as far as its scale says "
            f"(correlation {correlation:.2f} over {WINDOW_S:g} s): a stored 1 moves it by about "
            f"{scale:.2g} {spec.action.units[pair.action]}",
            fix=(f"set_scale={pair.name}:{scale:.4g}",),
            plot=Plot(
                x_label=f"commanded in {WINDOW_S:g} s",
                y_label="moved",
                lines=(
                    Line(label=pair.name, x=command[:2000], y=motion[:2000], points=True),
                    Line(label="as commanded", x=motion[:2000], y=motion[:2000]),
                ),
            ),
        )


def windows(
    seen: Survey, spec: DatasetSpec, pair: Pair, *, lag: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Commanded and measured motion over windows of half a second, physical units."""
    size = max(1, round(WINDOW_S * spec.fps))
    commands, motions = [np.zeros(0)], [np.zeros(0)]
    scale = spec.action.scale[pair.action]
    for rows in seen.episodes:
        asked, measured = _paired(rows, [pair])
        asked, measured = asked[:, 0] * scale, measured[:, 0]
        if spec.action.mode == "absolute":
            commands.append(asked[: len(asked) - 1 - lag] - asked.mean())
            motions.append(measured[1 + lag :] - measured.mean())
            continue
        starts = np.arange(0, len(asked) - size - lag, size)
        summed = np.concatenate([[0.0], np.cumsum(asked)])
        commands.append(summed[starts + size] - summed[starts])
        motions.append(measured[starts + lag + size] - measured[starts + lag])
    return np.concatenate(commands), np.concatenate(motions)


def _gripper(seen: Survey, spec: DatasetSpec) -> Iterator[Finding]:
    """The gripper's command against how far its fingers are open a little later."""
    places = np.flatnonzero(grippers(spec.action.names))
    ends = gripper_ends(spec.action)
    if len(places) != 1 or ends is None:
        return
    place, (opens, closes) = int(places[0]), ends
    name = spec.action.names[place]
    longest = round(WINDOW_S * spec.fps)
    episodes = [rows for rows in seen.episodes if len(rows.state) > longest]
    wide = [aperture(rows.state, spec.state_names) for rows in episodes]
    if not wide or wide[0] is None:
        return
    asked = [rows.actions[:, place] * np.sign(opens - closes) for rows in episodes]
    openings = [one for one in wide if one is not None]
    follows = [
        (mean_correlation(*_later(asked, openings, rows=rows)), rows) for rows in range(longest + 1)
    ]
    strongest, rows = max(follows, key=lambda one: abs(one[0]))
    if strongest > -GRIPPER_FOLLOWS:
        return
    most = max(range(len(asked)), key=lambda number: float(np.ptp(asked[number])))
    yield Finding(
        kind="gripper_inverted",
        where=f"action {name}",
        text=f"the fingers do the opposite of what action {name} says ({opens:g} opens, "
        f"{closes:g} closes): correlation {strongest:.2f} of the command to open and how far they "
        f"are open {rows} rows later",
        fix=("flip_gripper",),
        plot=_two_lines(episodes[most].actions[:, place], openings[most], name=name),
    )


def _later(
    asked: list[np.ndarray], openings: list[np.ndarray], *, rows: int
) -> tuple[Float[np.ndarray, "n 1"], Float[np.ndarray, "n 1"]]:
    """Commands, and openings some rows later."""
    commands = np.concatenate([one[: len(one) - rows] for one in asked])
    return commands[:, None], np.concatenate([one[rows:] for one in openings])[:, None]


def _two_lines(asked: np.ndarray, measured: np.ndarray, *, name: str) -> Plot:
    """Command and measurement of one episode, each scaled to its own range."""
    lines = tuple(
        Line(label=label, x=np.arange(len(y)), y=(y - y.min()) / (np.ptp(y) or 1.0))
        for label, y in ((f"action {name}", asked), ("state", measured))
    )
    return Plot(x_label="row", y_label="share of its range", lines=lines)
