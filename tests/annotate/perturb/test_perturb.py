from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roboscape.annotate.perturb.depth import DepthErrors, abs_rel, perturb_depth
from roboscape.annotate.perturb.perturb import MEASURED, Perturb, run
from roboscape.annotate.perturb.tracks import TrackErrors, perturb_tracks, swap_targets
from roboscape.core.files import read_json
from roboscape.dataset.annotations import (
    annotations_folder,
    read_depth,
    read_provenance,
    read_tracks,
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

ROWS, SIZE, POINTS = 60, 48, 100
PARTS = ("scale", "smooth", "bleeding", "flicker", "noise")
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
    depth_min_m=0.3,
    depth_max_m=3.0,
)


def true_depth() -> np.ndarray:
    """A slope with a near square that moves a pixel every other row."""
    y, x = np.mgrid[:SIZE, :SIZE]
    depth = np.repeat((1 + 0.02 * y + 0.01 * x)[None], ROWS, axis=0).astype(np.float32)
    for row in range(ROWS):
        depth[row, 10:30, row // 2 : row // 2 + 16] = 0.5
    return depth


def true_tracks() -> Tracks:
    start = np.random.default_rng(0).uniform(0, SIZE, (POINTS, 2))
    time = np.arange(ROWS)[:, None, None]
    xy_px = start + time * np.random.default_rng(1).uniform(-0.2, 0.2, (POINTS, 2))
    return Tracks(xy_px=xy_px.astype(np.float32), visible=np.ones((ROWS, POINTS), bool))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("dataset") / "toy"
    with DatasetWriter(root, SPEC) as writer:
        for seed in range(2):
            writer.add(
                Episode(
                    frames={"front": np.zeros((ROWS, SIZE, SIZE, 3), np.uint8)},
                    depth_m={"front": true_depth()},
                    actions=np.zeros((ROWS, 1), np.float32),
                    state=np.zeros((ROWS, 1), np.float32),
                    reward=np.zeros(ROWS, np.float32),
                    task="toy",
                    success=True,
                    seed=seed,
                    behaviour="expert",
                    tracks={"front": true_tracks()},
                )
            )
    return root


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("target", [0.01, 0.05])
def test_each_depth_error_is_as_large_as_asked(part, target):
    truth = true_depth()
    wrong = perturb_depth(truth, DepthErrors(**{part: target}), place=(0, 0))
    assert abs_rel(wrong, truth) == pytest.approx(target, rel=0.01)
    assert wrong.dtype == np.float32 and (wrong > 0).all()


@pytest.mark.parametrize("part", ["smooth", "flicker", "noise"])
def test_large_errors_are_as_large_as_asked_too(part):
    truth = true_depth()
    wrong = perturb_depth(truth, DepthErrors(**{part: 0.4}), place=(0, 0))
    assert abs_rel(wrong, truth) == pytest.approx(0.4, rel=0.02) and (wrong > 0).all()


def test_depth_errors_have_the_form_that_their_names_say():
    truth = true_depth()

    def factor(**errors: float) -> np.ndarray:
        return perturb_depth(truth, DepthErrors(**errors), place=(3, 1)) / truth

    scale = factor(scale=0.1)
    assert np.ptp(scale) < 1e-5
    flicker = factor(flicker=0.1)
    assert np.ptp(flicker, axis=(1, 2)).max() < 1e-5 and flicker[:, 0, 0].std() > 0.05
    smooth = factor(smooth=0.1)
    assert np.abs(np.diff(smooth, axis=2)).mean() < 0.02
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.01
    noise = factor(noise=0.1)
    assert np.abs(np.diff(noise, axis=2)).mean() > 0.1
    bleeding = np.abs(factor(bleeding=0.05)[0] - 1)
    # Far from the square's edges (rows 10..30, columns 0..16) depth stays true.
    assert bleeding[40:].max() < 0.2 * bleeding.max()


def test_bleeding_has_an_end():
    with pytest.raises(ValueError, match=r"bleed to an AbsRel of .* at most"):
        perturb_depth(true_depth(), DepthErrors(bleeding=0.45), place=(0,))


def test_a_part_stays_the_same_when_another_is_added():
    truth = true_depth()
    noise = perturb_depth(truth, DepthErrors(noise=0.05), place=(0, 0))
    both = perturb_depth(truth, DepthErrors(noise=0.05, scale=0.1), place=(0, 0))
    ratio = both / noise
    assert np.ptp(ratio) < 1e-4 and abs(ratio.mean() - 1) == pytest.approx(0.1, rel=1e-3)
    other = perturb_depth(truth, DepthErrors(noise=0.05), place=(0, 1))
    assert np.corrcoef((noise / truth).ravel(), (other / truth).ravel())[0, 1] < 0.05


def test_each_track_error_is_as_large_as_asked():
    truth = true_tracks()

    def wrong(**errors: float) -> Tracks:
        return perturb_tracks(truth, TrackErrors(**errors), place=(0, 0))

    def distance(tracks: Tracks) -> np.ndarray:
        return np.linalg.norm(tracks.xy_px - truth.xy_px, axis=-1)

    jitter = distance(wrong(jitter_px=1.5))
    assert jitter[1:].mean() == pytest.approx(1.5, rel=1e-3)
    assert jitter[1:10].mean() == pytest.approx(jitter[-10:].mean(), rel=0.1)
    drift = distance(wrong(drift_px=4.0))
    assert drift[-1].mean() == pytest.approx(4, rel=1e-3) and drift[5].mean() < 2
    lost = wrong(lost=0.3)
    assert (~lost.visible[-1]).mean() == pytest.approx(0.3)
    assert (np.diff(lost.visible.astype(int), axis=0) <= 0).all()
    gone = ~lost.visible[-1]
    np.testing.assert_array_equal(lost.xy_px[:, ~gone], truth.xy_px[:, ~gone])
    assert (lost.xy_px[-1, gone] == lost.xy_px[-2, gone]).all(axis=-1).mean() > 0.9
    swapped = wrong(swaps=0.2)
    moved = distance(swapped)[-1] > 0
    assert moved.mean() == pytest.approx(0.2)
    for tracks in (wrong(jitter_px=1.0, drift_px=3.0, lost=0.2, swaps=0.2), swapped, lost):
        np.testing.assert_array_equal(tracks.xy_px[0], truth.xy_px[0])
        assert tracks.visible[0].all()


def test_a_swapped_point_follows_the_one_that_follows_it():
    target = swap_targets(POINTS, 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(target[target], np.arange(POINTS))
    assert (target != np.arange(POINTS)).mean() == pytest.approx(0.5)


def test_wrong_labels_lie_beside_the_dataset_and_measure_as_asked(recorded, tmp_path):
    config = Perturb(
        dataset=recorded,
        output=tmp_path,
        name="noisy",
        depth=DepthErrors(noise=0.05),
        tracks=TrackErrors(jitter_px=1.0, lost=0.25),
    )
    measured = run(config)
    assert measured["depth"]["abs_rel"] == pytest.approx(0.05, rel=0.02)
    assert measured["tracks"]["error_px"] == pytest.approx(1, rel=0.03)
    kept = read_json(tmp_path / "depth_noisy" / MEASURED)
    assert kept["asked"]["noise"] == 0.05 and kept["measured"] == measured["depth"]
    provenance = read_provenance(tmp_path, kind="tracks", annotator="noisy")
    assert provenance.settings == {
        "truth": "simulator",
        "seed": 0,
        "errors": {"swaps": 0.0, "drift_px": 0.0, "jitter_px": 1.0, "lost": 0.25},
    }
    assert read_depth(tmp_path, annotator="noisy", camera="front", episode=1).shape == (
        ROWS,
        SIZE,
        SIZE,
    )
    with pytest.raises(ValueError, match="made differently"):
        run(replace(config, seed=1))


@pytest.mark.parametrize("part", PARTS)
def test_storage_keeps_the_error(part, recorded, tmp_path):
    measured = run(Perturb(dataset=recorded, output=tmp_path, depth=DepthErrors(**{part: 0.05})))
    assert measured["depth"]["abs_rel"] == pytest.approx(0.05, rel=0.02)


def test_a_rerun_makes_only_what_is_missing_and_makes_it_the_same(recorded, tmp_path):
    config = Perturb(dataset=recorded, output=tmp_path, tracks=TrackErrors(drift_px=2.0))
    run(config)
    path = tmp_path / "tracks_perturbed" / "front" / "episode_000001.npz"
    first = read_tracks(tmp_path, annotator="perturbed", camera="front", episode=1)
    other = path.with_name("episode_000000.npz")
    before = other.stat().st_mtime_ns
    path.unlink()
    run(config)
    again = read_tracks(tmp_path, annotator="perturbed", camera="front", episode=1)
    np.testing.assert_array_equal(first.xy_px, again.xy_px)
    assert other.stat().st_mtime_ns == before


def test_truth_stays_what_it_was(recorded):
    path = annotations_folder(recorded) / "tracks_simulator" / "front" / "episode_000000.npz"
    before = path.read_bytes()
    run(Perturb(dataset=recorded, name="other", tracks=TrackErrors(lost=0.5)))
    assert path.read_bytes() == before
    assert LeRobotDataset(recorded).num_episodes == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "no error is asked for"),
        ({"name": "simulator", "depth": DepthErrors(noise=0.1)}, "other than 'simulator'"),
        ({"name": "../x", "depth": DepthErrors(noise=0.1)}, "letters, digits and underscores"),
    ],
)
def test_what_makes_no_sense_is_refused(recorded, wrong, said):
    with pytest.raises(ValueError, match=said):
        Perturb(dataset=recorded, **wrong)


