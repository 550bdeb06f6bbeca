"""The prediction server, asked over HTTP as WorldArena 2's evaluator asks it."""

import base64
import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from roboscape.core.errors import UserError
from roboscape.play.play import listen
from roboscape.play.prediction_request import RequestReader
from roboscape.play.predictions import ServePredictions, run
from roboscape.rollout.sampling import Sampling
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import FrameStart

uvicorn = pytest.importorskip("uvicorn", reason="the extra `play` is not installed")
prediction_server = pytest.importorskip("roboscape.play.prediction_server")

SIDE, NATIVE, STRIDE = 64, 3, 2
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (3, STRIDE * NATIVE)).astype(np.float32)
STATE = np.array([0.5, -0.25], np.float32)


@contextlib.contextmanager
def serving(bundle, *, token=None, temperature=0.0):
    """A service and its address, on a thread of its own."""
    sampling = Sampling(temperature=temperature)
    simulator = LearnedSimulator(bundle, cameras=("front",), sampling=sampling, decode="rgb")
    service = prediction_server.PredictionService(simulator, version="v1", profile_id="ours")
    config = uvicorn.Config(service.app(prediction_server.Doors(token=token)), log_level="critical")
    server, listening = uvicorn.Server(config), listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield service, f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def served(tiny_bundle):
    with serving(tiny_bundle) as found:
        yield found


