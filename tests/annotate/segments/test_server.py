"""Against a real HTTP server on this machine that speaks the protocol."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from roboscape.annotate.segments.language import LanguageModel
from roboscape.annotate.segments.protocol import SEGMENTERS, check_segments
from roboscape.annotate.segments.server import ServerSegmenter

ANSWER = json.dumps(
    [
        {"first": 1, "last": 2, "skill": "reach for the cube", "key": 2},
        {"first": 3, "last": 4, "skill": "lift the cube", "key": 4},
    ]
)


class ChatHandler(BaseHTTPRequestHandler):
    """`POST /v1/chat/completions`, and a list of what it was asked."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        status, reply = self.server.replies.pop(0)
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def said(text: str) -> tuple[int, dict]:
    message = {"role": "assistant", "content": text}
    return 200, {"object": "chat.completion", "choices": [{"index": 0, "message": message}]}


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), ChatHandler)
    server.asked, server.replies = [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def segmenter(server, **settings) -> ServerSegmenter:
    url = f"http://127.0.0.1:{server.server_port}/v1/"
    language = LanguageModel(model="a/model", base_url=url, frames=4, **settings)
    return SEGMENTERS["server"](language=language, waits_s=(0.0, 0.0))


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (7, 16, 16, 3)).astype(np.uint8)


@pytest.fixture
def motion():
    from roboscape.annotate.segments.protocol import RecordedMotion
    from roboscape.dataset.records import ActionConvention

    convention = ActionConvention(
        mode="delta",
        names=("x",),
        units=("m",),
        scale=(1.0,),
        frame="robot_base",
        rotation="none",
        gripper="none",
        action_hz=10.0,
    )
    return RecordedMotion(
        actions=np.zeros((7, 1), np.float32),
        state=np.zeros((7, 0), np.float32),
        state_names=(),
        convention=convention,
        fps=10.0,
        task="lift the cube",
    )


def test_frames_go_out_and_segments_come_back(server, frames, motion, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    server.replies = [said(ANSWER)]
    found = segmenter(server).annotate(frames, motion=motion)
    check_segments(found, rows=7)
    assert [one.skill for one in found] == ["reach for the cube", "lift the cube"]
    ((path, headers, body),) = server.asked
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer secret"
    assert body["model"] == "a/model" and body["temperature"] == 0
    (message,) = body["messages"]
    urls = [part["image_url"]["url"] for part in message["content"] if "image_url" in part]
    for url, row in zip(urls, (0, 2, 4, 6), strict=True):
        data = np.frombuffer(base64.b64decode(url.removeprefix("data:image/png;base64,")), np.uint8)
        shown = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(shown, frames[row])


def test_no_key_is_sent_where_there_is_none(server, frames, motion, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server.replies = [said(ANSWER)]
    segmenter(server).annotate(frames, motion=motion)
    assert "Authorization" not in server.asked[0][1]


def test_a_busy_server_is_asked_again(server, frames, motion):
    server.replies = [(503, {"error": "busy"}), (429, {"error": "slowly"}), said(ANSWER)]
    assert len(segmenter(server).annotate(frames, motion=motion)) == 2
    server.replies = [(503, {"error": "still busy"})] * 3
    with pytest.raises(ValueError, match=r"refused \(503\): .*still busy"):
        segmenter(server).annotate(frames, motion=motion)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((404, {"error": "no model a/model"}), r"refused \(404\): .*no model a/model"),
        ((200, {"choices": []}), "no form of a chat completion"),
    ],
)
def test_what_the_server_says_is_passed_on(server, frames, motion, reply, message):
    server.replies = [reply]
    with pytest.raises(ValueError, match=message):
        segmenter(server).annotate(frames, motion=motion)


def test_no_server_is_told_how_to_start_one(frames, motion):
    language = LanguageModel(model="a/model", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ValueError, match="vllm serve a/model"):
        ServerSegmenter(language=language).annotate(frames, motion=motion)


def test_a_model_must_be_named():
    with pytest.raises(ValueError, match=r"--language\.model"):
        ServerSegmenter()


def test_where_the_server_stands_does_not_change_the_provenance(server):
    assert segmenter(server).settings == segmenter(server, timeout_s=1.0).settings
