"""Repairs that leave rows out, or move one thing against the others; and whole episodes."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from roboscape.core.errors import UserError
from roboscape.dataset.records import ActionConvention, DatasetSpec, Episode
from roboscape.inspection.faults.pairs import grippers
from roboscape.inspection.faults.rows import doubled_rows, idle_runs
from roboscape.inspection.image_changes import measure_changes
from roboscape.inspection.repairs.repair import Repair, SourceDataset, take_rows, whole_number
from roboscape.inspection.survey import EpisodeRows, ranges_of

KEPT_STANDING_S = 0.5
"""Of every idle run so much is kept: standing still is part of the world."""


def trim_idle(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`trim_idle`: of every second and more without motion, half a second is kept."""
    if value:
        raise UserError(f"--fix trim_idle takes no value, got {value!r}")
    ranges = ranges_of(source.state)
    kept_rows = max(2, round(KEPT_STANDING_S * spec.fps))

    def repair(_: int, episode: Episode) -> Episode | None:
        keep = np.ones(len(episode), bool)
        for first, last in idle_runs(episode.state, ranges=ranges, fps=spec.fps):
            keep[first + kept_rows : last] = False
        return take_rows(episode, np.flatnonzero(keep))

    return Repair(spec=spec, episode=repair)


def drop_duplicated_rows(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`drop_duplicated_rows`: without the rows that were written twice amid a motion."""
    if value:
        raise UserError(f"--fix drop_duplicated_rows takes no value, got {value!r}")
    ranges = ranges_of(source.state)

    def repair(number: int, episode: Episode) -> Episode | None:
        rows = EpisodeRows(
            episode=number, actions=episode.actions, state=episode.state, timestamps_s=None
        )
        images = [measure_changes(frames) for frames in episode.frames.values()]
        return take_rows(episode, np.flatnonzero(~doubled_rows(rows, ranges=ranges, images=images)))

    return Repair(spec=spec, episode=repair)


def drop_duplicated_frames(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`drop_duplicated_frames=wrist:2`: without rows whose image is the one before.

    Every second row (the number after the colon) is kept where nothing moves, so that time goes on.
    Delta actions of a row left out are added to the row kept before it.
    """
    name, _, number = value.rpartition(":")
    camera = require_camera(name, spec, fix="drop_duplicated_frames")
    every = whole_number(number, fix="drop_duplicated_frames")

    def repair(_: int, episode: Episode) -> Episode | None:
        if len(episode) < 2:
            return episode
        changes = measure_changes(episode.frames[camera])
        kept = fresh_rows(changes.repeated, every=every)
        actions = merge_actions(episode.actions, kept, convention=spec.action)
        return take_rows(episode, np.flatnonzero(kept), actions=actions)

    return Repair(spec=spec, episode=repair)


def fresh_rows(repeated: Bool[np.ndarray, " m"], *, every: int) -> Bool[np.ndarray, " t"]:
    """Rows with a new image, and every `every`th row of a run without one.

    Args:
        repeated: For every row but the first, whether it shows the image of the row before.
        every: Rows that an image lasts.
    """
    kept = np.ones(len(repeated) + 1, bool)
    last = 0
    for row, same in enumerate(repeated, start=1):
        kept[row] = not same or row - last >= every
        if kept[row]:
            last = row
    return kept


def merge_actions(
    actions: Float[np.ndarray, "t a"],
    kept: Bool[np.ndarray, " t"],
    *,
    convention: ActionConvention,
) -> Float[np.ndarray, "n a"]:
    """One action for every kept row: what it and the rows left out after it commanded together."""
    starts = np.flatnonzero(kept)
    last = actions[np.concatenate([starts[1:], [len(actions)]]) - 1]
    if convention.mode == "absolute":
        return last
    summed = np.add.reduceat(actions, starts, axis=0)
    return np.where(grippers(convention.names), last, summed)


def shift_actions(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`shift_actions=-2`: the action of row t becomes that of row t - 2."""
    rows = whole_number(value, fix="shift_actions")

    def repair(_: int, episode: Episode) -> Episode | None:
        kept, sources = _shifted(len(episode), rows)
        return take_rows(episode, kept, actions=episode.actions[sources])

    return Repair(spec=spec, episode=repair)


def shift_video(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`shift_video=wrist:3`: images 3 rows late come 3 rows earlier."""
    name, _, number = value.rpartition(":")
    camera = require_camera(name, spec, fix="shift_video")
    rows = whole_number(number, fix="shift_video")

    def repair(_: int, episode: Episode) -> Episode | None:
        kept, sources = _shifted(len(episode), -rows)
        cut, shown = take_rows(episode, kept), take_rows(episode, sources)
        if cut is None or shown is None:
            return None
        return replace(
            cut,
            frames=cut.frames | {camera: shown.frames[camera]},
            depth_m=cut.depth_m | {k: v for k, v in shown.depth_m.items() if k == camera},
            tracks=cut.tracks | {k: v for k, v in shown.tracks.items() if k == camera},
        )

    return Repair(spec=spec, episode=repair)


def drop_episodes(value: str, spec: DatasetSpec, source: SourceDataset) -> Repair:
    """`drop_episodes=3,5`: without these."""
    dropped = {whole_number(number, fix="drop_episodes") for number in value.split(",")}
    if outside := [number for number in dropped if not 0 <= number < source.dataset.num_episodes]:
        raise UserError(
            f"--fix drop_episodes={value}: there is no episode {outside[0]}; there are "
            f"{source.dataset.num_episodes}, counted from 0"
        )

    def repair(number: int, episode: Episode) -> Episode | None:
        return None if number in dropped else episode

    return Repair(spec=spec, episode=repair, dropped=frozenset(dropped))


def require_camera(name: str, spec: DatasetSpec, *, fix: str) -> str:
    """A camera's name that exists."""
    names = [camera.name for camera in spec.cameras]
    if name not in names:
        raise UserError(
            f"--fix {fix}: there is no camera {name!r}; there are {', '.join(names) or 'none'}"
        )
    return name


def _shifted(length: int, rows: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Rows that remain when something moves `rows` down, and where that comes from."""
    kept = np.arange(max(0, rows), min(length, length + rows))
    return kept, kept - rows
