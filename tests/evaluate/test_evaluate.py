import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from roboscape.controls.encoder import ControlEncoder
from roboscape.core.video import iterate_video
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.clips import choose_clips, choose_split, spread_starts
from roboscape.evaluate.evaluate import (
    Evaluate,
    EvaluationResult,
    EvaluationSettings,
    evaluate,
    headline,
    run,
)
from roboscape.evaluate.protocol import PredictorSpec
from roboscape.evaluate.report import write_report
from roboscape.evaluate.results import Results
from roboscape.evaluate.subjects import BundlePredictor

HORIZON = 6
SETTINGS = EvaluationSettings(horizon=HORIZON, batch_size=2, seeds=2, examples=1)


@pytest.fixture(scope="module")
def found(tiny_bundle, lift_dataset) -> EvaluationResult:
    return evaluate(BundlePredictor(tiny_bundle), lift_dataset, settings=SETTINGS)


def test_every_metric_has_the_model_floors_and_ceiling_or_a_reason(found):
    for row in found.results.rows:
        if row.name.missing:
            assert row.model is None
            assert "not computed" in row.name.missing
            continue
        assert row.model is not None, row.name.key
        # Only one clip's cube moves.
        clips = 1 if row.name.key == "psnr@moving" else 3
        assert row.model.estimate.num_clips == row.model.estimate.num_episodes == clips
        assert row.model.estimate.num_seeds == 2
        if row.reference == "raw" and not row.name.key.startswith("delta_psnr"):
            assert (row.static is None) == ("ivideogpt" in row.name.key), row.name.key
            assert row.static_decoded is not None, row.name.key
            assert row.ceiling is not None, row.name.key


def test_protocols_are_in_the_names(found):
    keys = {row.name.key for row in found.results.rows}
    assert {
        "psnr",
        "ssim",
        "lpips",
        "abs_rel@metric",
        "delta1@metric",
        "delta2@metric",
        "abs_rel@aether_scale",
        "abs_rel@aether_scale_shift",
        "delta_psnr@shuffled",
        "delta_psnr@genie_random",
        "spatial_iou@physics_iq",
        "mse@physics_iq",
        "token_accuracy_rgb",
        "token_accuracy_depth",
    } <= keys


def test_the_static_floor_falls_once_something_moves(found):
    # Nothing moves before row 6, imagined frame 3.
    row = found.results.row("psnr")
    assert row.static is not None
    curve = row.static.curve
    assert len(curve) == HORIZON
    assert curve[0] > curve[-1] + 5


def test_the_ceiling_against_decoded_truth_is_left_out_because_it_is_trivial(found):
    row = found.results.row("psnr", reference="decoded")
    assert row.ceiling is None
    assert row.static_decoded is not None


def test_curves_are_as_long_as_the_horizon_and_average_to_the_mean(found):
    row = found.results.row("psnr")
    assert row.model is not None
    assert len(row.model.curve) == HORIZON
    assert np.mean(row.model.curve) == pytest.approx(row.model.estimate.mean)
    genie = found.results.row("delta_psnr@genie_random")
    assert genie.model is not None
    assert genie.model.curve[3] == pytest.approx(genie.model.estimate.mean)


def test_actions_matter_to_the_untrained_model_so_other_actions_change_its_video(found):
    curve = found.results.row("delta_psnr@shuffled").model.curve
    assert any(value != 0 for value in curve)


def test_the_cube_rule_agrees_with_the_reward_on_true_video(found):
    cube = found.results.task("lift_cube")
    assert cube.detector_agreement == 1.0
    assert cube.undecided == 0
    truths = [clip.tasks["lift_cube"].truth for clip in found.results.clips]
    assert truths == [False, True, False]


