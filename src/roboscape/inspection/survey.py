"""A survey of a dataset: what it holds, in numbers, from which the findings are made."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float32

from roboscape.dataset.checks import NotFiniteError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import CameraSpec
from roboscape.inspection.image_changes import ImageChanges, measure_changes

BLACK_BELOW = 2.0
"""A frame whose pixels spread less than this (of 255) shows nothing."""
REACHES_FAR_END = 0.1
"""Pixels in the last fifth of the depth range, for every one at its end, if surfaces go on there.

Fewer mean that nothing is cut off: behind a gap there is only background.
"""

Numbers = Literal["action", "state"]
NUMBERS: tuple[Numbers, ...] = get_args(Numbers)


@dataclass(frozen=True, kw_only=True)
class EpisodeRows:
    """The numbers of one episode."""

    episode: int
    actions: Float32[np.ndarray, "t a"]
    state: Float32[np.ndarray, "t s"]
    timestamps_s: Float[np.ndarray, " t"] | None
    """None where the dataset keeps none."""

    def of(self, what: Numbers) -> Float32[np.ndarray, "t c"]:
        """Its actions or its state."""
        return self.actions if what == "action" else self.state


@dataclass(kw_only=True)
class CameraSurvey:
    """The look of one camera's images, from a sample of episodes."""

    changes: dict[int, ImageChanges] = field(default_factory=dict)
    """What changed from row to row, by episode."""
    empty: dict[int, int] = field(default_factory=dict)
    """Frames of one colour, by episode."""
    depth_quantiles_m: Float[np.ndarray, " q"] | None = None
    """1 %, 50 % and 99 % of the depth."""
    depth_clipped: float = 0.0
    """Share of the depth at the ends of the range that the dataset can store, background apart."""
    depth_sample_m: Float[np.ndarray, " n"] | None = None
    """Some of the depth."""

    @property
    def frames(self) -> int:
        """Number of images that were decoded."""
        return sum(len(change.largest) + 1 for change in self.changes.values())


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The findings of a look through a dataset: counts, numbers and samples of its images."""

    lengths: tuple[int, ...]
    seeds: tuple[int, ...]
    tasks: Counter[str]
    outcomes: dict[str, Counter[bool | None]]
    """How episodes ended, by behaviour."""
    looked_at: tuple[int, ...]
    """Episodes whose numbers were read; all of a dataset that is not large."""
    action_names: tuple[str, ...]
    state_names: tuple[str, ...]
    episodes: tuple[EpisodeRows, ...]
    """Numbers of the episodes that could be read."""
    images_of: tuple[int, ...]
    """Episodes whose images were decoded."""
    cameras: dict[str, CameraSurvey]
    broken: dict[int, str] = field(default_factory=dict)
    """Why an episode could not be read."""
    not_finite: frozenset[int] = frozenset()
    """The broken episodes that hold NaN or infinite numbers."""
    contents: dict[int, str] = field(default_factory=dict)
    """A fingerprint of every episode's numbers."""

    def names(self, what: Numbers) -> tuple[str, ...]:
        """Names of the action's or the state's dimensions."""
        return self.action_names if what == "action" else self.state_names

    def images_of_episode(self, episode: int) -> list[ImageChanges]:
        """The changes in the images of an episode, a camera each; none if not looked at."""
        return [
            camera.changes[episode] for camera in self.cameras.values() if episode in camera.changes
        ]

    def values(self, what: Numbers) -> Float32[np.ndarray, "n c"]:
        """Actions or states of all episodes, one after the other."""
        parts = [rows.of(what) for rows in self.episodes]
        return np.concatenate(parts or [np.zeros((0, len(self.names(what))), np.float32)])


