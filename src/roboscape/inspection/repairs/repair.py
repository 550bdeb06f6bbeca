"""Repairs, and how one is made from the text after `--fix`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Int

from roboscape.core.errors import UserError
from roboscape.dataset.checks import NotFiniteError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import DatasetSpec, Episode, Tracks
from roboscape.inspection.survey import Numbers


@dataclass(frozen=True, kw_only=True)
class Repair:
    """One change of a dataset."""

    spec: DatasetSpec
    """The spec of the dataset once repaired."""
    episode: Callable[[int, Episode], Episode | None]
    """The episode (by number) once repaired; None leaves it out."""
    dropped: frozenset[int] = frozenset()
    """Episodes that need not even be read."""


class SourceDataset:
    """The dataset to be repaired, with the numbers of all its episodes."""

    def __init__(self, dataset: LeRobotDataset) -> None:
        self.dataset = dataset

    @cached_property
    def actions(self) -> np.ndarray:
        """Actions of all readable episodes."""
        return self._numbers("action")

    @cached_property
    def state(self) -> np.ndarray:
        """States of all readable episodes."""
        return self._numbers("state")

    def of(self, what: Numbers) -> np.ndarray:
        """Actions or states of all readable episodes."""
        return self.actions if what == "action" else self.state

    def _numbers(self, what: Numbers) -> np.ndarray:
        parts: list[np.ndarray] = []
        for number in range(self.dataset.num_episodes):
            try:
                read = self.dataset.actions if what == "action" else self.dataset.state
                parts.append(read(number))
            except NotFiniteError:
                # Left out here; writing the copy says that the episode must be dropped.
                continue
        if not parts:
            raise UserError(f"no episode of {self.dataset.root} can be read")
        return np.concatenate(parts)


MakeRepair = Callable[[str, DatasetSpec, SourceDataset], Repair]
"""Makes a repair from the text after `=`, the spec so far and the dataset."""


def names_of(spec: DatasetSpec, what: Numbers) -> tuple[str, ...]:
    """Names of the action's or the state's dimensions."""
    return spec.action.names if what == "action" else spec.state_names


def numbers_of(episode: Episode, what: Numbers) -> np.ndarray:
    """The episode's actions or state."""
    return episode.actions if what == "action" else episode.state


def with_numbers(episode: Episode, what: Numbers, values: np.ndarray) -> Episode:
    """The episode with other actions or another state."""
    if what == "action":
        return replace(episode, actions=values.astype(np.float32))
    return replace(episode, state=values.astype(np.float32))


def take_rows(
    episode: Episode, rows: Int[np.ndarray, " n"], *, actions: np.ndarray | None = None
) -> Episode | None:
    """Some rows of an episode, perhaps with other actions; None where no row is left."""
    if not len(rows):
        return None
    return replace(
        episode,
        frames={name: frames[rows] for name, frames in episode.frames.items()},
        depth_m={name: depth_m[rows] for name, depth_m in episode.depth_m.items()},
        actions=episode.actions[rows] if actions is None else actions.astype(np.float32),
        state=episode.state[rows],
        reward=episode.reward[rows],
        tracks={name: _track_rows(tracks, rows) for name, tracks in episode.tracks.items()},
    )


def whole_number(value: str, *, fix: str) -> int:
    """A whole number from a fix's text."""
    try:
        return int(value)
    except ValueError as error:
        raise UserError(f"--fix {fix}: expected a whole number, got {value!r}") from error


def positive_number(value: str, *, fix: str) -> float:
    """A number above 0 from a fix's text."""
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if number <= 0:
        raise UserError(f"--fix {fix}: expected a number above 0, got {value!r}")
    return number


def one_of(value: str, allowed: tuple[str, ...], *, fix: str) -> str:
    """A value that must be among some."""
    if value not in allowed:
        raise UserError(f"--fix {fix}: expected {' or '.join(allowed)}, got {value!r}")
    return value


def _track_rows(tracks: Tracks, rows: np.ndarray) -> Tracks:
    return replace(tracks, xy_px=tracks.xy_px[rows], visible=tracks.visible[rows])
