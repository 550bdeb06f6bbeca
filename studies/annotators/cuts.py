"""The table of `annotators.py` about camera cuts: shots of several kinds, joined."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from roboscape.annotate.accuracy.cuts import CutAccuracy, concatenate, cut_accuracy
from roboscape.annotate.backends import CutDetector
from roboscape.annotate.cuts.protocol import CUT_DETECTORS
from roboscape.core.seeding import numpy_generator_for
from roboscape.core.video import count_frames, read_frames
from studies.pages import as_markdown

SHOT_ROWS = (12, 60)
JOINED_VIDEOS = 2
DROID_HZ = 4.0
Video = tuple[np.ndarray, tuple[int, ...]]
"""Frames, and the rows in which another shot begins."""


def cut_table(episodes: Sequence[np.ndarray], *, droid: Path | None, seed: int) -> str:
    """Recall, precision and false alarms of every detector."""
    random = numpy_generator_for(seed, 1)
    videos = {
        "simulator, same camera, another episode": joined(episodes, random, change=as_it_is),
        "simulator, whole picture and enlarged quarter": joined(
            episodes, random, change=other_view
        ),
        "simulator, no cut": [(one, ()) for one in episodes],
    }
    if droid is not None:
        videos |= droid_videos(droid, numpy_generator_for(seed, 2))
    rows = []
    for name, backend in CUT_DETECTORS.items():
        detector = backend()
        for kind, made in videos.items():
            total = measure_cuts(detector, made)
            rows.append(
                (
                    f"`{name}`",
                    kind,
                    total.planted,
                    f"{total.recall:.0%}" if total.planted else "",
                    f"{total.precision:.0%}" if total.planted and total.detected else "",
                    f"{total.false_alarms} in {total.rows:,} rows",
                )
            )
    header = ("detector", "shots", "cuts", "recall", "precision", "false alarms")
    return as_markdown(header, rows)


def measure_cuts(detector: CutDetector, videos: Sequence[Video]) -> CutAccuracy:
    """All videos together."""
    total = CutAccuracy(planted=0, found=0, false_alarms=0, rows=0)
    for frames, planted in videos:
        total = total + cut_accuracy(detector, frames, planted=planted)
    return total


def joined(
    episodes: Sequence[np.ndarray],
    random: np.random.Generator,
    *,
    change: Callable[[np.ndarray, int], np.ndarray],
) -> list[Video]:
    """Videos of random pieces of the episodes, each piece seen as `change` says."""
    videos = []
    for _ in range(JOINED_VIDEOS):
        order = random.permutation(len(episodes))
        shots = [change(piece(episodes[i], random), n) for n, i in enumerate(order)]
        videos.append(concatenate(shots))
    return videos


def piece(frames: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Some rows of an episode."""
    length = int(min(random.integers(*SHOT_ROWS), len(frames)))
    start = int(random.integers(0, len(frames) - length + 1))
    return frames[start : start + length]


def as_it_is(frames: np.ndarray, index: int) -> np.ndarray:
    """The shot itself."""
    del index
    return frames


def other_view(frames: np.ndarray, index: int) -> np.ndarray:
    """The whole picture and an enlarged quarter of it, by turns: a camera jump in one scene."""
    if index % 2 == 0:
        return frames
    _, height, width, _ = frames.shape
    quarter = frames[:, height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    return np.stack([cv2.resize(frame, (width, height)) for frame in quarter])


def droid_videos(droid: Path, random: np.random.Generator) -> dict[str, list[Video]]:
    """Real recordings: from camera to camera, and without a cut."""
    folders = sorted((droid / "videos").iterdir())
    shots = [[read_all(path) for path in sorted(folder.glob("*.mp4"))][:2] for folder in folders]
    cut = [concatenate([piece(one, random) for one in views]) for views in shots]
    return {
        "DROID, from one outer camera to the other": cut,
        "DROID, no cut": [(one, ()) for views in shots for one in views],
    }


def read_all(path: Path) -> np.ndarray:
    """All frames of a video."""
    return read_frames(path, fps=DROID_HZ, wanted=range(count_frames(path)))
