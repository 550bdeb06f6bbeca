"""The tables of `annotators.py` about whole pictures: depth and flow."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol

import cv2
import numpy as np

from roboscape.annotate.accuracy.depth import DepthAccuracy, depth_accuracy
from roboscape.annotate.depth.alignment import align_over_time, depth_confidence
from roboscape.annotate.depth.protocol import DEPTH_ANNOTATORS
from roboscape.annotate.flow.motion import measure_flow
from roboscape.annotate.flow.protocol import FLOW_ESTIMATORS
from roboscape.annotate.perturb.depth import DepthErrors, perturb_depth
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.records import Tracks
from studies.pages import as_markdown

PLANTED = {
    "scale": DepthErrors(scale=0.1),
    "smooth": DepthErrors(smooth=0.1),
    "flicker": DepthErrors(flicker=0.1),
    "noise": DepthErrors(noise=0.1),
}
"""What `roboscape perturb` plants, each at an AbsRel of 0.1."""
BAD_VIDEOS = 4
"""Episodes that are spoilt to see what the flow's scores make of them."""


class Recorded(Protocol):
    """One episode and its truth."""

    @property
    def frames(self) -> np.ndarray:
        """RGB."""
        ...

    @property
    def depth_m(self) -> np.ndarray:
        """Depth, metres."""
        ...

    @property
    def tracks(self) -> Tracks:
        """Points, where they really are."""
        ...


def depth_table(episodes: Sequence[Recorded], *, names: Sequence[str], seed: int) -> str:
    """Depth that is known to be wrong, its alignment over time, and annotators with weights."""
    found: dict[str, list[tuple[DepthAccuracy, float]]] = {}

    def add(name: str, depth_m: np.ndarray, one: Recorded) -> None:
        confidence = float(depth_confidence(depth_m, one.frames).mean())
        found.setdefault(name, []).append((depth_accuracy(depth_m, one.depth_m), confidence))

    for index, one in enumerate(episodes):
        add("`simulator`", one.depth_m, one)
        add(
            "floor: one distance, the median",
            np.full_like(one.depth_m, np.median(one.depth_m)),
            one,
        )
        add("floor: the first frame's, held", np.repeat(one.depth_m[:1], len(one.frames), 0), one)
        for name, errors in PLANTED.items():
            add(
                f"`perturb`: {name} 0.1",
                perturb_depth(one.depth_m, errors, place=(seed, index)),
                one,
            )
        given = each_frame_its_own(one.depth_m, numpy_generator_for(seed, index))
        add("scale and shift of each frame its own", 1 / np.maximum(given, 0.1), one)
        repaired = align_over_time(given, one.frames).values
        add("the same, aligned over time", 1 / np.maximum(repaired, 0.1), one)
    for name in names:
        annotator = DEPTH_ANNOTATORS[name]()
        for one in episodes:
            add(f"`{name}`", annotator.annotate(one.frames), one)
    header = ("depth", "AbsRel", "AbsRel, scaled", "within 1.25", "flicker", "confidence")
    return as_markdown(header, [(name, *depth_cells(pairs)) for name, pairs in found.items()])


