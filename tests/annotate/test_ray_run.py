"""Real Ray, real processes, real `kill -9`: minutes on a small machine, hence slow."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from roboscape.annotate.pipeline import Annotate, run
from roboscape.annotate.pipeline_failures import read_failures
from roboscape.dataset.annotations import annotated_episodes, read_tracks
from roboscape.dataset.records import ActionConvention, CameraSpec, DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter

pytestmark = pytest.mark.slow

EPISODES, ROWS, SIZE, PATIENCE_S = 16, 60, 128, 900
SPEC = DatasetSpec(
    fps=20.0,
    robot_type="toy",
    cameras=(CameraSpec(name="front", height=SIZE, width=SIZE),),
    state_names=("x",),
    action=ActionConvention(
        mode="delta",
        names=("x",),
        units=("m",),
        scale=(0.05,),
        frame="robot_base",
        rotation="none",
        gripper="none",
        action_hz=20.0,
    ),
)


def sliding_episode(seed: int) -> Episode:
    noise = np.random.default_rng(seed).uniform(0, 255, (SIZE, SIZE + ROWS)).astype(np.float32)
    picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    grey = np.stack([picture[:, ROWS - row : ROWS - row + SIZE] for row in range(ROWS)])
    return Episode(
        frames={"front": np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)},
        depth_m={},
        actions=np.zeros((ROWS, 1), np.float32),
        state=np.zeros((ROWS, 1), np.float32),
        reward=np.zeros(ROWS, np.float32),
        task="slide",
        success=True,
        seed=seed,
        behaviour="expert",
        tracks={},
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A file an episode."""
    root = tmp_path_factory.mktemp("ray") / "sliding"
    with DatasetWriter(root, SPEC, episodes_per_file=1) as writer:
        for seed in range(EPISODES):
            writer.add(sliding_episode(seed))
    return root


@pytest.fixture(scope="module")
def undisturbed(recorded, tmp_path_factory) -> Path:
    """What one process makes without Ray."""
    output = tmp_path_factory.mktemp("undisturbed")
    run(Annotate(dataset=recorded, output=output, depth="none"))
    return output


@pytest.fixture
def start():
    """Starts `roboscape annotate` on two workers; whatever still runs ends with the test."""
    started = []

    def start(recorded: Path, output: Path) -> subprocess.Popen:
        words = ["annotate", str(recorded), "--output", str(output), "--depth", "none"]
        command = [sys.executable, "-m", "roboscape.cli", *words, "--workers", "2"]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def done(output: Path) -> frozenset[int]:
    return annotated_episodes(output, kind="tracks", annotator="lucas_kanade", camera="front")


def wait_for(condition, *, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found, front = [], [pid]
    while front:
        front = [child for child, parent in parents.items() if parent in front]
        found += front
    return found


def annotating(pid: int) -> list[int]:
    """Ray's processes below a driver that hold an annotator."""
    titles = {one: Path(f"/proc/{one}/cmdline").read_bytes() for one in descendants(pid)}
    return [one for one, title in titles.items() if title.startswith(b"ray::MapWorker")]


def assert_same_tracks(output: Path, undisturbed: Path) -> None:
    assert done(output) == done(undisturbed) == frozenset(range(EPISODES))
    for episode in range(EPISODES):
        found, expected = (
            read_tracks(root, annotator="lucas_kanade", camera="front", episode=episode)
            for root in (output, undisturbed)
        )
        np.testing.assert_array_equal(found.xy_px, expected.xy_px)
        np.testing.assert_array_equal(found.visible, expected.visible)


def test_a_killed_worker_loses_nothing(start, recorded, undisturbed, tmp_path):
    process = start(recorded, tmp_path)
    wait_for(lambda: len(done(tmp_path)) >= 2, process=process)
    victim = annotating(process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    assert len(done(tmp_path)) < EPISODES, "it was killed too late to prove anything"
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert_same_tracks(tmp_path, undisturbed)
    failed = read_failures(tmp_path, kind="tracks", annotator="lucas_kanade", camera="front")
    assert failed == {}


def test_a_killed_driver_loses_nothing_and_nothing_is_done_twice(
    start, recorded, undisturbed, tmp_path
):
    process = start(recorded, tmp_path)
    wait_for(lambda: len(done(tmp_path)) >= 3, process=process)
    below = descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # Ray ends its own processes once the driver is gone; what they finish meanwhile is whole.
    deadline = time.monotonic() + PATIENCE_S
    while any(alive(pid) for pid in below) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(alive(pid) for pid in below), "the driver left processes behind"
    finished = done(tmp_path)
    assert 3 <= len(finished) < EPISODES
    folder = tmp_path / "tracks_lucas_kanade" / "front"
    written = {n: (folder / f"episode_{n:06d}.npz").stat().st_mtime_ns for n in finished}
    again = start(recorded, tmp_path)
    _, said = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, said
    assert_same_tracks(tmp_path, undisturbed)
    assert written == {n: (folder / f"episode_{n:06d}.npz").stat().st_mtime_ns for n in finished}


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_corrupt_episode_costs_only_itself(start, tmp_path):
    root = tmp_path / "torn"
    with DatasetWriter(root, SPEC, episodes_per_file=1) as writer:
        for seed in range(4):
            writer.add(sliding_episode(seed))
    video = sorted(root.glob("videos/observation.images.front/**/*.mp4"))[2]
    video.write_bytes(video.read_bytes()[:300])
    output = tmp_path / "annotations"
    process = start(root, output)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert done(output) == {0, 1, 3}
    failed = read_failures(output, kind="tracks", annotator="lucas_kanade", camera="front")
    assert list(failed) == [2] and video.name in failed[2]
    assert "1 of 4 episodes failed" in said
