"""What `studies/long_horizon/run.py` scores, and that it runs from a dataset to a page."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from roboscape.evaluate.clips import choose_clips
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.rollout.sampling import Sampling
from roboscape.rollout.videos import Videos
from studies.long_horizon import rollouts, run, scores
from studies.long_horizon.pictures import write_chart

SIDE, CUBE = 64, (150, 50, 58)
PAGE = "".join(
    f"<!-- measured: {name} -->\n<!-- /measured: {name} -->\n"
    for name in ("setting", "curve", "kept", "variants")
)


def scene(*, cube_at=(30, 30), rgb=(200, 200, 200), frames=4):
    """A plain wall with a red cube that stands still."""
    video = np.full((1, frames, SIDE, SIDE, 3), rgb, np.uint8)
    if cube_at is not None:
        row, column = cube_at
        video[:, :, row : row + 8, column : column + 8] = CUBE
    return Videos(rgb=video, depth_m=np.ones((1, frames, SIDE, SIDE), np.float32))


def score(truth, shown):
    return scores.score(truth, shown, nearest_m=0.25, farthest_m=4.0)


def test_the_truth_is_right():
    found = score(scene(), scene())
    assert set(found) == set(scores.MEASURES)
    best = {"psnr": 100, "ssim": 1, "cube_seen": 1}
    for name, values in found.items():
        assert values.shape == (1, 3)
        np.testing.assert_allclose(values, best.get(name, 0), atol=1e-6)


def test_the_cube_is_followed():
    moved = score(scene(), scene(cube_at=(33, 34)))
    np.testing.assert_allclose(moved["cube_distance_px"], 5)
    lost = score(scene(), scene(cube_at=None))
    assert (lost["cube_seen"] == 0).all() and np.isnan(lost["cube_distance_px"]).all()
    hidden = score(scene(cube_at=None), scene())
    assert np.isnan(hidden["cube_seen"]).all() and np.isnan(hidden["cube_distance_px"]).all()


def test_a_cast_shifts_all_colours_and_an_arm_in_the_wrong_place_does_not():
    truth = scene(cube_at=None)
    tinted = score(truth, scene(cube_at=None, rgb=(206, 200, 200)))
    np.testing.assert_allclose(tinted["cast"], 2)
    np.testing.assert_allclose(tinted["background"], 2)
    covered = scene(cube_at=None)
    covered.rgb[:, 1:, : SIDE // 4] = 0
    found = score(truth, covered)
    np.testing.assert_allclose(found["cast"], 0)
    np.testing.assert_allclose(found["background"], 50)


def test_what_moves_in_the_recording_is_no_background():
    truth, shown = scene(cube_at=None), scene(cube_at=None)
    truth.rgb[:, 2, : SIDE // 2] = 100
    shown.rgb[:, 1:, : SIDE // 2] = 0
    np.testing.assert_allclose(score(truth, shown)["background"], 0)


def test_a_frozen_picture_has_no_motion():
    truth = scene()
    truth.rgb[:, 2:] += 3
    np.testing.assert_allclose(score(truth, truth)["motion"], [[0, 3, 0]])
    assert not score(truth, truth.frozen())["motion"].any()


def test_frames_are_averaged_without_those_that_have_no_value():
    values = np.arange(1.0, 21)[None]
    assert scores.at_frame(values, 16)[0] == np.mean(range(9, 17))
    assert scores.up_to_frame(values, 16)[0] == np.mean(range(1, 17))
    assert scores.at_frame(values, 2)[0] == 1.5
    values[0, 15] = np.nan
    assert scores.at_frame(values, 16)[0] == np.mean(range(9, 16))
    assert np.isnan(scores.known_mean(np.full((1, 3), np.nan))).all()


def test_margins_are_compared_as_means_over_clips():
    kept = scores.margin_kept(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 6.0]))
    assert kept.share == pytest.approx(0.75)
    assert kept.low < 0.75 < kept.high <= 1
    same = scores.margin_kept(np.ones(3), np.ones(3))
    assert (same.share, same.low, same.high) == (1, 1, 1)


@pytest.fixture(scope="module")
def clips(tiny_bundle, lift_dataset):
    return choose_clips(BundlePredictor(tiny_bundle).spec, lift_dataset, horizon=6)


@pytest.fixture(scope="module")
def batch(tiny_bundle, clips):
    return rollouts.Batch(tiny_bundle, clips, range(2))


def imagined(batch, **changes):
    variant = replace(rollouts.Variant(), **changes)
    return rollouts.imagine_variant(batch, variant=variant, seed=0)


def test_every_way_to_imagine_begins_at_the_first_frame_and_ends_at_the_horizon(batch):
    for variant in rollouts.VARIANTS.values():
        codes = rollouts.imagine_variant(batch, variant=variant, seed=0)
        assert codes.rgb.shape == batch.codes.rgb.shape
        assert codes.depth.shape == batch.codes.depth.shape
        torch.testing.assert_close(codes.rgb[:, 0], batch.codes.rgb[:, 0])


def test_beginning_anew_changes_nothing_before_the_first_new_start(batch):
    once, anew = imagined(batch), imagined(batch, frames_a_start=3)
    torch.testing.assert_close(once.rgb[:, :4], anew.rgb[:, :4])
    assert not torch.equal(once.rgb[:, 4:], anew.rgb[:, 4:])


def test_drawn_tokens_follow_the_seed(batch):
    drawn = Sampling(temperature=1.0)
    torch.testing.assert_close(
        imagined(batch, sampling=drawn).rgb, imagined(batch, sampling=drawn).rgb
    )
    assert not torch.equal(imagined(batch, sampling=drawn).rgb, imagined(batch).rgb)


def test_controls_from_the_start_are_those_of_a_rollout(batch):
    clips, controls = batch.clips, batch.bundle.controls
    whole = controls.encode(np.stack(clips.actions[:2]), clips.states(range(2))[:, 0])
    again = rollouts.controls_from(batch, start=0, frames=6)
    torch.testing.assert_close(again, whole)
    later = rollouts.controls_from(batch, start=4, frames=2)
    assert later.shape == (2, 3, whole.shape[2]) and not later[:, 0].any()
    stacked = clips.stride * len(controls.convention.names)
    torch.testing.assert_close(later[:, 1:, :stacked], whole[:, 5:, :stacked])


def test_from_a_dataset_and_two_checkpoints_to_a_page(
    tiny_bundle, lift_dataset, tmp_path, monkeypatch
):
    folder, page = tmp_path / "bundle", tmp_path / "page.md"
    tiny_bundle.save_pretrained(folder)
    page.write_text(PAGE)
    monkeypatch.setattr("studies.long_horizon.page.FRAMES", (2, 4, 6))
    monkeypatch.setattr("studies.long_horizon.page.EARLY", 2)
    config = run.LongHorizon(
        dataset=lift_dataset.root,
        checkpoints=(f"one={folder}", f"other={folder}"),
        variants=("greedy", "begun anew, recorded arm"),
        horizon=6,
        batch_size=2,
        output=tmp_path / "found.json",
        page=page,
        chart=tmp_path / "chart.svg",
        frames=tmp_path / "frames.jpg",
    )
    run.main(config)
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["curves"]["other"]["begun anew, recorded arm"]["psnr"]) == 6
    text = page.read_text()
    assert (
        "| still first frame |" in text
        and "other, begun anew, recorded arm" in text
        and "kept at 6" in text
    )
    assert (tmp_path / "frames.jpg").stat().st_size > 1000

    # Nothing is imagined a second time, unless other things are asked for.
    monkeypatch.delattr("studies.long_horizon.rollouts.imagine_variant")
    page.write_text(PAGE)
    run.main(config)
    assert page.read_text() == text
    with pytest.raises(ValueError, match=r"other settings \(.*seed: was"):
        run.main(replace(config, seed=1))
    # Another model of the arm, say: not the same checkpoint any more.
    controls = folder / "controls.json"
    controls.write_text(controls.read_text() + "\n")
    with pytest.raises(ValueError, match=r"other settings \(.*sha256: was"):
        run.main(config)


def test_a_chart_has_a_line_for_every_subject_and_measure(tmp_path):
    clip = score(scene(frames=20), scene(cube_at=(31, 30), frames=20))
    write_chart(tmp_path / "chart.svg", {"mine": clip, scores.FLOOR: clip, "unknown": clip})
    drawing = ElementTree.parse(tmp_path / "chart.svg").getroot()
    lines = [one for one in drawing.iter() if one.tag.endswith("polyline")]
    assert len(lines) == 2 * 4
    assert sum("model" in one.attrib["class"] for one in lines) == 4
