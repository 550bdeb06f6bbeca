"""Trials of a blind evaluation: pairs of videos of one episode, whose sources are kept secret."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path, read_json, write_json
from roboscape.core.progress import progress
from roboscape.core.seeding import numpy_generator_for
from roboscape.core.video import write_video
from roboscape.dataset.reader import EpisodeInfo, LeRobotDataset
from roboscape.evaluate.rollout import Start, imagine_episode
from roboscape.rollout.bundle import Bundle

TRIALS, VIDEOS = "trials.json", "videos"
TRUE = "true"
"""Name of the recording as a source of videos."""
SCALE = 3
"""Side of the square that a pixel is drawn as."""


SourceVideos = dict[str, tuple[UInt8[np.ndarray, "t h w 3"], float]]
"""Frames and frames a second of one episode, by source."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One question: two videos of the same episode, beside each other."""

    id: str
    """Random, so that it reveals nothing."""
    episode: int
    left: str
    """Source of the left video: `true`, or a checkpoint's name. Never sent to a page."""
    right: str
    left_video: str
    """File of the left video, a random name."""
    right_video: str
    recorded_success: bool
    """Whether the recording says that the task was solved."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """All trials of an evaluation."""

    task: str
    """What the robot is to do, in words, as the question asks."""
    dataset: str
    sources: tuple[str, ...]
    trials: tuple[Trial, ...]


def write_trials(
    folder: Path,
    *,
    dataset: LeRobotDataset,
    bundles: dict[str, Bundle],
    episodes: Sequence[int],
    horizon: int,
    seed: int,
) -> Trials:
    """Imagine episodes with every bundle and write all pairs of sources, whole or not at all.

    Args:
        folder: A new folder.
        dataset: Recordings.
        bundles: Checkpoints by name.
        episodes: Numbers of the episodes.
        horizon: Imagined frames.
        seed: Decides the sides.
    """
    random, trials = numpy_generator_for(seed), []
    sources = (TRUE, *bundles)
    with (
        atomic_path(folder) as temporary,
        progress(len(episodes), "imagining", unit="episode") as bar,
    ):
        (temporary / VIDEOS).mkdir(parents=True)
        for episode in episodes:
            videos = videos_of(dataset, bundles, episode=episode, horizon=horizon)
            trials += episode_trials(
                temporary / VIDEOS, videos, info=dataset.episode_info(episode), random=random
            )
            bar.update()
        found = Trials(
            task=dataset.episode_info(episodes[0]).task,
            dataset=str(dataset.root),
            sources=sources,
            trials=tuple(trials),
        )
        write_json(temporary / TRIALS, asdict(found))
    return found


def episode_trials(
    folder: Path, videos: SourceVideos, *, info: EpisodeInfo, random: np.random.Generator
) -> Iterator[Trial]:
    """One trial a pair of sources, whose videos are written."""
    for pair in combinations(videos, 2):
        left, right = pair if random.random() < 0.5 else pair[::-1]
        # Each pair has files of its own: equal names would show what is the same.
        left_video, right_video = (
            write_under_random_name(folder, *videos[source]) for source in (left, right)
        )
        yield Trial(
            id=secrets.token_hex(8),
            episode=info.index,
            left=left,
            right=right,
            left_video=left_video,
            right_video=right_video,
            recorded_success=bool(info.success),
        )


def write_under_random_name(
    folder: Path, frames: UInt8[np.ndarray, "t h w 3"], frame_hz: float
) -> str:
    """Write a video under a random name, which it returns."""
    name = f"{secrets.token_hex(8)}.mp4"
    write_video(folder / name, enlarged(frames), fps=frame_hz)
    return name


def videos_of(
    dataset: LeRobotDataset, bundles: dict[str, Bundle], *, episode: int, horizon: int
) -> SourceVideos:
    """Videos of every source, of equal length; the recording first."""
    found: SourceVideos = {}
    for name, bundle in bundles.items():
        imagined = imagine_episode(bundle, dataset, start=Start(episode=episode, horizon=horizon))
        length = imagined.truth.rgb.shape[1]
        found[name] = imagined.imagined.rgb[0, :length], imagined.frame_hz
        found[TRUE] = imagined.truth.rgb[0], imagined.frame_hz
    return {TRUE: found.pop(TRUE), **found}


def enlarged(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t y x 3"]:
    """Every pixel as a square, for a browser would blur."""
    return frames.repeat(SCALE, axis=1).repeat(SCALE, axis=2)


def read_trials(folder: Path) -> Trials:
    """Trials as they were written.

    Raises:
        ValueError: there are none.
    """
    if not (folder / TRIALS).is_file():
        raise UserError(
            f"expected the folder of a blind evaluation, {folder} holds no {TRIALS}; "
            "`roboscape judge` makes one"
        )
    return config_from_dict(Trials, read_json(folder / TRIALS), where=str(folder / TRIALS))
