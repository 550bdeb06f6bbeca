"""What annotating costs, what the paper's 6.5 M clips would cost, and what a second worker gains.

    python -m studies.annotators.annotate_scale data/lift_validation \\
        --page docs/annotate-at-scale.md
    python -m studies.annotators.annotate_scale data/lift_validation --speed-up \\
        --page docs/annotate-at-scale.md

The first command measures the CPU seconds (not the wall clock's, so that other work on the machine
does not count) of every stage that runs without weights, and works the rest out. The second runs
`roboscape annotate` on the whole dataset with one worker and with two, into empty folders; it wants
an idle machine of two cores or more.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import tyro

from roboscape.annotate.cuts.protocol import CUT_DETECTORS
from roboscape.annotate.flow.motion import measure_flow
from roboscape.annotate.flow.protocol import FLOW_ESTIMATORS
from roboscape.annotate.segments.protocol import SEGMENTERS, recorded_motion
from roboscape.annotate.tracks.camera_motion import estimate_camera_motion
from roboscape.annotate.tracks.protocol import TRACK_ANNOTATORS
from roboscape.clips.motion import measure_motion
from roboscape.dataset.reader import LeRobotDataset
from studies.pages import as_markdown, fill

CLIPS, SEGMENTS, CLIP_FRAMES, STRIDE = 6_500_000, 50_000, 16, 15
"""The paper's: clips, videos they are cut from, frames of a clip, rows between them at 30 Hz."""
SEGMENT_ROWS = CLIPS // SEGMENTS + (CLIP_FRAMES - 1) * STRIDE
"""Rows of a video in which so many clips begin, one at every row."""
FRAMES = SEGMENTS * SEGMENT_ROWS
CORES = 64
PASSES = {"decoding": 3, "cuts by `scene_detect`": 0}
"""Stages that decode, of those that need no weights; one detector of cuts is enough."""
Stage = Literal["tracks", "cuts", "motion"]
FLAGS: dict[Stage, tuple[str, ...]] = {
    "tracks": (),
    "cuts": ("--tracks", "none", "--cuts", "transnet_v2"),
    "motion": ("--tracks", "none", "--motion", "dis"),
}


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """GPU milliseconds that could not be measured here."""

    depth_ms: float = 7.5
    """Of Video Depth Anything (small) a frame: its authors' figure for an A100 at 518 px, fp16."""
    tracks_ms: float = 20.0
    """Of CoTracker3 a frame at 576 points: a guess."""
    flow_ms: float = 30.0
    """Of RAFT (large) a frame: a guess."""
    semantics_ms: float = 1000.0
    """Of InternVL3-1B a video of 16 frames shown: a guess."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What to measure."""

    dataset: tyro.conf.Positional[Path]
    """LeRobot dataset."""
    episodes: int = 4
    """Episodes that costs are measured on, from the first on."""
    side_px: int = 256
    """Frames are resized to this square before they are annotated; the paper's tokens want 256."""
    assumed: Assumed = field(default_factory=Assumed)
    speed_up: bool = False
    """Measure two workers against one instead."""
    stage: Stage = "cuts"
    """What the workers do."""
    page: Path | None = None
    """Page to write the tables into."""


def main(config: Benchmark) -> None:
    """Measure, print, and keep it."""
    if config.speed_up:
        tables = {"speed-up": speed_up_table(config)}
    else:
        costs = measure_costs(config)
        tables = {"costs": cost_table(costs, config), "paper": paper_table(costs, config)}
    for name, content in tables.items():
        print(f"{name}\n\n{content}\n")
        if config.page:
            fill(config.page, name, content)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """CPU seconds of one stage."""

    per_frame_s: float
    note: str = ""


def measure_costs(config: Benchmark) -> dict[str, Cost]:
    """CPU seconds a frame of every stage that runs here, models loaded before."""
    dataset = LeRobotDataset(config.dataset)
    camera = dataset.spec.cameras[0]
    episodes = range(min(config.episodes, dataset.num_episodes))
    decode_s, native = timed(lambda: [dataset.frames(e, camera.name) for e in episodes])
    pixels = config.side_px**2 / (camera.height * camera.width)
    videos = [np.stack([resized(frame, config.side_px) for frame in one]) for one in native]
    frames = sum(len(one) for one in videos)
    tracker, flow = TRACK_ANNOTATORS["lucas_kanade"](), FLOW_ESTIMATORS["dis"]()
    found = [tracker.annotate(one) for one in videos]
    motions = [recorded_motion(dataset, episode) for episode in episodes]
    works: dict[str, Callable[[], object]] = {
        "tracks by `lucas_kanade`, 576 points": lambda: [tracker.annotate(v) for v in videos],
        "motion by `dis`": lambda: [measure_flow(v, flow) for v in videos],
        "semantics by `kinematic`": lambda: [
            SEGMENTERS["kinematic"]().annotate(None, motion=m) for m in motions
        ],
        "camera motion, on the tracks": lambda: [estimate_camera_motion(t) for t in found],
        "verdict on a clip, on the tracks": lambda: [
            measure_motion(t.xy_px[:CLIP_FRAMES], t.visible[:CLIP_FRAMES]) for t in found
        ],
    }
    for name, backend in CUT_DETECTORS.items():
        detector = backend()
        detector.annotate(videos[0][:8])
        works[f"cuts by `{name}`"] = lambda detector=detector: [
            detector.annotate(v) for v in videos
        ]
    costs = {
        "decoding": Cost(
            per_frame_s=decode_s / frames * pixels,
            note=f"measured at {camera.height} px, times the pixels",
        )
    }
    for name, work in works.items():
        seconds, _ = timed(work)
        counted = frames if "verdict" not in name else len(videos)
        costs[name] = Cost(per_frame_s=seconds / counted, note=by_clip(name))
    return costs


