"""How well the annotators that need no download do, against a simulator's truth.

    python -m studies.annotators.run data/lift_validation --droid ../shared/data/droid \\
        --page docs/annotators.md

Prints the tables of docs/annotators.md (but those of `segmentation.py`), and with
`--page` writes them there. What needs weights is measured as soon as it runs: `--trackers
cotracker3`, `--depth depth_anything_v2_metric`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from roboscape.annotate.accuracy.accuracy import AccuracyReport
from roboscape.annotate.tracks.camera_motion import estimate_camera_motion
from roboscape.annotate.tracks.confidence import track_confidence
from roboscape.annotate.tracks.protocol import TRACK_ANNOTATORS
from roboscape.dataset.annotations import SIMULATOR, annotations_folder, read_tracks
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import Tracks
from studies.annotators.cuts import cut_table
from studies.annotators.dense import depth_table, flow_score_table, flow_table
from studies.pages import as_markdown, fill

SURVIVAL_ROW = 60
WITHIN_PX = 2.0
PAN_PX = 2.0
CROP_PX = 96


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What to measure."""

    dataset: tyro.conf.Positional[Path]
    """LeRobot dataset with a simulator's depth and tracks."""
    episodes: int = 12
    """Episodes to take, from the first on."""
    camera: str | None = None
    """The dataset's first where not given."""
    only: tuple[str, ...] = ()
    """Tables to make: tracks, confidence, camera, flow, flow-scores, depth, cuts; else all."""
    trackers: tuple[str, ...] = ("lucas_kanade",)
    """Track annotators to measure."""
    flows: tuple[str, ...] = ("dis",)
    """Flow estimators to measure."""
    depth: tuple[str, ...] = ()
    """Depth annotators to measure; all that estimate need weights."""
    droid: Path | None = None
    """A folder of DROID recordings with several cameras, for cuts between real pictures."""
    seed: int = 0
    """Where shots begin and end."""
    page: Path | None = None
    """Page to write the tables into."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One episode and its truth."""

    frames: np.ndarray
    depth_m: np.ndarray
    tracks: Tracks


def main(config: Benchmark) -> None:
    """Measure, print every table, and keep it."""
    dataset = LeRobotDataset(config.dataset)
    episodes = list(recorded(dataset, config))
    for name, make in TABLES.items():
        if config.only and name not in config.only:
            continue
        start = time.perf_counter()
        content = make(episodes, config)
        took = f"{len(episodes)} episodes of `{config.dataset.name}`"
        print(f"{name} ({time.perf_counter() - start:.0f} s)\n\n{content}\n", flush=True)
        if config.page:
            fill(config.page, name, f"{content}\n\n{took}.")


def recorded(dataset: LeRobotDataset, config: Benchmark) -> Iterator[Recorded]:
    """The episodes to measure on."""
    camera = config.camera or dataset.spec.cameras[0].name
    root = annotations_folder(dataset.root)
    for episode in range(min(config.episodes, dataset.num_episodes)):
        yield Recorded(
            frames=dataset.frames(episode, camera),
            depth_m=dataset.depth_m(episode, camera),
            tracks=read_tracks(root, annotator=SIMULATOR, camera=camera, episode=episode),
        )


def track_table(episodes: list[Recorded], config: Benchmark) -> str:
    """Error and survival of trackers."""
    rows = []
    for name in config.trackers:
        report = AccuracyReport(TRACK_ANNOTATORS[name](), survival_rows=(SURVIVAL_ROW,))
        for one in episodes:
            report.add(one.frames, one.tracks)
        rows += [
            (
                f"`{name}`",
                kind,
                one.points,
                f"{one.mean_px:.2f}",
                f"{one.median_px:.2f}",
                f"{one.within_2_px:.0%}",
                f"{one.followed:.0%}",
                f"{one.false_alarms:.0%}",
                f"{one.survival[SURVIVAL_ROW]:.0%}",
            )
            for kind, one in report.result().items()
        ]
    header = (
        "tracker",
        "points that are",
        "of them",
        "mean error, px",
        "median, px",
        "visible and within 2 px",
        "visible and followed",
        "hidden but followed",
        f"alive after {SURVIVAL_ROW} rows (3 s)",
    )
    return as_markdown(header, rows)


