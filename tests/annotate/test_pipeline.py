import errno
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from roboscape.annotate.depth import protocol as depth
from roboscape.annotate.flow.motion import measure_flow, read_flow_motion
from roboscape.annotate.flow.protocol import FLOW_ESTIMATORS
from roboscape.annotate.pipeline import Annotate, run
from roboscape.annotate.pipeline_failures import read_failures
from roboscape.annotate.pipeline_stage import Scale
from roboscape.annotate.segments.protocol import read_segments
from roboscape.annotate.tracks import protocol as tracks
from roboscape.core.files import read_json
from roboscape.dataset.annotations import (
    annotated_episodes,
    annotations_folder,
    annotators,
    read_depth,
    read_tracks,
    write_tracks,
)
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import (
    ActionConvention,
    CameraSpec,
    DatasetSpec,
    Episode,
    Tracks,
)
from roboscape.dataset.writer import DatasetWriter

ROWS, SIZE = 6, 64
SPEC = DatasetSpec(
    fps=20.0,
    robot_type="toy",
    cameras=(CameraSpec(name="front", height=SIZE, width=SIZE, has_depth=True),),
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
    """A texture that slides a pixel a row, and its true tracks."""
    noise = np.random.default_rng(seed).uniform(0, 255, (SIZE, SIZE + ROWS)).astype(np.float32)
    picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    grey = np.stack([picture[:, ROWS - row : ROWS - row + SIZE] for row in range(ROWS)])
    start_px = tracks.grid_points(SIZE, SIZE, side=5)
    xy_px = start_px + np.arange(ROWS)[:, None, None] * np.array([1.0, 0.0])
    return Episode(
        frames={"front": np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)},
        depth_m={"front": np.full((ROWS, SIZE, SIZE), 1.5, np.float32)},
        actions=np.zeros((ROWS, 1), np.float32),
        state=np.zeros((ROWS, 1), np.float32),
        reward=np.zeros(ROWS, np.float32),
        task="slide",
        success=True,
        seed=seed,
        behaviour="expert",
        tracks={
            "front": Tracks(xy_px=xy_px.astype(np.float32), visible=np.ones(xy_px.shape[:2], bool))
        },
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("dataset") / "sliding"
    with DatasetWriter(root, SPEC) as writer:
        for seed in range(3):
            writer.add(sliding_episode(seed))
    return root


class Brightness:
    """Depth that grows with brightness: 1 to 2 m."""

    name, version = "brightness", "1"

    def __init__(self) -> None:
        self.settings = {"near_m": 1.0}

    def annotate(self, frames):
        return 1 + frames.mean(axis=-1).astype(np.float32) / 255


def test_tracks_are_written_with_their_provenance(recorded, tmp_path):
    assert run(Annotate(dataset=recorded, output=tmp_path)) is None
    (made_by,) = annotators(tmp_path)
    assert (made_by.kind, made_by.name) == ("tracks", "lucas_kanade")
    assert made_by.settings == tracks.LucasKanade().settings
    expected = tracks.LucasKanade().annotate(LeRobotDataset(recorded).frames(1, "front"))
    found = read_tracks(tmp_path, annotator="lucas_kanade", camera="front", episode=1)
    np.testing.assert_array_equal(found.xy_px, expected.xy_px)
    np.testing.assert_array_equal(found.visible, expected.visible)


def test_a_rerun_makes_only_what_is_missing(recorded, tmp_path):
    run(Annotate(dataset=recorded, output=tmp_path))
    folder = tmp_path / "tracks_lucas_kanade" / "front"
    (folder / "episode_000001.npz").unlink()
    marked = Tracks(xy_px=np.zeros((ROWS, 1, 2), np.float32), visible=np.ones((ROWS, 1), bool))
    write_tracks(tmp_path, marked, annotator="lucas_kanade", camera="front", episode=2)
    run(Annotate(dataset=recorded, output=tmp_path))
    assert (folder / "episode_000001.npz").exists()
    kept = read_tracks(tmp_path, annotator="lucas_kanade", camera="front", episode=2)
    assert kept.xy_px.shape == (ROWS, 1, 2)


def test_other_settings_are_refused(recorded, tmp_path, monkeypatch):
    run(Annotate(dataset=recorded, output=tmp_path))
    coarse = replace(tracks.LucasKanade(), points_per_side=3)
    monkeypatch.setitem(tracks.TRACK_ANNOTATORS, "lucas_kanade", lambda: coarse)
    with pytest.raises(ValueError, match="settings"):
        run(Annotate(dataset=recorded, output=tmp_path))


def test_estimated_depth_is_written_in_the_datasets_range(recorded, tmp_path, monkeypatch):
    monkeypatch.setitem(depth.DEPTH_ANNOTATORS, "brightness", Brightness)
    run(Annotate(dataset=recorded, output=tmp_path, tracks="none", depth="brightness"))
    frames = LeRobotDataset(recorded).frames(2, "front")
    found = read_depth(tmp_path, annotator="brightness", camera="front", episode=2)
    np.testing.assert_allclose(found, Brightness().annotate(frames), rtol=2e-3)


def test_motion_is_measured_by_flow(recorded, tmp_path):
    run(Annotate(dataset=recorded, output=tmp_path, tracks="none", motion="dis"))
    found = read_flow_motion(tmp_path, annotator="dis", camera="front", episode=1)
    frames = LeRobotDataset(recorded).frames(1, "front")
    expected = measure_flow(frames, FLOW_ESTIMATORS["dis"]())
    for name, values in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name), values, atol=1e-4)
    # The whole picture slides a pixel a row: that is the camera.
    np.testing.assert_allclose(found.camera_px[1:], 1, atol=0.1)