def asked(address, path, body=None, **headers):
    """Status and JSON of an answer."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    request = urllib.request.Request(address + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def png(pixels):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def image_object(pixels, *, space="RGB", channels=3):
    size = {"height": pixels.shape[0], "width": pixels.shape[1]}
    about = {"encoding": "png_base64", "color_space": space, "channels": channels}
    return about | size | {"data": png(pixels)}


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3), np.uint8)


def depth_mm():
    return np.full((SIDE, SIDE), 750, np.uint16)


def sample(name="one", *, seed=7, shows=0):
    context = {
        "frames": [image_object(picture(shows))],
        "actions": [],
        "states": [STATE.tolist()],
        "depths": [image_object(depth_mm(), space="DEPTH_MM", channels=1)],
    }
    return {"sample_id": name, "seed": seed, "context": context, "actions": ACTIONS.tolist()}


def request(*samples):
    return {
        "api_version": "1.0",
        "request_id": str(uuid.uuid4()),
        "model_version": "v1",
        "profile_id": "ours",
        "samples": list(samples or (sample(),)),
    }


def frames_of(address, *samples, **headers):
    """Pixels of every sample by its name."""
    status, content = asked(address, "/v1/predict", request(*samples), **headers)
    assert status == 200, content
    found = {}
    for one in content["predictions"]:
        data = [base64.b64decode(frame["data"]) for frame in one["frames"]]
        found[one["sample_id"]] = np.stack([np.array(Image.open(BytesIO(each))) for each in data])
    return found


def test_frames_are_those_that_the_simulator_imagines(served, tiny_bundle):
    simulator = LearnedSimulator(tiny_bundle, cameras=("front",))
    depth_m = depth_mm().astype(np.float32) / 1000
    start = FrameStart(rgb={"front": picture()}, depth_m={"front": depth_m}, state=STATE)
    simulator.reset([start])
    expected = [
        simulator.step(row.reshape(1, STRIDE, NATIVE)).rgb["front"][0].copy() for row in ACTIONS
    ]
    np.testing.assert_array_equal(frames_of(served[1], sample())["one"], np.stack(expected))


def test_a_frame_is_a_png_without_metadata(served):
    _, content = asked(served[1], "/v1/predict", request())
    (prediction,) = content["predictions"]
    assert len(prediction["frames"]) == len(ACTIONS)
    for frame in prediction["frames"]:
        image = Image.open(BytesIO(base64.b64decode(frame.pop("data"))))
        assert (image.format, image.mode, image.info) == ("PNG", "RGB", {})
        wanted = {"encoding": "png_base64", "color_space": "RGB", "channels": 3}
        assert frame == wanted | {"height": SIDE, "width": SIDE}


def test_the_same_seed_gives_the_same_pixels_whatever_else_is_asked(tiny_bundle):
    others = sample("other", seed=8), sample("shows", shows=1)
    with serving(tiny_bundle, temperature=1.0) as (_, address):
        alone = frames_of(address, sample())["one"]
        together = frames_of(address, *others, sample())
        again = frames_of(address, sample(), others[0])
    np.testing.assert_array_equal(alone, together["one"])
    np.testing.assert_array_equal(alone, again["one"])
    np.testing.assert_array_equal(together["other"], again["other"])
    assert (together["one"] != together["other"]).any()


def test_capabilities_say_what_is_accepted(served):
    status, content = asked(served[1], "/v1/capabilities")
    (profile,) = content["profiles"]
    assert (status, content["model_version"], profile["profile_id"]) == (200, "v1", "ours")
    assert profile["image"]["height"] == profile["image"]["width"] == SIDE
    assert profile["action"]["dimension"] == STRIDE * NATIVE
    assert profile["state"] == {"supported": True, "dimension": 2}
    assert profile["instruction"] == {"supported": False}
    assert profile["roboscape"]["depth_required"] is True
    assert content["determinism"] == {"seed_supported": True, "same_seed_same_pixels": True}
    most = content["limits"]["max_batch_size"]
    assert len(frames_of(served[1], *(sample(str(n)) for n in range(most)))) == most


def set_at(content, path, value):
    """Replace the value at a path of keys and indices; delete it where the value is ...."""
    for key in path[:-1]:
        content = content[key]
    if value is ...:
        del content[path[-1]]
    else:
        content[path[-1]] = value


CONTEXT = ("samples", 0, "context")
IMAGE = (*CONTEXT, "frames", 0)
WRONG = {
    "a request id that is no UUID": (("request_id",), "7", "UUID"),
    "no samples": (("samples",), [], "1 to 8 samples"),
    "too many samples": (("samples",), [sample(str(n)) for n in range(9)], "1 to 8 samples"),
    "a sample twice": (("samples",), [sample(), sample()], "sample_id once"),
    "a sample that is a number": (("samples", 0), 3, "samples[0].seed"),
    "half a character": (("samples", 0, "sample_id"), "\ud800", "samples[0].sample_id"),
    "a seed below 0": (("samples", 0, "seed"), -1, "samples[0].seed"),
    "a seed too large": (("samples", 0, "seed"), 2**63, "samples[0].seed"),
    "a seed that is true": (("samples", 0, "seed"), True, "samples[0].seed"),
    "no actions": (("samples", 0, "actions"), [], "samples[0].actions"),
    "an action too short": (("samples", 0, "actions", 1), [0.0] * 5, "rows of 6"),
    "an action that is NaN": (("samples", 0, "actions", 1, 0), float("nan"), "finite"),
    "an endless action": (("samples", 0, "actions", 1, 0), 10**400, "finite"),
    "an action of text": (("samples", 0, "actions", 1, 0), "1", "finite"),
    "too many actions": (("samples", 0, "actions"), [[0.0] * 6] * 65, "1 to 64 rows"),
    "no image": ((*CONTEXT, "frames"), [], "one image"),
    "an action before the first frame": ((*CONTEXT, "actions"), [[0.0] * 6], "one image"),
    "no state": ((*CONTEXT, "states"), ..., "context.states to be 1 to 1 rows of 2"),
    "an instruction that is not read": ((*CONTEXT, "instruction"), "lift", "instruction"),
    "no depth": ((*CONTEXT, "depths"), ..., "DEPTH_MM"),
    "a hole in the depth": (
        (*CONTEXT, "depths", 0, "data"),
        png(np.zeros((SIDE, SIDE), np.uint16)),
        "more than 0 mm",
    ),
    "depth of 8 bits": (
        (*CONTEXT, "depths", 0, "data"),
        png(np.ones((SIDE, SIDE), np.uint8)),
        "16 bits",
    ),
    "another declared size": ((*IMAGE, "width"), 128, "width"),
    "another true size": ((*IMAGE, "data"), png(picture()[:32]), "64 x 64"),
    "an image with alpha": (
        (*IMAGE, "data"),
        png(np.zeros((SIDE, SIDE, 4), np.uint8)),
        "alpha",
    ),
    "a grey image": ((*IMAGE, "data"), png(picture()[..., 0]), "palette"),
    "half an image": ((*IMAGE, "data"), png(picture())[:400], "PNG"),
    "an image that is no base64": ((*IMAGE, "data"), "!", "base64"),
    "an image that is a list": (IMAGE, [1, 2], "frames[0]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_answered_by_what_was_expected(served, name):
    path, value, words = WRONG[name]
    content = request()
    set_at(content, path, value)
    status, answer = asked(served[1], "/v1/predict", content)
    error = answer["error"]
    assert (status, error["code"], error["retryable"]) == (400, "INVALID_ARGUMENT", False)
    assert words in error["message"]
    assert len(error["message"]) < 1100
    assert error["request_id"] == (None if path == ("request_id",) else content["request_id"])
    assert asked(served[1], "/v1/health")[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"[]", b"9" * 9999])
def test_what_is_no_json_object_is_refused(served, body):
    status, answer = asked(served[1], "/v1/predict", body)
    assert (status, answer["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert answer["error"]["request_id"] is None


@pytest.mark.parametrize("name", ["api_version", "model_version", "profile_id"])
def test_other_versions_are_refused(served, name):
    status, answer = asked(served[1], "/v1/predict", request() | {name: "2.0"})
    assert (status, answer["error"]["code"]) == (422, "UNSUPPORTED_VERSION")


def test_a_request_id_has_one_payload(served):
    content = request()
    first = asked(served[1], "/v1/predict", content)
    assert asked(served[1], "/v1/predict", content) == first
    content["samples"][0]["seed"] += 1
    status, answer = asked(served[1], "/v1/predict", content)
    assert (status, answer["error"]["code"]) == (409, "REQUEST_ID_CONFLICT")


def test_a_request_that_is_too_large_is_refused(served, monkeypatch):
    monkeypatch.setattr(prediction_server, "MOST_BYTES", 1000)
    status, answer = asked(served[1], "/v1/predict", request())
    assert (status, answer["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_a_request_too_many_is_refused_until_one_is_answered(served, monkeypatch):
    service, address = served
    monkeypatch.setattr(prediction_server, "MOST_AT_ONCE", 1)
    free = threading.Event()
    service._worker.submit(free.wait)
    waiting = threading.Thread(target=frames_of, args=(address,))
    waiting.start()
    try:
        while service._open == 0:
            time.sleep(0.01)
        status, answer = asked(address, "/v1/predict", request())
    finally:
        free.set()
        waiting.join()
    error = answer["error"]
    assert (status, error["code"], error["retryable"]) == (429, "OVERLOADED", True)
    assert asked(address, "/v1/predict", request())[0] == 200


def test_a_bug_shows_nothing_and_the_server_goes_on(served, monkeypatch):
    service, address = served
    with monkeypatch.context() as planted:
        planted.setattr(service, "imagine", lambda _: 1 / 0)
        status, answer = asked(address, "/v1/predict", request())
    assert (status, answer["error"]["code"]) == (500, "INTERNAL")
    assert "division" not in answer["error"]["message"]
    assert asked(address, "/v1/predict", request())[0] == 200


def test_only_the_token_opens_more_than_health(tiny_bundle):
    with serving(tiny_bundle, token="secret") as (_, address):
        assert asked(address, "/v1/health")[0] == 200
        for wrong in ({}, {"authorization": "Bearer other"}, {"authorization": "Basic secret"}):
            status, answer = asked(address, "/v1/capabilities", **wrong)
            assert (status, answer["error"]["code"]) == (401, "UNAUTHENTICATED")
            assert asked(address, "/v1/predict", request(), **wrong)[0] == 401
        assert asked(address, "/v1/capabilities", authorization="Bearer secret")[0] == 200


def test_a_web_page_cannot_ask(served):
    for headers in ({"origin": "http://elsewhere.org"}, {"host": "elsewhere.org"}):
        status, answer = asked(served[1], "/v1/predict", request(), **headers)
        assert (status, answer["error"]["code"]) == (403, "PERMISSION_DENIED")
    assert asked(served[1], "/v1/predict", request(), content_type="text/plain")[0] == 400


def test_another_address_is_answered_in_json_too(served):
    assert asked(served[1], "/v1/other")[0] == 404
    status, answer = asked(served[1], "/v1/predict")
    assert (status, answer["error"]["code"]) == (405, "INVALID_ARGUMENT")


def test_a_model_of_tasks_reads_the_instruction(bundle_of_tasks):
    reader = RequestReader(LearnedSimulator(bundle_of_tasks, cameras=("front",)))
    assert reader.profile()["instruction"] == {"supported": True}
    content = sample()
    assert reader.samples([content])[0].start.task == ""
    content["context"]["instruction"] = "lift the cube"
    assert reader.samples([content])[0].start.task == "lift the cube"


def test_several_cameras_are_one_image_from_top_to_bottom(tiny_bundle):
    reader = RequestReader(LearnedSimulator(tiny_bundle, cameras=("front",)))
    reader.cameras, reader.size = ["front", "wrist"], (2 * SIDE, SIDE)
    content = sample()
    both = np.concatenate([picture(0), picture(1)])
    content["context"]["frames"] = [image_object(both)]
    tall = np.concatenate([depth_mm(), depth_mm() + 1])
    content["context"]["depths"] = [image_object(tall, space="DEPTH_MM", channels=1)]
    start = reader.samples([content])[0].start
    np.testing.assert_array_equal(start.rgb["wrist"], picture(1))
    np.testing.assert_allclose(start.depth_m["wrist"], 0.751)


def test_beyond_this_machine_a_token_is_needed(tmp_path):
    for wrong in (
        {"host": "0.0.0.0"},
        {"token_file": tmp_path / "none"},
        {"host": "0.0.0.0", "token_file": tmp_path / "none"},
    ):
        with pytest.raises(UserError, match="--token-file"):
            run(ServePredictions(port=0, **wrong))
