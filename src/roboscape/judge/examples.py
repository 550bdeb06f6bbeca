"""Labelled frames for a success classifier: recorded ones, and imagined ones of known truth."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path
from roboscape.core.progress import progress
from roboscape.dataset.reader import LeRobotDataset
from roboscape.judge.network import JudgeConfig, frames_read, shrunk
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.lift_cube import cube_patch
from roboscape.simulators.protocol import EpisodeStart

RECORDED_PHASES = 2
"""Frames are read so many times as often as the world model shows them."""


@dataclass(frozen=True, kw_only=True)
class JudgeExamples:
    """Frames with their truth. Axes: n frame."""

    images: UInt8[np.ndarray, "n 4 s s"]
    """`shrunk` ones."""
    past: Int[np.ndarray, "n k"]
    """The frames that are read to find about each (`frames_read`): numbers of `images`."""
    success: Bool[np.ndarray, " n"]
    """Whether the task is solved in truth; of imagined frames, in the recording at that row."""
    seen: Bool[np.ndarray, " n"]
    """Whether the object is to be seen in the frame itself."""
    episode: Int[np.ndarray, " n"]
    """Its number; of several datasets all are numbered through (`joined`)."""

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.success)

    def take(self, index: Int[np.ndarray, " b"]) -> UInt8[np.ndarray, "b k c s s"]:
        """Some frames as a network reads them."""
        return self.images[self.past[index]]

    def of(self, episodes: Iterable[int]) -> Int[np.ndarray, " b"]:
        """Numbers of the frames of some episodes."""
        return np.flatnonzero(np.isin(self.episode, list(episodes)))

    def save(self, path: Path) -> None:
        """Write them, whole or not at all: an interrupted training need not imagine again."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "JudgeExamples":
        """Inverse of `save`."""
        with np.load(path) as content:
            return cls(**{name: content[name] for name in content.files})


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The frames of one episode."""

    images: UInt8[np.ndarray, "t 4 s s"]
    success: Bool[np.ndarray, " t"]
    seen: Bool[np.ndarray, " t"]
    spacing: int
    """Frames from one that is read to the next."""
    episode: int


def recorded_examples(
    dataset: LeRobotDataset, episodes: Sequence[int], *, config: JudgeConfig, stride: int
) -> JudgeExamples:
    """Frames of recordings, labelled by their rewards.

    Args:
        dataset: With the judge's camera, its depth, and a reward of 1 in rows that show success.
        episodes: Their numbers.
        config: How frames are read.
        stride: Native rows from one frame to the next.
    """

    def parts() -> Iterator[_Part]:
        step = max(1, stride // RECORDED_PHASES)
        rows = slice(None, None, step)
        with progress(len(episodes), "reading", unit="episode") as bar:
            for episode in episodes:
                rgb = dataset.frames(episode, config.camera, rows)
                depth_m = dataset.depth_m(episode, config.camera, rows)
                yield _Part(
                    images=shrunk(rgb, depth_m, config=config),
                    success=dataset.reward(episode)[rows] > 0,
                    seen=object_seen(rgb, config=config),
                    spacing=stride // step,
                    episode=episode,
                )
                bar.update()

    return _joined(parts(), config=config)


def imagined_examples(
    simulator: LearnedSimulator,
    dataset: LeRobotDataset,
    episodes: Sequence[int],
    *,
    config: JudgeConfig,
    frames: int,
) -> JudgeExamples:
    """Frames imagined from recorded first frames and actions, labelled by the recording.

    Where the model imagines another outcome than the recorded one, the label is the truth all the
    same: a judge of imagined frames is to say what would have happened.
    """

    def parts() -> Iterator[_Part]:
        with progress(len(episodes), "imagining", unit="episode") as bar:
            for first in range(0, len(episodes), simulator.batch):
                some = episodes[first : first + simulator.batch]
                rgb, depth_m = replayed(
                    simulator, dataset, some, camera=config.camera, frames=frames
                )
                for world, episode in enumerate(some):
                    reward = dataset.reward(episode)[:: simulator.spec.stride][:frames]
                    kept = slice(0, len(reward))
                    yield _Part(
                        images=shrunk(rgb[world, kept], depth_m[world, kept], config=config),
                        success=reward > 0,
                        seen=object_seen(rgb[world, kept], config=config),
                        spacing=1,
                        episode=episode,
                    )
                bar.update(len(some))

    return _joined(parts(), config=config)


def replayed(
    simulator: LearnedSimulator,
    dataset: LeRobotDataset,
    episodes: Sequence[int],
    *,
    camera: str,
    frames: int,
) -> tuple[np.ndarray, np.ndarray]:
    """RGB (b t h w 3) and depth in metres (b t h w) imagined under recorded actions.

    An episode that ends earlier holds its last action; so do worlds beyond the last episode.
    """
    batch, stride = simulator.batch, simulator.spec.stride
    used = [*episodes, *[episodes[-1]] * (batch - len(episodes))]
    native = []
    for episode in used:
        actions = dataset.actions(episode)[: (frames - 1) * stride]
        short = (frames - 1) * stride - len(actions)
        native.append(np.pad(actions, ((0, short), (0, 0)), mode="edge"))
    commands = np.stack(native).reshape(batch, frames - 1, stride, -1)
    seen = [simulator.reset([EpisodeStart(dataset=dataset, episode=one) for one in used])]
    seen += [simulator.step(commands[:, t]) for t in range(frames - 1)]
    if camera not in seen[0].depth_m:
        raise UserError(
            f"the checkpoint imagines no depth of camera {camera!r}, which a judge reads"
        )
    rgb = np.stack([one.rgb[camera] for one in seen], axis=1)
    depth_m = np.stack([one.depth_m[camera] for one in seen], axis=1)
    return rgb[: len(episodes)], depth_m[: len(episodes)]


def object_seen(
    rgb: UInt8[np.ndarray, "t h w 3"], *, config: JudgeConfig
) -> Bool[np.ndarray, " t"]:
    """True where the object of the task is to be seen: Lift's cube by its colour; else always."""
    if not config.finds_object:
        return np.ones(len(rgb), bool)
    return np.array([cube_patch(frame) is not None for frame in rgb], bool)