def test_comparison_measures_against_the_truth(recorded, tmp_path):
    accuracy = run(Annotate(dataset=recorded, output=tmp_path, compare=True, survival_rows=(4,)))
    assert accuracy is not None
    assert accuracy["moving"].points == 75 and accuracy["static"].points == 0
    assert accuracy["moving"].median_px < 0.3 and accuracy["moving"].survival[4] > 0.8
    kept = read_json(tmp_path / "tracks_lucas_kanade" / "accuracy.json")
    assert kept["episodes"] == 3 and kept["accuracy"]["moving"]["points"] == 75


def test_what_the_recording_brings_is_checked_not_copied(recorded):
    run(Annotate(dataset=recorded, tracks="simulator", depth="simulator"))
    assert [one.name for one in annotators(annotations_folder(recorded))] == ["simulator"]


def test_a_recording_that_brings_nothing_is_told_what_to_do(tmp_path):
    bare = replace(SPEC, cameras=(CameraSpec(name="front", height=SIZE, width=SIZE),))
    episode = replace(sliding_episode(0), depth_m={}, tracks={})
    with DatasetWriter(tmp_path / "d", bare) as writer:
        writer.add(episode)
    with pytest.raises(ValueError, match=r"recorded no depth for front; .*--depth none"):
        run(Annotate(dataset=tmp_path / "d"))
    with pytest.raises(ValueError, match=r"no true tracks of 1 of its 1 .*lucas_kanade"):
        run(Annotate(dataset=tmp_path / "d", depth="none", tracks="simulator"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tracks": "cotracker"}, "nothing called 'cotracker' estimates tracks"),
        ({"depth": "guess"}, "nothing called 'guess' estimates depth"),
        ({"cameras": ("back",)}, "has no camera back; it has front"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(recorded, tmp_path, wrong, said):
    with pytest.raises(ValueError, match=said):
        run(Annotate(dataset=recorded, output=tmp_path, **wrong))


class Clumsy:
    """Follows points, but stumbles over one episode, recognised by its frames."""

    name, version = "clumsy", "1"

    def __init__(self) -> None:
        self.settings = {}
        self.calls = 0

    def annotate(self, frames):
        self.calls += 1
        if self.calls <= 2:
            raise RuntimeError("stumbled")
        return tracks.LucasKanade().annotate(frames)


def test_a_failing_episode_costs_only_itself_and_is_tried_again(recorded, tmp_path, monkeypatch):
    monkeypatch.setitem(tracks.TRACK_ANNOTATORS, "clumsy", Clumsy)
    asked = Annotate(
        dataset=recorded, output=tmp_path, depth="none", tracks="clumsy", scale=Scale(attempts=1)
    )
    run(replace(asked, scale=Scale(attempts=2)))
    episodes = annotated_episodes(tmp_path, kind="tracks", annotator="clumsy", camera="front")
    assert episodes == {1, 2}
    failed = read_failures(tmp_path, kind="tracks", annotator="clumsy", camera="front")
    assert failed == {0: "RuntimeError: stumbled"}
    monkeypatch.setattr(
        Clumsy, "annotate", lambda self, frames: tracks.LucasKanade().annotate(frames)
    )
    run(asked)
    assert read_failures(tmp_path, kind="tracks", annotator="clumsy", camera="front") == {}
    assert len((tmp_path / "tracks_clumsy" / "failures.jsonl").read_text().splitlines()) == 1


def test_an_episode_with_a_torn_file_costs_only_itself(tmp_path):
    root = tmp_path / "torn"
    with DatasetWriter(root, SPEC, episodes_per_file=1) as writer:
        for seed in range(3):
            writer.add(sliding_episode(seed))
    video = sorted(root.glob("videos/observation.images.front/**/*.mp4"))[1]
    video.write_bytes(video.read_bytes()[:200])
    run(Annotate(dataset=root, depth="none"))
    where = annotations_folder(root)
    done = annotated_episodes(where, kind="tracks", annotator="lucas_kanade", camera="front")
    assert done == {0, 2}
    failed = read_failures(where, kind="tracks", annotator="lucas_kanade", camera="front")
    assert list(failed) == [1] and video.name in failed[1]


def test_a_stage_that_never_works_stops_with_the_reason(recorded, tmp_path, monkeypatch):
    class Broken(Clumsy):
        def annotate(self, frames):
            raise RuntimeError("no such device")

    monkeypatch.setitem(tracks.TRACK_ANNOTATORS, "clumsy", Broken)
    with pytest.raises(ValueError, match=r"none of the first 3 .*no such device"):
        run(Annotate(dataset=recorded, output=tmp_path, depth="none", tracks="clumsy"))


def test_a_full_disk_ends_the_run(recorded, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(ValueError, match="is full"):
        run(Annotate(dataset=recorded, output=tmp_path, depth="none"))
    assert not (tmp_path / "tracks_lucas_kanade" / "failures.jsonl").exists()


def test_settings_reach_the_annotator(recorded, tmp_path):
    settings = '{"points_per_side": 3}'
    run(Annotate(dataset=recorded, output=tmp_path, depth="none", tracks_settings=settings))
    found = read_tracks(tmp_path, annotator="lucas_kanade", camera="front", episode=0)
    assert found.xy_px.shape == (ROWS, 9, 2)


def test_segments_are_annotated_without_looking_at_a_frame(recorded, tmp_path):
    run(
        Annotate(
            dataset=recorded, output=tmp_path, depth="none", tracks="none", segments="kinematic"
        )
    )
    (segment,) = read_segments(tmp_path, annotator="kinematic", camera="front", episode=1)
    assert (segment.first, segment.end, segment.skill) == (0, ROWS, "move with the gripper open")
