"""The kinds of judges behind one protocol, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from roboscape.annotate.segments.language import LanguageModel
from roboscape.dataset.records import CameraSpec
from roboscape.judge.backends import JudgeChoice, open_judge
from roboscape.judge.classifier import ClassifierJudge
from roboscape.judge.network import SuccessNetwork
from roboscape.judge.protocol import EpisodeVerdict, Judge, Verdict
from roboscape.judge.rule import RuleJudge
from roboscape.simulators.protocol import WorldSpec
from roboscape.simulators.success import Success

EVERYWHERE = np.ones(2, bool)


@pytest.fixture
def spec(tiny_bundle):
    return WorldSpec(
        cameras=(CameraSpec(name="front", height=64, width=64, has_depth=True),),
        frame_hz=10.0,
        stride=2,
        action=tiny_bundle.controls.convention,
        state_names=(),
        task="lift the red cube",
    )


def test_the_rule_sees_a_raised_cube_and_says_so_where_there_is_none(observe):
    judge = RuleJudge("front")
    assert isinstance(judge, Judge) and isinstance(judge, Success)
    judge.reset(observe(0.05, 0.05, 0.05), where=np.ones(3, bool))
    found = judge.verdict(observe(0.05, 0.3, None))
    assert found.success.tolist() == [False, True, False]
    assert found.unknown.tolist() == [False, False, True]
    assert np.isnan(found.probability[2]) and found.probability[1] == 1
    assert (judge.counts.frames, judge.counts.success, judge.counts.unknown) == (3, 1, 1)


def test_a_world_that_was_never_reset_has_no_table(observe):
    with pytest.raises(ValueError, match="never reset"):
        RuleJudge("front").verdict(observe(0.05))


def test_the_trained_judge_sees_what_the_rule_sees(observe, trained, spec):
    _, folder = trained
    judge = open_judge(JudgeChoice(weights=str(folder)), spec=spec)
    judge.reset(observe(0.05, 0.05), where=EVERYWHERE)
    for _ in range(2):
        found = judge.verdict(observe(0.05, 0.33))
    assert found.success.tolist() == [False, True] and not found.unknown.any()
    assert judge(observe(0.05, 0.33)).tolist() == [False, True]


def test_a_judge_keeps_the_first_frame_of_every_world(observe, untrained, monkeypatch):
    network = SuccessNetwork(replace(untrained.config, reads_first=True)).eval()
    read = []
    monkeypatch.setattr(
        network, "probabilities", lambda past: (read.append(past), (np.ones(2), np.ones(2)))[1]
    )
    judge = ClassifierJudge(network)
    judge.reset(observe(0.05, 0.1), where=EVERYWHERE)
    for height in (0.15, 0.2, 0.25):
        judge.verdict(observe(height, height))
    judge.reset(observe(0.3, 0.3), where=np.array([True, False]))
    judge.verdict(observe(0.35, 0.35))
    heights = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
    shown = {height: judge._images(observe(height, height))[0] for height in heights}

    def is_read(past, *expected):
        np.testing.assert_array_equal(past, np.stack([shown[height] for height in expected]))

    is_read(read[0][0], 0.05, 0.05, 0.15)
    is_read(read[2][0], 0.05, 0.2, 0.25)
    is_read(read[2][1], 0.1, 0.2, 0.25)
    # A world that begins anew has another first frame, the other one keeps its own.
    is_read(read[3][0], 0.3, 0.3, 0.35)
    is_read(read[3][1], 0.1, 0.25, 0.35)


def test_a_judge_keeps_every_worlds_frames_apart(observe, untrained):
    one, two = ClassifierJudge(untrained), ClassifierJudge(untrained)
    first, later = observe(0.05, 0.3), observe(0.2, 0.1)
    one.reset(first, where=EVERYWHERE)
    two.reset(first, where=EVERYWHERE)
    one.verdict(later), two.verdict(later)
    # The first world of the second judge begins anew; its other world must not notice.
    two.reset(first, where=np.array([True, False]))
    a, b = one.verdict(later).probability, two.verdict(later).probability
    assert a[1] == b[1] and a[0] != b[0]


def test_a_fork_is_judged_from_its_present_frame(observe, untrained):
    judge, fresh = ClassifierJudge(untrained), ClassifierJudge(untrained)
    judge.reset(observe(0.05), where=np.ones(1, bool))
    four = observe(0.1, 0.1, 0.3, 0.3)
    np.testing.assert_array_equal(judge.verdict(four).probability, fresh.verdict(four).probability)


def test_a_clip_of_frames_counts_not_the_newest_alone(observe, untrained):
    judge = ClassifierJudge(untrained)
    judge.reset(observe(0.05), where=np.ones(1, bool))
    with_past = judge.verdict(observe(0.3)).probability
    assert judge.verdict(observe(0.3)).probability != with_past


def test_an_unseen_object_is_unknown_and_no_success(observe, untrained):
    judge = ClassifierJudge(untrained)
    with_object = judge.verdict(observe(0.3))
    # Sure of success, and sure that nothing is seen: the second counts.
    untrained.head[-1].bias.data[:] = torch.tensor([100.0, -100.0])
    without = ClassifierJudge(untrained).verdict(observe(0.3))
    assert without.unknown.all() and not without.success.any() and np.isnan(without.probability)
    assert not with_object.unknown.any() or np.isnan(with_object.probability).all()
    untrained.config = replace(untrained.config, finds_object=False)
    assert not ClassifierJudge(untrained).verdict(observe(0.3)).unknown.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cameras": ("wrist", 64, True)}, "trained on camera 'front'"),
        ({"cameras": ("front", 32, True)}, "reads 64 x 64 pixels"),
        ({"cameras": ("front", 64, False)}, "gives no depth|give no depth"),
        ({"frame_hz": 5.0}, "frames a second"),
    ],
)
def test_worlds_that_do_not_fit_the_judge_are_refused(trained, spec, change, message):
    _, folder = trained
    if "cameras" in change:
        name, side, depth = change["cameras"]
        camera = CameraSpec(name=name, height=side, width=side, has_depth=depth)
        change = {"cameras": (camera,)}
    with pytest.raises(ValueError, match=message):
        open_judge(JudgeChoice(weights=str(folder)), spec=replace(spec, **change))


def test_a_judge_without_weights_is_refused_with_what_to_do(tmp_path, spec):
    with pytest.raises(ValueError, match=r"holds no judge .*roboscape train judge"):
        open_judge(JudgeChoice(weights=str(tmp_path)), spec=spec)
    (tmp_path / "config.json").write_text('{"camera": "front", "image_size": 64}')
    with pytest.raises(ValueError, match=r"holds no model\.safetensors"):
        open_judge(JudgeChoice(weights=str(tmp_path)), spec=spec)


def test_images_of_another_camera_or_size_are_refused(observe, untrained):
    judge = ClassifierJudge(untrained)
    with pytest.raises(ValueError, match="RGB and depth of camera 'front'"):
        judge.verdict(observe(0.1, camera="wrist"))
    untrained.config = replace(untrained.config, image_size=32)
    with pytest.raises(ValueError, match="images of 32 x 32 pixels"):
        ClassifierJudge(untrained).verdict(observe(0.1))


def test_a_rule_needs_depth_and_a_language_model_a_name(spec):
    blind = replace(spec, cameras=(replace(spec.cameras[0], has_depth=False),))
    with pytest.raises(ValueError, match="needs depth"):
        open_judge(JudgeChoice(kind="rule"), spec=blind)
    with pytest.raises(ValueError, match="name one"):
        open_judge(JudgeChoice(kind="vlm"), spec=spec)
    with pytest.raises(ValueError, match="task in words"):
        open_judge(
            JudgeChoice(kind="vlm", language=LanguageModel(model="m")), spec=replace(spec, task="")
        )


def verdicts(success, unknown):
    found = EpisodeVerdict()
    for yes, hidden in zip(success, unknown, strict=True):
        one = Verdict(
            success=np.array([bool(yes)]),
            unknown=np.array([bool(hidden)]),
            probability=np.array([float(yes)]),
        )
        found.add(one, 0)
    return found


@pytest.mark.parametrize(
    ("success", "unknown", "outcome"),
    [
        ([0, 1, 1], [0, 0, 0], True),
        ([0, 1, 0, 1], [0, 0, 1, 0], False),
        ([0, 0, 0], [0, 0, 1], False),
        ([0, 0, 0], [0, 1, 1], None),
        ([0, 0], [1, 0], False),
    ],
)
def test_an_episodes_outcome_follows_from_its_frames(success, unknown, outcome):
    assert verdicts(success, unknown).outcome is outcome