def confidence_table(episodes: list[Recorded], config: Benchmark) -> str:
    """How well the confidence of tracks predicts their error."""
    rows = []
    for name in config.trackers:
        tracker = TRACK_ANNOTATORS[name]()
        right, wrong = [], []
        for one in episodes:
            found = tracker.follow(one.frames, points_px=one.tracks.xy_px[0])
            seen = found.visible & one.tracks.visible
            seen[0] = False
            confidence = track_confidence(one.frames, found)
            error_px = np.linalg.norm(found.xy_px - one.tracks.xy_px, axis=-1)
            right.append(confidence[seen & (error_px <= WITHIN_PX)])
            wrong.append(confidence[seen & (error_px > WITHIN_PX)])
        good, bad = np.concatenate(right), np.concatenate(wrong)
        rows.append(
            (
                f"`{name}`",
                f"{len(bad) / (len(bad) + len(good)):.1%}",
                f"{np.median(good):.2f}",
                f"{np.median(bad):.2f}",
                f"{ranked_above(good, bad):.2f}",
            )
        )
    header = (
        "tracker",
        f"points more than {WITHIN_PX:g} px off",
        "median confidence of the right ones",
        "of the wrong ones",
        "right ranked above wrong",
    )
    return as_markdown(header, rows)


def ranked_above(high: np.ndarray, low: np.ndarray) -> float:
    """Probability that one of the first is larger than one of the second (area under the ROC)."""
    if not len(high) or not len(low):
        return float("nan")
    order = np.sort(low)
    below = np.searchsorted(order, high, side="left") + np.searchsorted(order, high, side="right")
    return float(below.mean() / 2 / len(low))


def camera_table(episodes: list[Recorded], config: Benchmark) -> str:
    """A resting camera must be reported as resting, a planted pan must be found."""
    rows = []
    views: dict[str, Callable[[Recorded], np.ndarray]] = {
        "rests": lambda one: one.frames,
        "pans": pan,
    }
    for tracker in config.trackers:
        annotator = TRACK_ANNOTATORS[tracker]()
        for kind, view in views.items():
            motions = [estimate_camera_motion(annotator.annotate(view(one))) for one in episodes]
            rows.append(
                (
                    f"`{tracker}`",
                    kind,
                    f"{sum(motion.moves for motion in motions)} of {len(motions)}",
                    f"{PAN_PX if kind == 'pans' else 0:g}",
                    f"{np.mean([np.median(one.step_px[1:]) for one in motions]):.2f}",
                    f"{np.mean([one.share_background for one in motions]):.0%}",
                )
            )
    header = (
        "tracks by",
        "the camera",
        "reported to move",
        "true step, px a row",
        "step found",
        "points on the background",
    )
    return as_markdown(header, rows)


def pan(one: Recorded) -> np.ndarray:
    """A window that slides over the frames and back, as a camera that pans."""
    room = one.frames.shape[2] - CROP_PX
    at = np.abs((np.arange(len(one.frames)) * PAN_PX + room) % (2 * room) - room)
    return np.stack(
        [
            frame[:CROP_PX, int(left) : int(left) + CROP_PX]
            for frame, left in zip(one.frames, at, strict=True)
        ]
    )


TABLES: dict[str, Callable[[list[Recorded], Benchmark], str]] = {
    "depth": lambda episodes, config: depth_table(episodes, names=config.depth, seed=config.seed),
    "tracks": track_table,
    "confidence": confidence_table,
    "camera": camera_table,
    "flow": lambda episodes, config: flow_table(episodes, names=config.flows),
    "flow-scores": lambda episodes, config: flow_score_table(episodes, names=config.flows),
    "cuts": lambda episodes, config: cut_table(
        [one.frames for one in episodes], droid=config.droid, seed=config.seed
    ),
}


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
