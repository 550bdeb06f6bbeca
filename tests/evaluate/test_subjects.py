"""Laws of the measuring, with subjects whose right scores are known by hand."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from roboscape.controls.encoder import ControlEncoder, ControlStream
from roboscape.core.seeding import seed_for
from roboscape.dataset.annotations import (
    Provenance,
    annotations_folder,
    begin_annotation,
    write_depth,
)
from roboscape.dataset.depth_codec import DepthCodec
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention, CameraSpec, Commands, DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.evaluate.appearance import IDENTICAL_DB
from roboscape.evaluate.clips import choose_clips
from roboscape.evaluate.control import partners, random_actions
from roboscape.evaluate.evaluate import EvaluationResult, EvaluationSettings, evaluate, headline
from roboscape.evaluate.headline import HEADLINES, headline_rows, text_table
from roboscape.evaluate.measure import Measurement, Plan
from roboscape.evaluate.protocol import Predictor, PredictorSpec, TokenPredictor, TokenVideos
from roboscape.evaluate.report import write_report
from roboscape.evaluate.results import ClipOutcome, Results
from roboscape.evaluate.subjects import BundlePredictor, StillPicture, still_tokens
from roboscape.rollout.sampling import GREEDY, Sampling
from roboscape.rollout.videos import Videos, decode_videos, encode_videos
from scripts.results_table import table
from tests.whole_rollout import whole_rollout

SIDE, STRIDE, HORIZON, CLIPS = 32, 2, 5, 4
ROWS = HORIZON * STRIDE + 1
SETTINGS = EvaluationSettings(horizon=HORIZON, batch_size=3, examples=1)


def paint(levels: np.ndarray, *, side: int = SIDE) -> Videos:
    """Plain frames of these grey levels, `b t`; depth is a hundredth of the level."""
    shape = (*levels.shape, side, side)
    grey = np.broadcast_to(np.clip(levels.round(), 0, 255)[..., None, None], shape)
    rgb = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    return Videos(rgb=rgb, depth_m=grey.astype(np.float32) / 100)


PAINTER = PredictorSpec(name="painter", stride=STRIDE, predicts_depth=True)


@dataclass(frozen=True)
class Painter:
    """Knows the painted scene's law: every action adds its first number to the grey level."""

    spec: PredictorSpec = PAINTER

    def predict(self, prompt, states, actions, *, seed=0):
        steps = np.cumsum(actions[..., 0], axis=1)[:, STRIDE - 1 :: STRIDE]
        first = states[:, -1, :1]
        return paint(np.concatenate([first, first + steps], axis=1))


def painted_dataset(root: Path, *, has_depth: bool = True, commands: Commands = "recorded"):
    convention = ActionConvention(
        mode="delta",
        names=("level", "gripper"),
        units=("1", "1"),
        scale=(1.0, 1.0),
        frame="robot_base",
        rotation="none",
        gripper="-1 opens, +1 closes",
        action_hz=20.0,
    )
    spec = DatasetSpec(
        fps=20.0,
        robot_type="painter",
        cameras=(CameraSpec(name="front", height=SIDE, width=SIDE, has_depth=has_depth),),
        state_names=("level",),
        action=convention,
        commands=commands,
    )
    with DatasetWriter(root, spec) as writer:
        for number in range(CLIPS):
            random = np.random.default_rng(number)
            sign = 1 if number % 2 else -1
            actions = sign * random.choice([3.0, 5.0, 9.0], (ROWS + 2, 2)).astype(np.float32)
            level = 128 + np.concatenate([[0], np.cumsum(actions[:-1, 0])])
            video = paint(level[None])
            writer.add(
                Episode(
                    frames={"front": video.rgb[0]},
                    depth_m={"front": video.depth_m[0]} if has_depth else {},
                    actions=actions,
                    state=level[:, None].astype(np.float32),
                    reward=np.zeros(ROWS + 2, np.float32),
                    task="paint",
                    success=False,
                    seed=900_000 + number,
                    behaviour="random",
                    tracks={},
                )
            )
    return LeRobotDataset(root)


@pytest.fixture(scope="module")
def painted(tmp_path_factory) -> LeRobotDataset:
    return painted_dataset(tmp_path_factory.mktemp("painted"))