def survey(dataset: LeRobotDataset, *, max_episodes: int, max_image_episodes: int) -> Survey:
    """Read the numbers of up to `max_episodes` episodes and the images of a few of them."""
    infos = [dataset.episode_info(number) for number in range(dataset.num_episodes)]
    outcomes: dict[str, Counter[bool | None]] = {}
    for info in infos:
        outcomes.setdefault(info.behaviour, Counter())[info.success] += 1
    looked_at = _spread(dataset.num_episodes, max_episodes)
    broken: dict[int, str] = {}
    not_finite: set[int] = set()
    episodes = _read_numbers(dataset, looked_at, broken=broken, not_finite=not_finite)
    broken |= dataset.missing_frames(number for number in looked_at if number not in broken)
    readable = [number for number in looked_at if number not in broken]
    images_of = [readable[place] for place in _spread(len(readable), max_image_episodes)]
    cameras = {
        camera.name: _survey_camera(dataset, camera, images_of, broken=broken)
        for camera in dataset.spec.cameras
    }
    return Survey(
        lengths=tuple(info.length for info in infos),
        seeds=tuple(info.seed for info in infos),
        tasks=Counter(info.task for info in infos),
        outcomes=outcomes,
        looked_at=tuple(looked_at),
        action_names=dataset.spec.action.names,
        state_names=dataset.spec.state_names,
        episodes=tuple(episodes),
        images_of=tuple(images_of),
        cameras=cameras,
        broken=broken,
        not_finite=frozenset(not_finite),
        contents={rows.episode: _fingerprint(rows) for rows in episodes},
    )


def ranges_of(state: Float[np.ndarray, "n s"]) -> Float[np.ndarray, " s"]:
    """Range of every dimension (1 % to 99 %); infinite where it never changes."""
    low, high = np.quantile(state.astype(np.float64), (0.01, 0.99), axis=0)
    return np.where(high - low > 1e-9, high - low, np.inf)


def depth_at_ends(
    depth_m: Float[np.ndarray, " n"], *, nearest_m: float, farthest_m: float
) -> float:
    """Share of the depth at the ends of a range; at the far one only if surfaces reach it."""
    near = float((depth_m <= nearest_m * 1.001).mean())
    far = float((depth_m >= farthest_m * 0.999).mean())
    before = float(((depth_m >= 0.8 * farthest_m) & (depth_m < 0.999 * farthest_m)).mean())
    return near + (far if before >= REACHES_FAR_END * far else 0.0)


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` of `count` numbers, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def _read_numbers(
    dataset: LeRobotDataset,
    episodes: list[int],
    *,
    broken: dict[int, str],
    not_finite: set[int],
) -> list[EpisodeRows]:
    """The numbers of the episodes that can be read."""
    read: list[EpisodeRows] = []
    for number in episodes:
        try:
            rows = EpisodeRows(
                episode=number,
                actions=dataset.actions(number),
                state=dataset.state(number),
                timestamps_s=dataset.timestamps_s(number),
            )
        except ValueError as error:
            broken[number] = str(error)
            if isinstance(error, NotFiniteError):
                not_finite.add(number)
        else:
            read.append(rows)
    return read


def _fingerprint(rows: EpisodeRows) -> str:
    return hashlib.sha256(rows.actions.tobytes() + b"|" + rows.state.tobytes()).hexdigest()


def _survey_camera(
    dataset: LeRobotDataset, camera: CameraSpec, episodes: list[int], *, broken: dict[int, str]
) -> CameraSurvey:
    """Look at the images of some episodes."""
    result = CameraSurvey()
    samples_m: list[np.ndarray] = []
    for number in episodes:
        try:
            frames = dataset.frames(number, camera.name)
            if camera.has_depth:
                samples_m.append(dataset.depth_m(number, camera.name)[::5, ::4, ::4].ravel())
        except ValueError as error:
            broken[number] = str(error)
            continue
        result.changes[number] = measure_changes(frames)
        spread = frames[:, ::4, ::4].reshape(len(frames), -1).std(axis=1)
        if empty := int((spread < BLACK_BELOW).sum()):
            result.empty[number] = empty
    if samples_m:
        depth_m = np.concatenate(samples_m)
        spec = dataset.spec
        result.depth_quantiles_m = np.quantile(depth_m, [0.01, 0.5, 0.99])
        result.depth_clipped = depth_at_ends(
            depth_m, nearest_m=spec.depth_min_m, farthest_m=spec.depth_max_m
        )
        result.depth_sample_m = depth_m[:: max(1, len(depth_m) // 20_000)]
    return result