def by_clip(name: str) -> str:
    """What the seconds are of."""
    return "a clip, not a frame" if "verdict" in name else ""


def timed(work: Callable[[], object]) -> tuple[float, list[np.ndarray]]:
    """CPU seconds that some work takes, all its threads together, and what it gives."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result  # type: ignore[return-value]


def resized(frame: np.ndarray, side_px: int) -> np.ndarray:
    """A frame at the size that is assumed."""
    return cv2.resize(frame, (side_px, side_px), interpolation=cv2.INTER_LINEAR)


def cost_table(costs: dict[str, Cost], config: Benchmark) -> str:
    """CPU milliseconds of every stage."""
    rows = [
        (
            name,
            f"{1000 * one.per_frame_s:.2f}",
            "" if one.note.startswith("a clip") else f"{1000 * CLIP_FRAMES * one.per_frame_s:.0f}",
            one.note,
        )
        for name, one in costs.items()
    ]
    header = ("stage", "CPU ms a frame", f"a clip of {CLIP_FRAMES} frames", "")
    note = (
        f"{config.episodes} episodes of `{config.dataset.name}`, frames of {config.side_px} x "
        f"{config.side_px} px, {processor()}, one thread of OpenCV and PyTorch each."
    )
    return f"{as_markdown(header, rows)}\n\n{note}"


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "an unknown processor"


def paper_table(costs: dict[str, Cost], config: Benchmark) -> str:
    """Hours of the paper's whole dataset."""
    rows, core_hours = [], 0.0
    for name, one in costs.items():
        units = CLIPS if one.note.startswith("a clip") else FRAMES
        hours = units * one.per_frame_s / 3600
        core_hours += hours * PASSES.get(name, 1)
        rows.append((name, "CPU, measured", f"{hours:,.1f}", f"{hours / CORES:,.1f} h"))
    assumed = {
        "depth by Video Depth Anything": FRAMES * config.assumed.depth_ms,
        "tracks by CoTracker3": FRAMES * config.assumed.tracks_ms,
        "motion by RAFT": FRAMES * config.assumed.flow_ms,
        "semantics by InternVL3-1B": SEGMENTS * config.assumed.semantics_ms,
    }
    for name, milliseconds in assumed.items():
        hours = milliseconds / 3.6e6
        rows.append((name, "**GPU, assumed**", f"{hours:,.1f}", f"{hours / 8:,.1f} h on 8"))
    header = ("stage", "where", "hours of a core or of a GPU", f"one machine of {CORES} cores")
    gpu_hours = sum(assumed.values()) / 3.6e6
    note = (
        "Without any weights (tracks, motion, cuts by `transnet_v2`, decoded for each): "
        f"{core_hours:,.0f} core-hours, {core_hours / CORES:,.1f} h on one machine of {CORES} "
        f"cores. The four GPU stages, as assumed: {gpu_hours:,.0f} GPU-hours, "
        f"{gpu_hours / 8:,.0f} h on a machine of 8."
    )
    return f"{as_markdown(header, rows)}\n\n{note}"


def speed_up_table(config: Benchmark) -> str:
    """Wall-clock seconds of `roboscape annotate` with one worker and with two."""
    found = {workers: run_annotate(config, workers=workers) for workers in (1, 2)}
    one, two = found[1], found[2]
    rows = [
        (workers, f"{run.whole_s:.1f}", f"{run.an_episode_s:.2f}", f"{run.files}")
        for workers, run in found.items()
    ]
    gains = (
        f"{one.an_episode_s / two.an_episode_s:.2f} times as fast an episode, "
        f"{one.whole_s / two.whole_s:.2f} times as a whole, the start of Ray included"
    )
    header = ("workers", "whole command, s", "an episode, s", "episodes")
    note = f"`{config.stage}` of `{config.dataset.name}`, {os.cpu_count()} cores: {gains}."
    return f"{as_markdown(header, rows)}\n\n{note}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """How long a run took."""

    whole_s: float
    an_episode_s: float
    """Between two results, from the first on: without the start of Python and Ray."""
    files: int


def run_annotate(config: Benchmark, *, workers: int) -> Run:
    """Annotate the first episodes in a process of its own, as a user would."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        words = ["annotate", str(config.dataset.resolve()), "--depth", "none", *FLAGS[config.stage]]
        words += ["--output", str(output), "--workers", str(workers)]
        start = time.perf_counter()
        command = [sys.executable, "-m", "roboscape.cli", *words]
        subprocess.run(command, check=True, env=environment)
        whole_s = time.perf_counter() - start
        results = output.glob(f"{config.stage}_*/*/episode_*")
        times = sorted(path.stat().st_mtime for path in results)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return Run(whole_s=whole_s, an_episode_s=float(np.mean(gaps)), files=len(times))


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
