"""The judge that asks a vision-language model, over real HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from roboscape.annotate.segments.language import LanguageModel
from roboscape.judge.language import LanguageJudge


@pytest.fixture
def server():
    """An OpenAI-compatible endpoint that says what it is given, and keeps what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.asked.append(body)
            said = self.server.answers.pop(0)
            reply = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_):
            pass

    found = HTTPServer(("127.0.0.1", 0), Handler)
    found.asked, found.answers = [], []
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def judge(server):
    language = LanguageModel(model="a/model", base_url=f"http://127.0.0.1:{server.server_port}/v1")
    return LanguageJudge.of_server(language, camera="front", task="lift the red cube")


def test_every_world_is_asked_about_with_its_first_frame_and_its_newest(server, judge, observe):
    server.answers = ["Yes.", "no", "unknown"]
    judge.reset(observe(0.05, 0.05, 0.05), where=np.ones(3, bool))
    found = judge.verdict(observe(0.3, 0.05, None))
    assert found.success.tolist() == [True, False, False]
    assert found.unknown.tolist() == [False, False, True]
    assert judge.counts.unknown == 1 and len(server.asked) == 3
    (message,) = server.asked[0]["messages"]
    images = [part["image_url"]["url"] for part in message["content"] if "image_url" in part]
    assert len(images) == 2 and images[0] != images[1]
    assert "lift the red cube" in message["content"][-1]["text"]
    still = [part for part in server.asked[1]["messages"][0]["content"] if "image_url" in part]
    assert still[0] == still[1], "a cube at rest looks as it did"


def test_an_answer_that_cannot_be_read_is_asked_for_again_and_then_refused(server, judge, observe):
    judge.reset(observe(0.05), where=np.ones(1, bool))
    server.answers = ["Yes or no, who can say", "yes"]
    assert judge(observe(0.3)).tolist() == [True]
    server.answers = ["perhaps", "I think so"]
    with pytest.raises(
        ValueError, match="expected the answer yes, no or unknown, got 'I think so'"
    ):
        judge(observe(0.3))


def test_no_server_says_how_to_start_one(observe):
    language = LanguageModel(model="a/model", base_url="http://127.0.0.1:9/v1")
    judge = LanguageJudge.of_server(language, camera="front", task="lift")
    judge.reset(observe(0.05), where=np.ones(1, bool))
    with pytest.raises(ValueError, match="no answer from"):
        judge(observe(0.3))
