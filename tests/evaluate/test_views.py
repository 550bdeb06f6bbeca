"""Several cameras: every one is measured by itself, and whether they show one scene."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from roboscape.core.video import iterate_video
from roboscape.dataset.cameras import CameraPose, camera_pose
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import CameraGeometry
from roboscape.dataset.writer import DatasetWriter
from roboscape.evaluate.clips import choose_clips
from roboscape.evaluate.evaluate import EvaluationResult, EvaluationSettings, evaluate
from roboscape.evaluate.headline import headline_rows
from roboscape.evaluate.panels import make_columns
from roboscape.evaluate.protocol import PredictorSpec
from roboscape.evaluate.report import write_report
from roboscape.evaluate.results import Results
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.evaluate.views import DepthView, agreement
from roboscape.rollout.videos import Videos
from roboscape.world_model.model import WorldModel
from tests.conftest import SIDE, SPEC, STRIDE, make_episode

HORIZON = 3
SETTINGS = EvaluationSettings(horizon=HORIZON, batch_size=2, examples=1, tasks="off")
CAMERAS = ("front", "side")
RANGE = {"nearest_m": 0.25, "farthest_m": 4.0}


def looking_down(x_m: float, height_m: float) -> CameraPose:
    """A camera above a floor at height 0, x right and y up in its image."""
    return CameraPose(
        position_m=np.array([x_m, 0.0, height_m]),
        camera_to_world=np.eye(3),
        focal_px=32.0,
        height=SIDE,
        width=SIDE,
    )


def floor(pose: CameraPose, *, error_m: float = 0.0) -> DepthView:
    depth_m = np.full((SIDE, SIDE), pose.position_m[2] + error_m, np.float32)
    return DepthView(depth_m=depth_m, pose=pose)


def test_two_views_of_one_floor_agree_in_all_that_both_see():
    low, high = floor(looking_down(0.0, 1.0)), floor(looking_down(0.4, 2.0))
    for one, other in ((low, high), (high, low)):
        found = agreement(one, other, **RANGE)
        assert found.share == 1.0
        assert found.median_m < 1e-6


@pytest.mark.parametrize("error_m", [0.05, -0.05])
def test_a_wrong_depth_is_seen_from_one_side_or_the_other(error_m):
    wrong, right = floor(looking_down(0.0, 1.0), error_m=error_m), floor(looking_down(0.4, 2.0))
    into, back = agreement(wrong, right, **RANGE), agreement(right, wrong, **RANGE)
    # Too near: the other view looks through it. Too far: it lies behind what the other view shows.
    contradicted, hidden = (into, back) if error_m < 0 else (back, into)
    assert contradicted.share == 0.0
    assert contradicted.median_m == pytest.approx(0.05, abs=1e-3)
    assert np.isnan(hidden.share)


def test_views_that_do_not_meet_and_points_beyond_the_stored_range_have_no_score():
    here = floor(looking_down(0.0, 1.0))
    assert np.isnan(agreement(here, floor(looking_down(9.0, 1.0)), **RANGE).share)
    assert np.isnan(agreement(here, here, nearest_m=0.25, farthest_m=1.0).share)


def test_a_steep_plane_agrees_too_because_inverse_depth_is_interpolated():
    tilt = np.deg2rad(60)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    # The lower half of the image, below the horizon.
    oblique = replace(looking_down(0.0, 1.0), camera_to_world=turn, focal_px=60.0)
    y_px, x_px = np.mgrid[:SIDE, :SIDE].astype(float)
    rays = np.stack([(x_px + 0.5 - SIDE / 2), -(y_px + 0.5 - SIDE / 2), np.full_like(x_px, -60)])
    down = -np.einsum("c,chw->hw", turn[2], rays / 60)
    depth_m = np.where(down > 0.1, 1 / np.maximum(down, 0.1), 100).astype(np.float32)
    above = floor(looking_down(0.0, 3.0))
    found = agreement(above, DepthView(depth_m=depth_m, pose=oblique), **RANGE)
    assert found.share == 1.0
    assert found.median_m < 1e-5


@pytest.fixture(scope="module")
def two_cameras(tmp_path_factory) -> LeRobotDataset:
    """Three episodes; the second camera stands where the first one does, and shows its images
    mirrored and everything at 1.2 times the depth."""
    (front,) = SPEC.cameras
    geometry = CameraGeometry(
        mount="world",
        position_m=(0.0, 0.0, 1.0),
        quaternion_xyzw=(0.0, 0.0, 0.0, 1.0),
        focal_px=60.0,
    )
    cameras = tuple(replace(front, name=name, geometry=geometry) for name in CAMERAS)
    root = tmp_path_factory.mktemp("two_cameras")
    with DatasetWriter(root, replace(SPEC, cameras=cameras)) as writer:
        for number in range(3):
            one = make_episode(900_000 + number, rises=number % 2 == 1)
            writer.add(
                replace(
                    one,
                    frames={"front": one.frames["front"], "side": one.frames["front"][:, :, ::-1]},
                    depth_m={"front": one.depth_m["front"], "side": 1.2 * one.depth_m["front"]},
                )
            )
    return LeRobotDataset(root)


@dataclass(frozen=True)
class Dimmer:
    """Shows the given frame darker and nearer, every view by a factor of its own."""

    views: tuple[str, ...]
    factors: tuple[float, ...]

    @property
    def spec(self) -> PredictorSpec:
        return PredictorSpec(name="dimmer", stride=STRIDE, views=self.views, predicts_depth=True)

    def predict(self, prompt, states, actions, *, seed=0):
        frames = 1 + actions.shape[1] // STRIDE
        shown = []
        for view, factor in zip(prompt.views(len(self.factors)), self.factors, strict=True):
            rgb = (view.rgb[:, -1:] * factor).astype(np.uint8)
            depth_m = (view.depth_m[:, -1:] * factor).astype(np.float32)
            shown.append((rgb.repeat(frames, axis=1), depth_m.repeat(frames, axis=1)))
        rgb, depth_m = (np.concatenate(parts, axis=2) for parts in zip(*shown, strict=True))
        return Videos(rgb=rgb, depth_m=depth_m)


@pytest.fixture(scope="module")
def found(two_cameras) -> EvaluationResult:
    return evaluate(Dimmer(CAMERAS, (0.9, 0.6)), two_cameras, settings=SETTINGS)


@pytest.mark.parametrize(("camera", "factor"), [("front", 0.9), ("side", 0.6)])
def test_every_camera_scores_what_it_scores_alone(found, two_cameras, camera, factor):
    settings = replace(SETTINGS, cameras=(camera,))
    alone = evaluate(Dimmer((), (factor,)), two_cameras, settings=settings).results
    compared = 0
    for row in alone.rows:
        assert not row.camera
        same = found.results.row(row.name.key, reference=row.reference, camera=camera)
        for subject in ("model", "static"):
            expected, measured = row.of(subject), same.of(subject)
            assert (expected is None) == (measured is None), row.name.key
            if expected is not None:
                assert measured.estimate.mean == pytest.approx(expected.estimate.mean), row.name
                assert measured.estimate.low == pytest.approx(expected.estimate.low), row.name
                compared += 1
    assert compared > 20


def test_the_figure_of_a_frame_is_the_mean_over_its_cameras(found):
    for key in ("psnr", "ssim", "abs_rel@metric", "delta_psnr@shuffled"):
        front, side = (found.results.row(key, camera=name).model for name in CAMERAS)
        both = found.results.row(key).model
        mean = (front.estimate.mean + side.estimate.mean) / 2
        assert both.estimate.mean == pytest.approx(mean), key
        assert both.curve == pytest.approx((np.array(front.curve) + np.array(side.curve)) / 2)
    # One scale fits each view, and none would fit both.
    assert found.results.row("abs_rel@aether_scale").model.estimate.mean < 0.02
    psnr = found.results.row("psnr")
    records = [clip.psnr_db for clip in found.results.clips]
    assert np.mean(records) == pytest.approx(psnr.model.estimate.mean)


def test_several_views_are_scored_against_each_other(found):
    row = found.results.row("view_agreement")
    # In the recording the second view shows all at 1.2 times the depth: nothing agrees.
    assert row.ceiling.estimate.mean < 0.1
    there = found.results.row("view_agreement", camera="front → side")
    back = found.results.row("view_agreement", camera="side → front")
    # The model shows the second view nearer than the first, .72 against .9 of the depth.
    assert there.ceiling.estimate.mean < 0.1
    assert back.model.estimate.mean < 0.1
    assert any("views agree" in row.title for row in headline_rows(found.results))


def test_cameras_of_unknown_place_leave_consistency_empty_with_its_reason(two_cameras):
    bare = LeRobotDataset(two_cameras.root)
    front, side = bare.spec.cameras
    bare.spec = replace(bare.spec, cameras=(front, replace(side, geometry=None)))
    results = evaluate(Dimmer(CAMERAS, (1.0, 1.0)), bare, settings=SETTINGS).results
    row = results.row("view_agreement")
    assert row.model is None
    assert "does not say where side is" in row.name.missing


def test_the_cube_test_watches_a_camera_that_stands_still(two_cameras):
    moving = LeRobotDataset(two_cameras.root)
    front, side = moving.spec.cameras
    on_hand = replace(front, geometry=replace(front.geometry, mount="hand"))
    moving.spec = replace(moving.spec, cameras=(on_hand, side))
    spec = PredictorSpec(name="any", stride=STRIDE, views=CAMERAS)
    assert choose_clips(spec, moving, horizon=2).still_view == 1
    assert choose_clips(spec, two_cameras, horizon=2).still_view == 0
    alone = replace(spec, views=("front",))
    assert choose_clips(alone, moving, horizon=2).still_view is None


def test_one_camera_has_no_rows_of_single_cameras_and_none_of_consistency(two_cameras):
    settings = replace(SETTINGS, cameras=("side",))
    results = evaluate(Dimmer((), (0.9,)), two_cameras, settings=settings).results
    assert {row.camera for row in results.rows} == {""}
    assert not any(row.name.key.startswith("view_") for row in results.rows)
    assert not any("views agree" in row.title for row in headline_rows(results))


@pytest.fixture(scope="module")
def two_view_bundle(tiny_bundle):
    torch.manual_seed(1)
    model = WorldModel(replace(tiny_bundle.world_model.config, views=CAMERAS)).eval()
    for branch in model.branches:
        torch.nn.init.normal_(branch.head.weight)
    return replace(tiny_bundle, world_model=model)


def test_a_bundle_of_two_views_is_measured_end_to_end(two_view_bundle, two_cameras, tmp_path):
    settings = replace(SETTINGS, tasks="auto")
    found = evaluate(BundlePredictor(two_view_bundle), two_cameras, settings=settings)
    results = found.results
    results.save(tmp_path)
    assert Results.load(tmp_path) == results
    assert results.setting.camera == "front, side"
    for modality in ("rgb", "depth"):
        key = f"token_accuracy_{modality}"
        parts = [
            results.row(key, reference="codes", camera=name).static_decoded for name in CAMERAS
        ]
        both = results.row(key, reference="codes").static_decoded
        assert both.estimate.mean == pytest.approx(np.mean([one.estimate.mean for one in parts]))
    agreements = results.row("view_agreement"), results.row("view_agreement", reference="decoded")
    # The recording itself, and the recording through the tokenizer.
    assert agreements[0].ceiling != agreements[1].ceiling
    assert agreements[0].static is not None
    # The cube rises in the first camera, which stands still.
    assert results.task("lift_cube").detector_agreement == 1.0
    page = write_report(results, found.examples, tmp_path).read_text()
    assert "front → side" in page
    assert "Cameras, from top to bottom" in page
    film = sorted((tmp_path / "videos").glob("*.mp4"))[0]
    # Both views, below each other, twice as large.
    assert next(iterate_video(film)).shape[0] == 2 * 2 * SIDE


def test_a_withheld_view_does_not_come_back_through_the_decoder(two_view_bundle, two_cameras):
    clips = choose_clips(BundlePredictor(two_view_bundle).spec, two_cameras, horizon=2)
    truth = clips.videos([0])
    prompt = truth.map(lambda array: array[:, :1])
    other = prompt.map(lambda array: np.concatenate(np.split(array, 2, axis=2)[:1] * 2, axis=2))
    subject = BundlePredictor(two_view_bundle, missing=("side",))
    actions = clips.actions[0][None]
    one, same = (subject.predict(p, clips.states([0]), actions) for p in (prompt, other))
    assert not np.array_equal(prompt.rgb, other.rgb)
    np.testing.assert_array_equal(one.rgb, same.rgb)
    np.testing.assert_array_equal(one.depth_m, same.depth_m)
    with pytest.raises(ValueError, match="some can be missing, not all; got front, side"):
        BundlePredictor(two_view_bundle, missing=CAMERAS)


def test_depth_is_coloured_over_each_views_own_range(two_cameras):
    rgb = np.zeros((1, 1, 8, 4, 3), np.uint8)
    near = np.linspace(0.1, 0.2, 16, dtype=np.float32).reshape(4, 4)
    depth_m = np.concatenate([near, near + 10])[None, None]
    videos = Videos(rgb=rgb, depth_m=depth_m)
    columns = {c.caption: c.frames for c in make_columns(videos, videos, views=2)}
    shown = columns["depth, imagined"][0]
    spread = [np.ptp(part.astype(int)) for part in np.split(shown, 2)]
    assert min(spread) > 100


@pytest.fixture(scope="module")
def lift_frames():
    """Both cameras of a true Lift scene, with the poses that the recorded state gives."""
    from roboscape.collect.lift import CollectLift, lift_spec
    from roboscape.simulators.mujoco import MujocoSimulator
    from roboscape.simulators.protocol import SeedStart

    names = ("agentview", "wrist")
    config = CollectLift(output=Path("unused"), episodes=1, cameras=names, image_size=SIDE)
    spec = lift_spec(config)
    simulator = MujocoSimulator("Lift", cameras=names, image_size=SIDE, supersampling=1)
    frames = []
    for seed in (1, 4):
        seen = simulator.reset([SeedStart(seed=seed)])
        frames.append(
            {
                name: DepthView(
                    depth_m=seen.depth_m[name][0], pose=camera_pose(spec, name, seen.state[0])
                )
                for name in names
            }
        )
    simulator.close()
    return frames, {"nearest_m": spec.depth_min_m, "farthest_m": spec.depth_max_m}


def test_true_views_of_lift_agree_and_shifted_ones_do_not(lift_frames):
    frames, limits = lift_frames
    for views in frames:
        scene, wrist = views["agentview"], views["wrist"]
        assert agreement(scene, wrist, **limits).share > 0.95
        assert agreement(wrist, scene, **limits).share > 0.95
        shifted = replace(scene, depth_m=scene.depth_m + np.float32(0.03))
        assert agreement(wrist, shifted, **limits).share < 0.1
    # A still picture of the hand's camera, seen from where the hand is later.
    still = replace(frames[0]["wrist"], pose=frames[1]["wrist"].pose)
    assert agreement(still, frames[1]["agentview"], **limits).share < 0.8
