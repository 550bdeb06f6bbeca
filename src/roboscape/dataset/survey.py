"""Looking through a dataset: what it holds, in numbers, and the raw material of the warnings."""

from collections import Counter
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, Float32

from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import CameraSpec

BLACK_BELOW = 2.0
"""A frame whose pixels spread less than this (of 255) shows nothing."""
REPEATED_WITHIN = 8
"""No pixel of a repeated frame changes by more than this; lossy video makes small changes."""


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Rows of numbers of the episodes looked at, one after the other."""

    names: tuple[str, ...]
    values: Float32[np.ndarray, "n c"]
    starts: tuple[int, ...]
    """The row that each episode begins at."""

    def changes(self) -> Float32[np.ndarray, "m c"]:
        """Differences of neighbouring rows inside the same episode."""
        inside = np.ones(len(self.values) - 1, bool)
        inside[np.array(self.starts[1:], int) - 1] = False
        return np.diff(self.values, axis=0)[inside]


@dataclass(kw_only=True)
class CameraSurvey:
    """What the images of one camera look like, from a sample of episodes."""

    frames: int = 0
    repeated: int = 0
    """Frames like the one before."""
    empty: int = 0
    """Frames of one colour."""
    depth_quantiles_m: Float[np.ndarray, " q"] | None = None
    """1 %, 50 % and 99 % of the depth."""
    depth_clipped: float = 0.0
    """Share of the depth at the ends of the range that the dataset can store."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All that is known about a dataset after looking through it."""

    lengths: tuple[int, ...]
    seeds: tuple[int, ...]
    tasks: Counter[str]
    outcomes: dict[str, Counter[bool | None]]
    """How episodes ended, by behaviour."""
    looked_at: tuple[int, ...]
    """Episodes whose numbers were read; all of a dataset that is not large."""
    actions: Vectors
    state: Vectors
    images_of: tuple[int, ...]
    """Episodes whose images were decoded."""
    cameras: dict[str, CameraSurvey]
    broken: dict[int, str] = field(default_factory=dict)
    """Why an episode could not be read."""


def survey(dataset: LeRobotDataset, *, max_episodes: int, max_image_episodes: int) -> Survey:
    """Read the numbers of up to `max_episodes` episodes and the images of a few of them."""
    infos = [dataset.episode_info(number) for number in range(dataset.num_episodes)]
    outcomes: dict[str, Counter[bool | None]] = {}
    for info in infos:
        outcomes.setdefault(info.behaviour, Counter())[info.success] += 1
    looked_at = _spread(dataset.num_episodes, max_episodes)
    broken: dict[int, str] = {}
    actions, state = _read_vectors(dataset, looked_at, broken=broken)
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
        actions=actions,
        state=state,
        images_of=tuple(images_of),
        cameras=cameras,
        broken=broken,
    )


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` of `count` numbers, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def _read_vectors(
    dataset: LeRobotDataset, episodes: list[int], *, broken: dict[int, str]
) -> tuple[Vectors, Vectors]:
    """Actions and states of the episodes that can be read."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for number in episodes:
        try:
            parts.append((dataset.actions(number), dataset.state(number)))
        except ValueError as error:
            broken[number] = str(error)
    lengths = [len(actions) for actions, _ in parts]
    starts = tuple(
        int(end - length) for end, length in zip(np.cumsum(lengths), lengths, strict=True)
    )
    names = (dataset.spec.action.names, dataset.spec.state_names)
    actions, state = (
        Vectors(
            names=names[place],
            values=np.concatenate(
                [part[place] for part in parts] or [np.zeros((0, len(names[place])), np.float32)]
            ),
            starts=starts,
        )
        for place in (0, 1)
    )
    return actions, state


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
        result.frames += len(frames)
        changes = cv2.absdiff(frames[1:], frames[:-1]).reshape(len(frames) - 1, -1)
        result.repeated += int((changes.max(axis=1, initial=0) <= REPEATED_WITHIN).sum())
        spread = frames[:, ::4, ::4].reshape(len(frames), -1).std(axis=1)
        result.empty += int((spread < BLACK_BELOW).sum())
    if samples_m:
        depth_m = np.concatenate(samples_m)
        spec = dataset.spec
        ends = (depth_m <= spec.depth_min_m * 1.001) | (depth_m >= spec.depth_max_m * 0.999)
        result.depth_quantiles_m = np.quantile(depth_m, [0.01, 0.5, 0.99])
        result.depth_clipped = float(ends.mean())
    return result