@pytest.fixture(scope="module")
def found(painted) -> EvaluationResult:
    return evaluate(Painter(), painted, settings=SETTINGS)


def decibels(truth: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """PSNR by hand, `b t`."""
    error = ((truth.astype(float) - shown.astype(float)) ** 2).mean(axis=(2, 3, 4))
    return np.where(error > 0, 10 * np.log10(255**2 / np.maximum(error, 1e-9)), IDENTICAL_DB)


def recorded(dataset: LeRobotDataset, rows: slice = slice(0, ROWS, STRIDE)) -> np.ndarray:
    return np.stack([dataset.frames(e, "front")[rows] for e in range(dataset.num_episodes)])


def hand_actions(dataset: LeRobotDataset) -> np.ndarray:
    return np.stack([dataset.actions(e)[: ROWS - 1] for e in range(dataset.num_episodes)])


def hand_states(dataset: LeRobotDataset) -> np.ndarray:
    return np.stack([dataset.state(e)[:1] for e in range(dataset.num_episodes)])


def test_a_model_that_draws_what_the_actions_say_is_nearly_perfect(found):
    # Only rounding is left; one action more or less costs 20 dB.
    assert found.results.row("psnr").model.estimate.low > 50
    assert found.results.row("abs_rel@metric").model.estimate.high < 0.02
    assert found.results.row("psnr").static.estimate.mean < 30


def test_delta_psnr_is_the_loss_under_the_actions_of_the_partner_and_under_random_ones(
    found, painted
):
    truth, actions, states = recorded(painted), hand_actions(painted), hand_states(painted)
    pool = actions.reshape(-1, 2)
    drawn = np.stack(
        [random_actions(pool, num_frames=HORIZON, stride=STRIDE, seed=0, clip=c) for c in range(4)]
    )
    right = decibels(truth, Painter().predict(None, states, actions).rgb)
    for key, others in (("shuffled", actions[partners(CLIPS, seed=0)]), ("genie_random", drawn)):
        wrong = decibels(truth, Painter().predict(None, states, others).rgb)
        expected = (right - wrong)[:, 1:].mean(axis=0)
        row = found.results.row(f"delta_psnr@{key}")
        assert row.model.curve == pytest.approx(tuple(expected))
        assert row.model.estimate.mean > 5
    assert row.model.estimate.mean == pytest.approx(expected[3])


def test_estimated_depth_is_read_where_none_was_recorded(tmp_path):
    dataset = painted_dataset(tmp_path, has_depth=False)
    estimated = np.full((ROWS + 2, SIDE, SIDE), 2.0, np.float32)
    root, codec = annotations_folder(tmp_path), DepthCodec(minimum_m=0.1, maximum_m=10.0)
    begin_annotation(
        root,
        Provenance(kind="depth", name="guess", version="1", settings={}, depth=codec, fps=20.0),
    )
    for episode in range(CLIPS):
        write_depth(root, estimated, annotator="guess", camera="front", episode=episode)
    videos = choose_clips(PAINTER, dataset, horizon=HORIZON).videos(range(2))
    assert videos.depth_m.shape == (2, HORIZON + 1, SIDE, SIDE)
    np.testing.assert_allclose(videos.depth_m, 2.0, rtol=1e-3)


def test_the_floor_repeats_the_given_frame(found, painted):
    truth = recorded(painted)
    expected = decibels(truth, np.repeat(truth[:, :1], HORIZON + 1, axis=1))[:, 1:]
    assert found.results.row("psnr").static.curve == pytest.approx(tuple(expected.mean(axis=0)))
    depth = np.stack([painted.depth_m(e, "front", slice(0, ROWS, STRIDE)) for e in range(CLIPS)])
    relative = np.abs(depth[:, :1] / depth - 1).mean(axis=(2, 3))[:, 1:]
    floor = found.results.row("abs_rel@metric").static
    assert floor.curve == pytest.approx(tuple(relative.mean(axis=0)), rel=1e-3)


def test_what_a_model_is_given_is_the_first_frame_its_state_and_the_actions_to_the_last_frame(
    painted,
):
    calls = []

    class Listener(Painter):
        def predict(self, prompt, states, actions, *, seed=0):
            calls.append((prompt, states, actions, seed))
            return super().predict(prompt, states, actions, seed=seed)

    evaluate(Listener(), painted, settings=replace(SETTINGS, batch_size=CLIPS, seeds=2))
    (prompt, states, actions, seed), (_, _, _, other_seed) = calls
    assert np.array_equal(prompt.rgb[:CLIPS], recorded(painted)[:, :1])
    assert prompt.depth_m.shape == (3 * CLIPS, 1, SIDE, SIDE)
    assert np.array_equal(states[:CLIPS], hand_states(painted))
    assert np.array_equal(actions[:CLIPS], hand_actions(painted))
    assert seed != other_seed


def test_without_tokens_there_is_no_ceiling_no_decoded_truth_and_no_token_accuracy(found, tmp_path):
    results = found.results
    assert not isinstance(Painter(), TokenPredictor)
    assert isinstance(Painter(), Predictor)
    assert all(row.ceiling is None and row.static_decoded is None for row in results.rows)
    assert {row.reference for row in results.rows} == {"raw", "codes"}
    assert "has no tokens" in results.row("token_accuracy_rgb", reference="codes").name.missing
    assert results.clips[0].ceiling_psnr_db is None
    page = write_report(results, found.examples, tmp_path).read_text()
    assert "Ceiling" not in page and "painter" in page
    assert "–" in headline(results)


def test_examples_are_the_clips_that_they_are_labelled_as(found, painted):
    truth = recorded(painted)
    painter = Painter().predict(None, hand_states(painted), hand_actions(painted)).rgb
    worst = next(one for one in found.examples if one.label == "worst PSNR")
    scores = decibels(truth, painter)[:, 1:].mean(axis=1)
    assert worst.record.episode == scores.argmin()
    assert np.array_equal(worst.imagined.rgb[0], painter[scores.argmin()])
    assert np.array_equal(worst.truth.rgb[0], truth[scores.argmin()])


def test_a_copied_given_frame_is_not_scored_where_the_protocol_counts_it(found):
    row = found.results.row("psnr@ivideogpt, best of 1")
    assert row.static is None
    assert row.model is None and "copies" in row.name.missing


@dataclass(frozen=True)
class Wrong(Painter):
    """Predicts something of another form."""

    change: str = ""

    def predict(self, prompt, states, actions, *, seed=0):
        right = super().predict(prompt, states, actions, seed=seed)
        return {
            "short": right.map(lambda array: array[:, 1:]),
            "no depth": replace(right, depth_m=None),
            "small": right.map(lambda array: array[:, :, ::2]),
        }[self.change]


@pytest.mark.parametrize(
    ("change", "message"),
    [("short", r"\(9, 6, 32, 32, 3\)"), ("no depth", "depth_m"), ("small", "rgb")],
)
def test_predictions_of_another_form_are_refused(painted, change, message):
    with pytest.raises(ValueError, match=f"painter must predict.*{message}"):
        evaluate(Wrong(change=change), painted, settings=SETTINGS)


def test_recordings_that_a_model_was_not_made_for_are_refused(painted):
    spec = Painter().spec
    other = replace(painted.spec.action, gripper="+1 opens, -1 closes")
    with pytest.raises(ValueError, match=r"(?s)\+1 opens.*-1 opens"):
        choose_clips(replace(spec, action=other), painted, horizon=2)
    with pytest.raises(ValueError, match=r"(?s)state dimensions.*joint.*level"):
        choose_clips(replace(spec, state_names=("joint",)), painted, horizon=2)
    with pytest.raises(ValueError, match=r"(?s)height and width.*\(64, 64\).*\(32, 32\)"):
        choose_clips(replace(spec, image_size=64), painted, horizon=2)
    with pytest.raises(ValueError, match="has the cameras front; asked for side"):
        choose_clips(spec, painted, horizon=2, cameras=("side",))


def test_a_bundle_is_scored_by_its_own_rollout_against_recorded_and_against_decoded_frames(
    tiny_bundle, lift_dataset
):
    settings = EvaluationSettings(horizon=HORIZON, batch_size=3, examples=1)
    results = evaluate(BundlePredictor(tiny_bundle), lift_dataset, settings=settings).results
    truth = BundleTruth(tiny_bundle, lift_dataset)
    imagined = truth.imagine(GREEDY, seed=0)
    for reference, video in (("raw", truth.raw), ("decoded", truth.decoded)):
        expected = decibels(video.rgb, imagined.rgb)[:, 1:].mean(axis=0)
        row = results.row("psnr", reference=reference)
        assert row.model.curve == pytest.approx(tuple(expected), abs=1e-3)
    ceiling = decibels(truth.raw.rgb, truth.decoded.rgb)[:, 1:].mean(axis=0)
    assert results.row("psnr").ceiling.curve == pytest.approx(tuple(ceiling))
    frozen = np.repeat(truth.decoded.rgb[:, :1], HORIZON + 1, axis=1)
    floor = decibels(truth.raw.rgb, frozen)[:, 1:].mean(axis=0)
    assert results.row("psnr").static_decoded.curve == pytest.approx(tuple(floor))
    assert not np.allclose(ceiling, floor)
    accuracy = results.row("token_accuracy_rgb", reference="codes")
    assert accuracy.static_decoded.curve == pytest.approx(truth.unchanged_tokens())


class BundleTruth:
    """What an evaluation of the three Lift test episodes ought to find, step by step."""

    def __init__(self, bundle, dataset) -> None:
        self.bundle, self.dataset = bundle, dataset
        depth = np.stack([dataset.depth_m(e, "front", slice(0, ROWS, STRIDE)) for e in range(3)])
        self.raw = Videos(rgb=recorded(dataset), depth_m=depth)
        self.codes = encode_videos(bundle.tokenizer, self.raw)
        self.decoded = decode_videos(bundle.tokenizer, self.codes)

    def imagine(self, sampling: Sampling, *, seed: int) -> Videos:
        controls = self.bundle.controls.encode(
            hand_actions(self.dataset), hand_states(self.dataset)[:, 0]
        )
        prompt, seed = self.codes.map(lambda c: c[:, :1]), seed_for(seed, 0)
        codes = whole_rollout(self.bundle, prompt, controls, sampling=sampling, seed=seed)
        return decode_videos(self.bundle.tokenizer, codes)

    def unchanged_tokens(self) -> tuple[float, ...]:
        same = self.codes.rgb[:, 1:] == self.codes.rgb[:, :1]
        return tuple(same.double().mean(dim=(0, 2)).tolist())


def test_a_bundle_begins_at_the_last_given_frame_and_draws_by_its_seed(tiny_bundle, lift_dataset):
    subject = BundlePredictor(tiny_bundle, Sampling(temperature=1.0))
    truth = BundleTruth(tiny_bundle, lift_dataset)
    given = hand_states(lift_dataset), hand_actions(lift_dataset)
    two = truth.raw.map(lambda array: array[:, [5, 0]])
    found = subject.predict(two, *given, seed=5)
    assert isinstance(found, TokenVideos)
    assert torch.equal(found.codes.rgb[:, 0], truth.codes.rgb[:, 0])
    again, other = (subject.predict(two, *given, seed=seed) for seed in (5, 6))
    assert np.array_equal(found.rgb, again.rgb)
    assert not np.array_equal(found.rgb, other.rgb)


def test_a_bundle_uses_the_state_before_where_it_is_given(tiny_bundle, lift_dataset):
    heard = []

    class Stream(ControlStream):
        def reset(self, first_state, *, state_before=None, **settings):
            heard.append((first_state, state_before))
            return super().reset(first_state, state_before=state_before, **settings)

    class Controls(ControlEncoder):
        def stream(self):
            return Stream(self)

    bundle = replace(tiny_bundle, controls=Controls(tiny_bundle.controls.statistics))
    states = np.stack([lift_dataset.state(e)[3:5] for e in range(3)])
    truth = BundleTruth(tiny_bundle, lift_dataset).raw.map(lambda array: array[:, :1])
    BundlePredictor(bundle).predict(truth, states, hand_actions(lift_dataset))
    BundlePredictor(bundle).predict(truth, states[:, 1:], hand_actions(lift_dataset))
    _, moving, _, resting = heard  # before each of them, a new simulator's worlds begin at zero
    assert np.array_equal(moving[0], states[:, 1]) and np.array_equal(moving[1], states[:, 0])
    assert np.array_equal(resting[0], states[:, 1]) and np.array_equal(resting[1], states[:, 1])


def test_a_bundle_of_many_tasks_is_told_the_task_of_every_clip(bundle_of_tasks, lift_dataset):
    truth = BundleTruth(bundle_of_tasks, lift_dataset).raw.map(lambda array: array[:, :1])
    given = truth, hand_states(lift_dataset), hand_actions(lift_dataset)
    subject = BundlePredictor(bundle_of_tasks, Sampling(temperature=1.0))
    told = subject.with_tasks(("open the door", "open the door", "")).predict(*given).codes.rgb
    untold = subject.predict(*given).codes.rgb
    assert torch.equal(told[2], untold[2])
    assert not torch.equal(told[0], untold[0]) and not torch.equal(told[1], untold[1])

    class Deaf:
        spec, codec = subject.spec, subject.codec
        predict = subject.predict

    clips = choose_clips(subject.spec, lift_dataset, horizon=3, split="test")
    plan = Plan(metrics=(), tasks=(), seeds=(0,), batch_size=2)
    hears, deaf = (Measurement(subject=one, clips=clips, plan=plan) for one in (subject, Deaf()))
    for one in (hears, deaf):
        one.run()
    assert not np.array_equal(hears.kept.clip(2).rgb, deaf.kept.clip(2).rgb)


def test_both_floors_repeat_the_last_given_frame(tiny_bundle, lift_dataset):
    truth = BundleTruth(tiny_bundle, lift_dataset)
    two = truth.raw.map(lambda array: array[:, [0, 4]])
    given = two, hand_states(lift_dataset), hand_actions(lift_dataset)
    still = StillPicture(STRIDE).predict(*given)
    assert still.rgb.shape[1] == HORIZON + 1
    assert (still.rgb == truth.raw.rgb[:, 4:5]).all()
    assert (still.depth_m == truth.raw.depth_m[:, 4:5]).all()
    decoded = still_tokens(BundlePredictor(tiny_bundle).codec, two, frames=HORIZON + 1)
    assert decoded.codes.rgb.shape[1] == HORIZON + 1
    assert (decoded.rgb == truth.decoded.rgb[:, 4:5]).all()


class Film:
    """Predicts the same Lift video for every clip."""

    spec = PredictorSpec(name="film", stride=STRIDE, predicts_depth=True)

    def __init__(self, scene, heights, *, hide_from: int | None = None) -> None:
        self.rgb, self.depth_m = scene.video(np.asarray(heights))
        if hide_from is not None:
            self.rgb[hide_from:] = 235

    def predict(self, prompt, states, actions, *, seed=0):
        clips = len(prompt)
        return Videos(rgb=np.stack([self.rgb] * clips), depth_m=np.stack([self.depth_m] * clips))


RISING, RESTING = [0.05, 0.05, 0.1, 0.2, 0.3, 0.3], [0.05] * 6


def counts_of(subject, dataset):
    """The cube rises in the second of three clips."""
    settings = EvaluationSettings(horizon=HORIZON, batch_size=2, examples=1, seeds=2)
    result = evaluate(subject, dataset, settings=settings).results
    return result.task("lift_cube"), result


def test_the_cube_test_reads_the_predicted_video_not_the_true_one(lift_scene, lift_dataset):
    task, results = counts_of(Film(lift_scene, RISING), lift_dataset)
    model = task.model  # every clip once a seed
    assert (model.in_both, model.only_in_truth) == (2, 0)
    assert (model.only_in_shown, model.in_neither, model.unseen) == (4, 0, 0)
    assert model.agreement == pytest.approx(1 / 3)
    shown = [clip.tasks["lift_cube"] for clip in results.clips]
    assert shown == [ClipOutcome(truth=truth, predicted=True) for truth in (False, True, False)]


def test_a_still_picture_is_the_floor_of_the_cube_test(lift_scene, lift_dataset, tmp_path):
    task, results = counts_of(Film(lift_scene, RESTING), lift_dataset)
    assert task.model.agreement == task.static.agreement == pytest.approx(2 / 3)
    assert (task.static.in_neither, task.static.only_in_truth) == (2, 1)
    page = write_report(results, (), tmp_path).read_text()
    assert "agrees in <strong>66.7%</strong>" in page
    assert "67%" in headline(results)


def test_a_lost_cube_is_unseen_and_no_agreement(lift_scene, lift_dataset, tmp_path):
    task, results = counts_of(Film(lift_scene, RESTING, hide_from=1), lift_dataset)
    assert task.model.unseen == 6
    assert task.model.agreement == task.model.visible == 0
    assert task.model.in_neither == task.model.only_in_truth == 0
    assert [clip.tasks["lift_cube"].predicted for clip in results.clips] == [None] * 3
    assert (
        "In 6 predicted videos the cube is lost" in write_report(results, (), tmp_path).read_text()
    )
    late, _ = counts_of(Film(lift_scene, RISING, hide_from=5), lift_dataset)
    assert (late.model.unseen, late.model.in_both) == (0, 2)


def test_a_model_without_depth_has_no_cube_test_and_the_report_says_why(
    lift_scene, lift_dataset, tmp_path
):
    subject = Film(lift_scene, RISING)
    subject.spec = replace(Film.spec, predicts_depth=False)
    subject.depth_m = None
    subject.predict = lambda prompt, *_, seed=0: Videos(
        rgb=np.stack([subject.rgb] * len(prompt)), depth_m=None
    )
    results = evaluate(subject, lift_dataset, settings=SETTINGS).results
    assert results.tasks == ()
    page = write_report(results, (), tmp_path).read_text()
    assert "needs recorded depth and a model that predicts depth" in page
    assert "predicts no depth" in results.row("abs_rel@metric").name.missing
    off = evaluate(subject, lift_dataset, settings=replace(SETTINGS, tasks="off")).results
    assert off.tasks_missing == {"Cube test": "switched off"}


@pytest.mark.parametrize(
    ("commands", "note"),
    [("next_state", "where the robot will be"), ("current_state", "where the robot was")],
)
def test_actions_that_are_recorded_poses_are_named_in_every_report(tmp_path, commands, note):
    dataset = painted_dataset(tmp_path / "data", commands=commands)
    found = evaluate(Painter(), dataset, settings=SETTINGS)
    assert note in headline(found.results)
    assert note in write_report(found.results, found.examples, tmp_path).read_text()


def test_the_report_says_what_the_model_was_given(found, tmp_path):
    assert found.results.setting.commands == ""
    page = write_report(found.results, found.examples, tmp_path).read_text()
    assert "the first frame (RGB and depth)" in page
    assert "state in that frame, as recorded (1 number)" in page
    assert "lack commands" not in page


def test_results_of_another_layout_are_refused_with_what_to_do(found, tmp_path):
    found.results.save(tmp_path)
    path = tmp_path / "results.json"
    content = json.loads(path.read_text())
    del content["layout"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="layout 1, this version reads layout 2; run `roboscape"):
        Results.load(tmp_path)
    with pytest.raises(
        ValueError, match="no task metric `lift_cube` was measured; there are: none"
    ):
        found.results.task("lift_cube")


def test_one_list_of_headline_figures_serves_the_readme_the_terminal_and_the_report(
    tiny_bundle, lift_dataset, tmp_path
):
    settings = EvaluationSettings(horizon=HORIZON, batch_size=3, examples=1)
    ours = evaluate(BundlePredictor(tiny_bundle), lift_dataset, settings=settings)
    still = evaluate(StillPicture(STRIDE), lift_dataset, settings=settings)
    rows = headline_rows(ours.results)
    assert [row.title for row in rows][-1] == "cube rises when, and only when, it does in truth ↑"
    readme, terminal = table(ours.results), text_table({"still": still.results, "x": ours.results})
    page = write_report(ours.results, ours.examples, tmp_path).read_text()
    for row in rows:
        assert f"| {row.title} | {row.cells['static']} | **{row.cells['model']}** |" in readme
        line = next(line for line in terminal.splitlines() if line.startswith(row.title))
        cells = line.removeprefix(row.title).split()
        assert cells[2:] == [row.cells["model"], row.cells["ceiling"]]
    assert all(one.tile in page for one in HEADLINES)
    assert "seeds 900000 to 900002" in readme
