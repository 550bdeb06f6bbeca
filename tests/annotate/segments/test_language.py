import numpy as np
import pytest

from roboscape.annotate.segments.language import (
    LanguageModel,
    parse_answer,
    sampled_rows,
    segment_by_language,
)
from roboscape.annotate.segments.protocol import RecordedMotion, check_segments
from roboscape.dataset.records import ActionConvention

ROWS = np.array([0, 10, 20, 30])
GOOD = """Here you are:
[{"first": 1, "last": 2, "skill": "Reach for the cup", "key": 2, "related": [2, 2]},
 {"first": 3, "last": 4, "skill": "lift the cup", "key": 3, "confidence": 0.9}]"""
MOTION = RecordedMotion(
    actions=np.zeros((31, 1), np.float32),
    state=np.zeros((31, 0), np.float32),
    state_names=(),
    convention=ActionConvention(
        mode="delta",
        names=("x",),
        units=("m",),
        scale=(1.0,),
        frame="robot_base",
        rotation="none",
        gripper="none",
        action_hz=10.0,
    ),
    fps=10.0,
    task="lift the cup",
)


def test_an_answer_about_frames_becomes_rows():
    reach, lift = parse_answer(GOOD, rows=ROWS, length=31)
    check_segments((reach, lift), rows=31)
    assert (reach.first, reach.end, lift.end) == (0, 15, 31)
    assert (reach.skill, reach.key_row) == ("reach for the cup", 10)
    assert (reach.relevant_first, reach.relevant_end) == (10, 15)
    assert (lift.confidence, lift.key_row) == (0.9, 20)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("I cannot see a robot.", "expected a JSON list"),
        ("[{]", "expected a JSON list"),
        ('[{"first": 1, "last": 4}]', "key"),
        ('[{"first": 1, "last": 3, "skill": "a", "key": 2}]', "without gaps"),
        ('[{"first": 2, "last": 4, "skill": "a", "key": 2}]', "without gaps"),
        ('[{"first": 1, "last": 4, "skill": "a", "key": 5}]', "must lie in its segment"),
        ('[{"first": 1, "last": 9, "skill": "a", "key": 5}]', "without gaps"),
        ("[]", "without gaps"),
        ("[1, 2]", "expected a JSON list"),
    ],
)
def test_what_cannot_be_read_is_said(answer, said):
    with pytest.raises(ValueError, match=said):
        parse_answer(answer, rows=ROWS, length=31)


def test_the_model_is_told_what_was_wrong_and_asked_again():
    questions, answers = [], ["no idea", GOOD]

    def ask(images, question):
        questions.append((len(images), question))
        return answers[len(questions) - 1]

    frames = np.zeros((31, 8, 8, 3), np.uint8)
    found = segment_by_language(ask, frames, motion=MOTION, language=LanguageModel(frames=4))
    assert [one.skill for one in found] == ["reach for the cup", "lift the cup"]
    assert [count for count, _ in questions] == [4, 4]
    assert "1.0 seconds" in questions[0][1] and "lift the cup" in questions[0][1]
    assert "could not be used" in questions[1][1] and "could not be used" not in questions[0][1]


def test_a_model_that_never_answers_properly_fails_with_its_answer():
    frames = np.zeros((31, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=r"(?s)none of 2 answers .*gibberish"):
        segment_by_language(
            lambda *_: "gibberish", frames, motion=MOTION, language=LanguageModel(frames=4)
        )


def test_rows_are_spread_from_first_to_last():
    assert sampled_rows(100, count=4).tolist() == [0, 33, 66, 99]
    assert sampled_rows(3, count=16).tolist() == [0, 1, 2]
