import http.client
import threading
from urllib.parse import urlparse

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roboscape.core.errors import UserError
from roboscape.policies.remote.serve import ServePolicy, policy_server
from roboscape.policies.remote.server import ServerLimits, served
from tests.policies.remote.tiny import OtherClient, acted_alone, message_of, shown, tiny_policy

SEEN = shown(1)


@pytest.fixture(scope="module")
def address():
    limits = ServerLimits(message_bytes=100_000, connections=3)
    with served(policy_server(tiny_policy(), limits=limits)) as found:
        yield found


@pytest.fixture(autouse=True)
def alive(address):
    """After every test a well-behaved client is answered."""
    yield
    with OtherClient(address) as client:
        assert client.ask(message_of(SEEN)).shape == (8, 2)


def local(seed, *observations):
    policy = tiny_policy()
    policy.reset([seed])
    return [acted_alone(policy, observed, [0])[0] for observed in observations]


def test_a_client_of_openpis_protocol_gets_the_actions_of_the_policy(address):
    seen = shown(1), shown(1, seed=1)
    with OtherClient(address) as client:
        first = client.ask(message_of(seen[0], **{"roboscape/seed": 5}))
        second = client.ask(message_of(seen[1]))
    np.testing.assert_array_equal([first, second], local(5, *seen))


def test_each_connection_has_its_own_noise(address):
    (expected,) = local(5, SEEN)
    with OtherClient(address) as one, OtherClient(address) as other:
        ours = message_of(SEEN, **{"roboscape/seed": 5})
        first = one.ask(ours)
        assert np.abs(other.ask(message_of(SEEN)) - first).max() > 0.01
        np.testing.assert_array_equal(other.ask(ours), expected)
    np.testing.assert_array_equal(first, expected)


def test_the_metadata_describe_the_policy(address):
    with OtherClient(address) as client:
        description = client.metadata["roboscape"]
    assert description["image_keys"]["hand"] == "observation/wrist_image"
    assert description["spec"]["action"]["action_hz"] == 15
    assert description["spec"]["chunk"] == 8


def test_health_is_answered_beside_the_websocket(address):
    connection = http.client.HTTPConnection(urlparse(address).netloc, timeout=20)
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"OK\n")


GARBAGE = {
    "no msgpack": b"\xc1garbage",
    "a text": "hello",
    "nothing": b"",
    "no map": b"\x93\x01\x02\x03",
}


@pytest.mark.parametrize("message", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_answered_by_a_traceback_and_the_connection_ends(address, message):
    with OtherClient(address) as client:
        answer = client.say(message)
        assert answer.startswith("Traceback")
        assert "UserError: expected" in answer
        with pytest.raises(ConnectionClosed) as closed:
            client.socket.recv(timeout=20)
    assert closed.value.rcvd.code == 1011


WRONG = {
    "no image": ({"observation/image": None}, "expected an array at 'observation/image'"),
    "floating-point pixels": ({"observation/image": np.zeros((2, 16, 16, 3))}, "expected uint8"),
    "another size": ({"observation/image": np.zeros((2, 8, 8, 3), np.uint8)}, "16x16x3"),
    "one frame": ({"observation/image": SEEN.rgb["front"][0, 0]}, "--history"),
    "a frame too many": ({"observation/state": np.zeros((3, 2), np.float32)}, "2 frames of 2"),
    "a longer state": ({"observation/state": np.zeros((2, 3), np.float32)}, "2 frames of 2"),
    "a seed that is none": ({"roboscape/seed": "five"}, "whole number"),
    "a negative seed": ({"roboscape/seed": -1}, "whole number"),
}


@pytest.mark.parametrize(("change", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_observation_is_answered_by_what_is_wrong(address, change, reason):
    with OtherClient(address) as client:
        changed = {k: v for k, v in message_of(SEEN, **change).items() if v is not None}
        assert reason in client.ask(changed)


def test_an_oversized_message_is_refused_with_its_code(address):
    with OtherClient(address) as client, pytest.raises(ConnectionClosed) as closed:
        client.say(b"x" * 200_000)
    assert closed.value.rcvd.code == 1009


def test_a_connection_too_many_is_refused_until_one_ends(address):
    clients = [OtherClient(address) for _ in range(3)]
    with pytest.raises(InvalidStatus) as refused:
        OtherClient(address)
    assert refused.value.response.status_code == 503
    for client in clients:
        client.socket.close()


def test_a_web_page_cannot_connect(address):
    with pytest.raises(InvalidStatus) as refused:
        OtherClient(address, origin="http://example.org")
    assert refused.value.response.status_code == 403


def test_clients_that_ask_at_once_are_all_answered_as_if_alone(address):
    seen, found = [shown(1, seed=i) for i in range(3)], {}

    def ask(number):
        with OtherClient(address) as client:
            found[number] = [
                client.ask(
                    message_of(seen[number], **({"roboscape/seed": number} if i == 0 else {}))
                )
                for i in range(4)
            ]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(3):
        np.testing.assert_array_equal(found[number], local(number, *[seen[number]] * 4))


@pytest.mark.parametrize(("history", "older"), [("repeated", 1), ("remembered", 0)])
def test_single_frames_are_made_a_history_where_that_is_asked_for(history, older):
    newest, oldest = shown(1, seed=1, frames=1), shown(1, seed=0, frames=1)
    single = [
        {
            key: value[0] if isinstance(value, np.ndarray) else value
            for key, value in message_of(observed).items()
        }
        for observed in (oldest, newest)
    ]
    running = served(policy_server(tiny_policy(), history=history))
    with running as address, OtherClient(address) as client:
        client.ask(single[0] | {"roboscape/seed": 3})
        second = client.ask(single[1])
    frames = [oldest, oldest], [(oldest, newest)[older], newest]
    np.testing.assert_array_equal(second, local(3, *[joined(pair) for pair in frames])[1])


def joined(frames):
    both = shown(1)
    for name, images in both.rgb.items():
        images[:] = np.concatenate([frame.rgb[name] for frame in frames], axis=1)
    both.state[:] = np.concatenate([frame.state for frame in frames], axis=1)
    return both


def test_a_port_that_is_taken_is_refused(address):
    port = urlparse(address).port
    second = served(policy_server(tiny_policy()), port=port)
    with pytest.raises(UserError, match="choose another --port"), second:
        pass


def test_limits_that_admit_nothing_are_refused():
    with pytest.raises(UserError, match="positive message size"):
        ServePolicy(policy="x", max_connections=0).limits()