def test_the_batch_size_does_not_change_the_numbers(tiny_bundle, lift_dataset):
    quick = EvaluationSettings(horizon=2, batch_size=1, examples=1)
    subject = BundlePredictor(tiny_bundle)
    one_by_one = evaluate(subject, lift_dataset, settings=quick)
    together = evaluate(subject, lift_dataset, settings=replace(quick, batch_size=3))
    for row, other in zip(one_by_one.results.rows, together.results.rows, strict=True):
        if row.model is not None and other.model is not None:
            mean = pytest.approx(row.model.estimate.mean, rel=1e-4, abs=1e-4)
            assert other.model.estimate.mean == mean, row.name.key


def test_results_survive_their_trip_through_json(found, tmp_path):
    found.results.save(tmp_path)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    json.loads(text)
    assert Results.load(tmp_path) == found.results


def test_an_unknown_row_is_named_with_the_known_ones(found):
    with pytest.raises(ValueError, match=r"no row `fvd`.*psnr \(raw\)"):
        found.results.row("fvd")


class References(HTMLParser):
    """Everything that a page would ask a browser to fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag, attrs):
        names = ("src", "href", "srcset", "poster", "data", "action")
        self.fetched += [value for name, value in attrs if name in names]


def test_the_report_is_one_file_that_asks_the_network_for_nothing(found, tmp_path):
    page = write_report(found.results, found.examples, tmp_path).read_text()
    references = References()
    references.feed(page)
    assert references.fetched
    assert all(value.startswith("data:") for value in references.fetched)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style
    assert "<script" not in page
    assert not re.search(r"\$[a-z_]+", page)


def test_the_report_shows_the_films_and_says_how_it_was_measured(found, tmp_path):
    page = write_report(found.results, found.examples, tmp_path).read_text()
    assert page.count("<video autoplay loop muted") == len(found.examples) >= 2
    assert "worst PSNR" in page
    assert "pip install torchvision" in page or found.results.row("lpips").model
    for fact in (found.results.setting.commit, found.results.setting.machine, "900000 to 900002"):
        assert fact in page
    films = sorted((tmp_path / "videos").glob("*.mp4"))
    assert len(films) == len(found.examples)
    frames = list(iterate_video(films[0]))
    assert len(frames) > HORIZON
    assert frames[0].shape[1] >= 5 * 128


def test_train_episodes_carry_a_warning_and_are_never_called_test(
    tiny_bundle, lift_train_dataset, tmp_path
):
    seen = evaluate(
        BundlePredictor(tiny_bundle),
        lift_train_dataset,
        settings=EvaluationSettings(horizon=1, examples=1),
    )
    assert seen.results.setting.split == "train"
    page = write_report(seen.results, seen.examples, tmp_path).read_text()
    assert "Do not quote the numbers as test results" in page
    with pytest.raises(ValueError, match="--split test: this dataset has 2 train episodes"):
        evaluate(
            BundlePredictor(tiny_bundle),
            lift_train_dataset,
            settings=replace(SETTINGS, split="test"),
        )


def test_auto_takes_the_most_held_out_split():
    assert choose_split(["train", "validation", "test"], wanted="auto") == "test"
    assert choose_split(["validation", "train"], wanted="auto") == "validation"
    assert choose_split(["train"], wanted="auto") == "train"
    assert choose_split(["train", "test"], wanted="train") == "train"


def test_the_split_is_what_the_dataset_says_where_no_seed_decides(lift_train_dataset, tmp_path):
    root = tmp_path / "others"
    shutil.copytree(lift_train_dataset.root, root)
    (path,) = (root / "meta/episodes").rglob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["seed", "split"]), path)
    foreign = LeRobotDataset(root)
    held_out = [foreign.episode_info(e).split for e in range(2)].index("validation")
    clips = choose_clips(PredictorSpec(name="any", stride=2), foreign, horizon=2)
    assert (clips.split, clips.episodes) == ("validation", (held_out,))


def test_a_horizon_beyond_every_episode_says_what_would_fit(tiny_bundle, lift_dataset):
    with pytest.raises(ValueError, match="choose --horizon 8 or less"):
        evaluate(BundlePredictor(tiny_bundle), lift_dataset, settings=EvaluationSettings(horizon=9))


def test_one_clip_leaves_shuffled_empty_with_its_reason(tiny_bundle, lift_dataset):
    one = evaluate(
        BundlePredictor(tiny_bundle), lift_dataset, settings=EvaluationSettings(horizon=2, clips=1)
    )
    shuffled = one.results.row("delta_psnr@shuffled")
    assert shuffled.model is None
    assert "2 episodes or more" in shuffled.name.missing
    assert "beyond this horizon" in one.results.row("delta_psnr@genie_random").name.missing


def test_another_action_convention_is_refused(tiny_bundle, lift_dataset):
    other = replace(tiny_bundle.controls.convention, gripper="+1 opens, -1 closes")
    mismatched = replace(
        tiny_bundle,
        controls=ControlEncoder(replace(tiny_bundle.controls.statistics, convention=other)),
    )
    with pytest.raises(ValueError, match=r"(?s)\+1 opens.*-1 opens"):
        choose_clips(BundlePredictor(mismatched).spec, lift_dataset, horizon=2)


def test_the_command_writes_everything(tiny_bundle, lift_dataset, tmp_path, caplog):
    tiny_bundle.save_pretrained(tmp_path / "bundle")
    config = Evaluate(
        checkpoint=str(tmp_path / "bundle"),
        dataset=lift_dataset.root,
        output=tmp_path / "out",
        settings=EvaluationSettings(horizon=2, clips=2, examples=1),
    )
    with caplog.at_level("INFO"), torch.random.fork_rng():
        result = run(config)
    assert (tmp_path / "out" / "report.html").is_file()
    assert Results.load(tmp_path / "out") == result.results
    assert "2 test episodes, 2 predicted frames each" in headline(result.results)
    assert "report.html" in caplog.text


def test_clips_of_an_episode_are_spread_over_it_and_bring_their_own_rows(lift_dataset):
    spec = PredictorSpec(name="any", stride=2)
    clips = choose_clips(spec, lift_dataset, horizon=3, num_clips=2, per_episode=3)
    # Of 17 rows the last clip of 7 rows begins in row 10.
    assert (clips.episodes, clips.starts) == ((0, 0, 0, 1, 1, 1), (0, 5, 10, 0, 5, 10))
    assert len(clips) == 6
    frames = lift_dataset.frames(1, "front")
    assert np.array_equal(clips.videos([4]).rgb[0], frames[[5, 7, 9, 11]])
    assert np.array_equal(clips.actions[4], lift_dataset.actions(1)[5:11])
    state = lift_dataset.state(1)
    assert np.array_equal(clips.states([3, 4]), [state[[0, 0]], state[[4, 5]]])
    assert lift_dataset.reward(1).nonzero()[0][0] > 8
    assert clips.rewarded().tolist() == [False, False, False, False, True, True]
    one = choose_clips(spec, lift_dataset, horizon=3)
    assert (one.starts, one.states([0]).shape[1]) == ((0, 0, 0), 1)


@pytest.mark.parametrize(("last", "count", "starts"), [(0, 4, [0]), (2, 9, [0, 1, 2]), (9, 1, [0])])
def test_no_clip_is_taken_twice(last, count, starts):
    assert spread_starts(last, count=count) == starts


def test_several_clips_of_an_episode_are_measured_and_resampled_together(tiny_bundle, lift_dataset):
    settings = EvaluationSettings(horizon=2, clips=2, per_episode=3, batch_size=4, examples=1)
    found = evaluate(BundlePredictor(tiny_bundle), lift_dataset, settings=settings).results
    assert [(c.episode, c.start) for c in found.clips] == [
        (episode, start) for episode in (0, 1) for start in (0, 6, 12)
    ]
    assert found.setting.what == "6 clips of 2 test episodes"
    psnr = found.row("psnr").model.estimate
    assert (psnr.num_clips, psnr.num_episodes) == (6, 2)
    means = [np.mean([c.psnr_db for c in found.clips if c.episode == e]) for e in (0, 1)]
    assert (psnr.low, psnr.high) == pytest.approx((min(means), max(means)))
