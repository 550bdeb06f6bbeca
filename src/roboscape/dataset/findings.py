"""What looks wrong in a dataset, in sentences that say what to do about it."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from roboscape.dataset.records import ActionConvention, DatasetSpec
from roboscape.dataset.survey import Survey, Vectors

SHORT_EPISODE = 16
"""Rows below which an episode holds no clip."""
CLIPPED_SHARE = 0.2
"""Share of a dimension's values at its very ends from which on it looks clipped."""
IDLE_SHARE = 0.5
REPEATED_SHARE = 0.2
DEPTH_CLIPPED_SHARE = 0.01


def findings(seen: Survey, spec: DatasetSpec) -> list[str]:
    """Everything that deserves a second look, the gravest first."""
    return [
        *_broken_episodes(seen),
        *_about_convention(seen, spec),
        *_about_vectors(seen.actions, what="action"),
        *_about_vectors(seen.state, what="state"),
        *_about_quaternions(seen.state),
        *_about_idling(seen),
        *_about_images(seen, spec),
        *_about_episodes(seen),
    ]


def _broken_episodes(seen: Survey) -> Iterator[str]:
    for message in list(seen.broken.values())[:5]:
        yield f"cannot be read: {message}"
    if len(seen.broken) > 5:
        yield f"{len(seen.broken) - 5} more episodes cannot be read"


def _about_convention(seen: Survey, spec: DatasetSpec) -> Iterator[str]:
    convention = spec.action
    if not convention.known:
        yield (
            "the dataset does not say what its actions mean (delta or absolute, units, frame, "
            "gripper direction): they are taken as absolute; write meta/roboscape.json to say it"
        )
    if convention.action_hz != spec.fps:
        yield (
            f"actions at {convention.action_hz:g} Hz but frames at {spec.fps:g} Hz: every row "
            "holds one of each, so one of the two rates is wrong"
        )
    yield from _about_mode(seen, convention)


def _about_mode(seen: Survey, convention: ActionConvention) -> Iterator[str]:
    """Compare actions with the state dimensions of the same name: do they follow it?"""
    followed = [
        name
        for name in sorted(set(seen.actions.names) & set(seen.state.names))
        if _correlation(seen, name) > 0.95
    ]
    if followed and convention.known and convention.mode == "delta":
        yield (
            f"the convention says delta, but the action follows the state itself in "
            f"{', '.join(followed)}: it looks absolute"
        )


def _correlation(seen: Survey, name: str) -> float:
    actions = seen.actions.values[:, seen.actions.names.index(name)]
    state = seen.state.values[:, seen.state.names.index(name)]
    if len(actions) < 2 or not (actions.std() > 0 and state.std() > 0):
        return 0.0
    return float(np.corrcoef(actions, state)[0, 1])


def _about_vectors(vectors: Vectors, *, what: str) -> Iterator[str]:
    """Dimensions that never change, or are cut off at their ends."""
    if not len(vectors.values):
        return
    constant = [
        name
        for name, column in zip(vectors.names, vectors.values.T, strict=True)
        if np.ptp(column) <= 1e-6 * max(1.0, float(np.abs(column).max()))
    ]
    if constant:
        yield f"{what} never changes in {', '.join(constant)}: nothing can be learned from it"
    for name, column in zip(vectors.names, vectors.values.T, strict=True):
        # A gripper that is open or shut has few values and is not clipped.
        if what != "action" or name in constant or len(np.unique(column[:5000])) < 8:
            continue
        ends = float(((column == column.min()) | (column == column.max())).mean())
        if ends > CLIPPED_SHARE:
            yield (
                f"{what} {name} is at its smallest or largest value in {ends:.0%} of the rows: it "
                "looks clipped, so part of the command is lost"
            )


def _about_quaternions(state: Vectors) -> Iterator[str]:
    """A quaternion may turn into its negative from one row to the next: the same rotation."""
    places = [place for place, name in enumerate(state.names) if "quat" in name.lower()]
    if len(places) != 4 or len(state.values) < 2:
        return
    before = state.values[:, places]
    changes = state.changes()[:, places]
    jumps = int((np.linalg.norm(changes, axis=1) > np.linalg.norm(before, axis=1).mean()).sum())
    if jumps:
        yield (
            f"the state's quaternion jumps to its negative {jumps} times: the same rotation, but a "
            "model sees a leap; keep one sign (for example the one nearest to the row before)"
        )


def _about_idling(seen: Survey) -> Iterator[str]:
    """The share of rows in which nothing moves."""
    if not seen.state.names or len(seen.state.values) < 2:
        return
    spread = seen.state.values.std(axis=0)
    moves = seen.state.changes()[:, spread > 0] / spread[spread > 0]
    idle = float((np.abs(moves) < 1e-3).all(axis=1).mean()) if moves.size else 1.0
    if idle > IDLE_SHARE:
        yield (
            f"the state stands still in {idle:.0%} of the rows: cut the idle parts, or most clips "
            "will teach that nothing happens"
        )


def _about_images(seen: Survey, spec: DatasetSpec) -> Iterator[str]:
    for name, camera in seen.cameras.items():
        if not camera.frames:
            continue
        if (repeated := camera.repeated / camera.frames) > REPEATED_SHARE:
            yield (
                f"camera {name} repeats the frame before in {repeated:.0%} of the rows: it is "
                "slower than the dataset's rate, or the robot stands still"
            )
        if camera.empty:
            yield f"camera {name} shows a single colour in {camera.empty} of {camera.frames} frames"
        if camera.depth_clipped > DEPTH_CLIPPED_SHARE:
            yield (
                f"{camera.depth_clipped:.1%} of the depth of {name} lies at the ends of the range "
                f"{spec.depth_min_m:g} to {spec.depth_max_m:g} m: it is cut off, or missing"
            )


def _about_episodes(seen: Survey) -> Iterator[str]:
    if not seen.lengths:
        yield "the dataset has no episodes"
        return
    if short := sum(length < SHORT_EPISODE for length in seen.lengths):
        yield f"{short} episodes are shorter than {SHORT_EPISODE} rows: no clip fits into them"
    if repeated := sum(count - 1 for count in Counter(seen.seeds).values()):
        yield (
            f"{repeated} episodes have the seed of another one: they may be the same episode twice"
        )
    outcomes = sum(seen.outcomes.values(), Counter())
    if set(outcomes) == {True}:
        yield (
            "every episode succeeds: a world model that never saw a failure imagines success; "
            "record misses too"
        )
    if set(outcomes) == {False}:
        yield "no episode succeeds: the goal never occurs in this dataset"
