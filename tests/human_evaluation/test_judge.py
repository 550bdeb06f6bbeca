"""A blind evaluation from its videos to its report, over the network as a page does it."""

import json
import random
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException

import pytest

from roboscape.core.errors import UserError
from roboscape.human_evaluation.answers import ANSWERS, Answer, AnswerFile
from roboscape.human_evaluation.judge import Judge, prepared, run
from roboscape.human_evaluation.report import draw_report, report_of
from roboscape.human_evaluation.server import LARGEST_BODY, EvaluationServer
from roboscape.human_evaluation.trials import TRUE, Trial, Trials, read_trials

TOKEN = "a-secret-of-the-test"


@pytest.fixture(scope="module")
def folder(tiny_bundle, lift_dataset, tmp_path_factory):
    """Two episodes of a tiny bundle against their recordings."""
    root = tmp_path_factory.mktemp("judged")
    tiny_bundle.save_pretrained(root / "tiny")
    prepared(
        Judge(
            output=root / "evaluation",
            checkpoint=(str(root / "tiny"),),
            dataset=lift_dataset.root,
            episodes=(0, 1),
            horizon=3,
        )
    )
    return root / "evaluation"


@contextmanager
def serving(folder):
    server = EvaluationServer(folder, read_trials(folder), token=TOKEN, address=("127.0.0.1", 0))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def ask(server, path, *, method="GET", body=None, token=TOKEN, headers=None):
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.request(method, f"/{token}/{path}", body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def answered(trial, rater="0123456789ab", **changes):
    known = {
        "trial": trial,
        "rater": rater,
        "left_success": "yes",
        "right_success": "no",
        "left_plausibility": 4,
        "right_plausibility": 2,
        "recorded": "left",
    }
    return known | changes


def test_a_page_learns_nothing_about_sources(folder):
    trials = read_trials(folder)
    assert trials.sources == (TRUE, "tiny") and len(trials.trials) == 2
    with serving(folder) as server:
        status, body = ask(server, "questions/0123456789ab")
    assert status == 200
    questions = json.loads(body)
    assert questions["task"] == "lift the red cube"
    assert {frozenset(one) for one in questions["trials"]} == {frozenset(("id", "left", "right"))}
    assert b"tiny" not in body and b"true" not in body
    names = [name for one in trials.trials for name in (one.left_video, one.right_video)]
    assert len(set(names)) == 4


def test_answers_are_kept_and_asked_for_once(folder):
    trials = read_trials(folder)
    first = trials.trials[0].id
    with serving(folder) as server:
        body = json.dumps(answered(first, rater="keptkeptkept"))
        assert ask(server, "answers", method="POST", body=body)[0] == 200
        questions = json.loads(ask(server, "questions/keptkeptkept")[1])
        assert questions["done"] == 1
        assert [one["id"] for one in questions["trials"]] == [trials.trials[1].id]
    kept = AnswerFile(folder).read()
    assert [one.trial for one in kept if one.rater == "keptkeptkept"] == [first]


def test_videos_play_whole_and_in_parts(folder):
    name = read_trials(folder).trials[0].left_video
    whole = (folder / "videos" / name).read_bytes()
    with serving(folder) as server:
        assert ask(server, f"videos/{name}") == (200, whole)
        part = ask(server, f"videos/{name}", headers={"Range": "bytes=10-19"})
        assert part == (206, whole[10:20])
        assert ask(server, f"videos/{name}", headers={"Range": "bytes=-5"})[1] == whole[-5:]
        assert ask(server, f"videos/{name}", headers={"Range": "bytes=9999999-"})[0] == 416


def test_without_the_secret_nothing_is_found(folder):
    with serving(folder) as server:
        for token in ("", "wrong", TOKEN[:-1], TOKEN + "x"):
            assert ask(server, "questions/0123456789ab", token=token)[0] == 404
        for path in (
            "trials.json",
            "videos/../trials.json",
            "videos/..%2ftrials.json",
            "token.txt",
        ):
            assert ask(server, path)[0] == 404


def test_hostile_messages_are_refused_and_the_server_lives(folder):
    first = read_trials(folder).trials[0].id
    before = len(AnswerFile(folder).read())
    bad = [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 4000,
        json.dumps(answered("no such trial")),
        json.dumps(answered(first, left_plausibility=9)),
        json.dumps(answered(first, rater="../../etc/passwd")),
        json.dumps(answered(first) | {"extra": 1}),
        json.dumps(answered(first, recorded=True)),
    ]
    numbers = random.Random(0)
    bad += [numbers.randbytes(numbers.randrange(200)) for _ in range(100)]
    with serving(folder) as server:
        for body in bad:
            assert ask(server, "answers", method="POST", body=body)[0] == 400, body[:80]
        huge = {"Content-Length": str(LARGEST_BODY + 1)}
        assert ask(server, "answers", method="POST", body=b"x", headers=huge)[0] == 413
        for _ in range(100):
            # A question mark would begin a query, which the page takes no notice of.
            path = "".join(chr(numbers.randrange(33, 127)) for _ in range(30)).replace("?", "")
            with suppress(HTTPException):
                assert ask(server, path)[0] == 404
        assert ask(server, "questions/0123456789ab")[0] == 200
    assert len(AnswerFile(folder).read()) == before


def test_a_line_that_was_cut_off_is_forgotten(tmp_path):
    kept = AnswerFile(tmp_path)
    kept.add(Answer(**answered("one")))
    with (tmp_path / ANSWERS).open("a") as file:
        file.write('{"trial": "tw')
    again = AnswerFile(tmp_path)
    again.add(Answer(**answered("three")))
    assert [one.trial for one in again.read()] == ["one", "three"]


def three_trials():
    def trial(number, left, right):
        return Trial(
            id=f"trial{number}",
            episode=number,
            left=left,
            right=right,
            left_video="a",
            right_video="b",
            recorded_success=number != 2,
        )

    return Trials(
        task="lift",
        dataset="d",
        sources=(TRUE, "model"),
        trials=(trial(0, TRUE, "model"), trial(1, "model", TRUE), trial(2, TRUE, "model")),
    )


def test_the_report_counts_by_source_whatever_the_side():
    answers = [
        Answer(**answered("trial0", recorded="left")),
        Answer(**answered("trial1", left_success="no", right_success="yes", recorded="right")),
        Answer(**answered("trial2", left_success="unclear", recorded="left")),
        Answer(**answered("trial0", rater="another00", right_success="yes", recorded="unclear")),
    ]
    report = report_of(three_trials(), answers, automatic={"model": {"0": True, "1": False}})
    true, model = report.sources
    assert (report.raters, report.answers) == (2, 4)
    assert (true.success.successes, true.success.trials) == (3, 3)
    assert (model.success.successes, model.success.trials) == (1, 4)
    assert true.plausibility == pytest.approx((4 + 2 + 4 + 4) / 4)
    assert (model.right_success.successes, model.right_success.trials) == (2, 4)
    assert (model.automatic.successes, model.automatic.trials) == (2, 3)
    (pair,) = report.pairs
    taken = pair.taken_for_recorded
    assert (pair.first, taken.successes, taken.trials) == (TRUE, 3, 3)
    assert "100% [44%, 100%] of 3" in draw_report(report)


def test_an_evaluation_is_gone_on_with_and_reported(folder):
    config = Judge(output=folder, checkpoint=("ignored",), report_only=True)
    run(config)
    assert "source" in (folder / "report.md").read_text()
    assert json.loads((folder / "report.json").read_text())["sources"][0]["name"] == TRUE
    with pytest.raises(UserError, match="needs --dataset"):
        prepared(replace(config, output=folder / "nowhere", report_only=False))
    with pytest.raises(UserError, match="something else"):
        prepared(replace(config, output=folder.parent, report_only=False, dataset=folder))