def joined(examples: Sequence[JudgeExamples], *, first_episodes: Sequence[int]) -> JudgeExamples:
    """All examples as one.

    Args:
        examples: Those of a dataset each, or of one dataset several.
        first_episodes: The number that the first episode of each gets.
    """
    before = np.cumsum([0, *(len(one.images) for one in examples[:-1])])
    return JudgeExamples(
        images=np.concatenate([one.images for one in examples]),
        past=np.concatenate([one.past + n for one, n in zip(examples, before, strict=True)]),
        success=np.concatenate([one.success for one in examples]),
        seen=np.concatenate([one.seen for one in examples]),
        episode=np.concatenate(
            [one.episode + n for one, n in zip(examples, first_episodes, strict=True)]
        ),
    )


def _joined(parts: Iterable[_Part], *, config: JudgeConfig) -> JudgeExamples:
    """The frames of all episodes; none is read across an episode's beginning."""
    images, past, success, seen, episode = [], [], [], [], []
    count = 0
    for part in parts:
        length = len(part.images)
        past.append(count + frames_read(length, config=config, spacing=part.spacing))
        images.append(part.images)
        success.append(part.success)
        seen.append(part.seen)
        episode.append(np.full(length, part.episode))
        count += length
    if not count:
        raise UserError("there is no episode to learn from; collect some of every behaviour")
    return JudgeExamples(
        images=np.concatenate(images),
        past=np.concatenate(past),
        success=np.concatenate(success),
        seen=np.concatenate(seen),
        episode=np.concatenate(episode),
    )