def test_amounts_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"between 0 and 0.5 is expected of `noise`"):
        DepthErrors(noise=0.9)
    with pytest.raises(ValueError, match="a share from 0 to 1 for `lost`"):
        TrackErrors(lost=1.5)
    with pytest.raises(ValueError, match="pixels, 0 or more for `drift_px`"):
        TrackErrors(drift_px=-1.0)


def test_without_truth_there_is_nothing_to_make_wrong(tmp_path):
    bare = replace(SPEC, cameras=(CameraSpec(name="front", height=SIZE, width=SIZE),))
    episode = Episode(
        frames={"front": np.zeros((ROWS, SIZE, SIZE, 3), np.uint8)},
        depth_m={},
        actions=np.zeros((ROWS, 1), np.float32),
        state=np.zeros((ROWS, 1), np.float32),
        reward=np.zeros(ROWS, np.float32),
        task="toy",
        success=True,
        seed=0,
        behaviour="expert",
        tracks={},
    )
    with DatasetWriter(tmp_path / "d", bare) as writer:
        writer.add(episode)
    with pytest.raises(ValueError, match="no truth to make wrong"):
        run(Perturb(dataset=tmp_path / "d", depth=DepthErrors(noise=0.1)))
    with pytest.raises(ValueError, match="expected tracks by 'simulator'"):
        run(Perturb(dataset=tmp_path / "d", tracks=TrackErrors(lost=0.1)))