def each_frame_its_own(depth_m: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """True disparity with a scale and shift of its own for each frame but the first."""
    rows, disparity = len(depth_m), 1 / depth_m
    scale = random.uniform(0.8, 1.25, (rows, 1, 1))
    shift = random.uniform(-0.1, 0.1, (rows, 1, 1)) * disparity.mean()
    scale[0], shift[0] = 1, 0
    return scale * disparity + shift


def depth_cells(found: list[tuple[DepthAccuracy, float]]) -> list[str]:
    """Means over episodes."""
    means = {key: np.mean([asdict(one)[key] for one, _ in found]) for key in asdict(found[0][0])}
    return [
        f"{means['abs_rel']:.3f}",
        f"{means['abs_rel_scaled']:.3f}",
        f"{means['delta_1']:.1%}",
        f"{means['flicker']:.4f}",
        f"{np.mean([confidence for _, confidence in found]):.2f}",
    ]


def flow_table(episodes: Sequence[Recorded], *, names: Sequence[str]) -> str:
    """Error of flow at points whose true step is known."""
    rows = []
    for name in names:
        estimator = FLOW_ESTIMATORS[name]()
        errors: dict[str, list[np.ndarray]] = {"moving": [], "resting": []}
        lengths: dict[str, list[np.ndarray]] = {"moving": [], "resting": []}
        speeds, true_speeds = [], []
        for one in episodes:
            flow = estimator.flow(one.frames[:-1], one.frames[1:])
            step = np.diff(one.tracks.xy_px, axis=0)
            seen = one.tracks.visible[1:] & one.tracks.visible[:-1]
            error_px = np.linalg.norm(sample(flow, one.tracks.xy_px[:-1]) - step, axis=-1)
            length = np.linalg.norm(step, axis=-1)
            for kind, chosen in {"moving": length >= 0.5, "resting": length < 0.05}.items():
                errors[kind].append(error_px[seen & chosen])
                lengths[kind].append(length[seen & chosen])
            speeds.append(measure_flow(one.frames, estimator).speed_px[1:])
            true_speeds.append(np.percentile(np.where(seen, length, 0), 95, axis=1))
        r = np.corrcoef(np.concatenate(speeds), np.concatenate(true_speeds))[0, 1]
        for kind in errors:
            error, length = np.concatenate(errors[kind]), np.concatenate(lengths[kind])
            steps = f"{len(error):,}"
            of_speed = f"{r:.2f}" if kind == "moving" else ""
            rows.append(
                (f"`{name}`", kind, steps, *(f"{x.mean():.2f}" for x in (length, error)), of_speed)
            )
    header = (
        "flow",
        "points that are",
        "steps",
        "mean true step, px",
        "mean error, px",
        "r of speed and true speed",
    )
    return as_markdown(header, rows)


def flow_score_table(episodes: Sequence[Recorded], *, names: Sequence[str]) -> str:
    """What the scores of the motion filter say of good and of spoilt videos."""
    frames = [one.frames for one in episodes[:BAD_VIDEOS]]
    videos = {
        "as recorded": frames,
        "first frame held": [np.repeat(one[:1], 20, axis=0) for one in frames],
        "frames out of order": [one[shuffle(len(one))] for one in frames],
        "brightness flickers": [flicker(one) for one in frames],
        "noise": [noise_video(one) for one in frames],
    }
    rows = []
    for name in names:
        estimator = FLOW_ESTIMATORS[name]()
        for kind, shown in videos.items():
            found = [measure_flow(one, estimator) for one in shown]
            scores = [
                np.concatenate([getattr(one, score)[2:] for one in found]).mean()
                for score in ("speed_px", "disorder", "turning")
            ]
            rows.append((f"`{name}`", kind, *(f"{score:.2f}" for score in scores)))
    return as_markdown(("flow", "video", "speed, px a row", "disorder", "turning"), rows)


def flicker(frames: np.ndarray) -> np.ndarray:
    """A light that changes at random from frame to frame."""
    gain = numpy_generator_for(3).uniform(0.6, 1.4, (len(frames), 1, 1, 1))
    return (frames * gain).clip(0, 255).astype(np.uint8)


def noise_video(frames: np.ndarray) -> np.ndarray:
    """A video of the same size without any motion to find."""
    return numpy_generator_for(1).integers(0, 255, frames.shape, dtype=np.uint8)


def shuffle(rows: int) -> np.ndarray:
    """An order that is none."""
    return numpy_generator_for(2).permutation(rows)


def sample(flow: np.ndarray, xy_px: np.ndarray) -> np.ndarray:
    """Flow at points."""
    points = [one.astype(np.float32)[:, None] for one in xy_px]
    return np.stack(
        [
            cv2.remap(field, one[..., 0], one[..., 1], cv2.INTER_LINEAR)[:, 0]
            for field, one in zip(flow, points, strict=True)
        ]
    )
