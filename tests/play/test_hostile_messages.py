"""Malformed, huge and hostile messages: an error answers them, and the server lives."""

import json
import random
import string

import pytest

from roboscape.core.errors import UserError
from roboscape.play.messages import KINDS, parse
from roboscape.play.server import Doors, hostname
from tests.play.pages import LEFT, Page, play, with_limits

MESSAGES = 10_000
NASTY = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**53 + 1, -(10**30), 1e308, -0.0, 0.5, 1e-320, "", "0",
    "\ud800", "é" * 50, "../../etc/passwd", "<script>", "\x00", [], {}, [[]], [None], [1e400],
    [0.0] * 3, [9.0] * 3, [0.0] * 1000, {"episode": -1}, {"episode": 10**15}, {"x": {"y": []}},
    {"front": "AAAA"}, {"front": "%"}, {"front": 5}, {"nobody": ""},
)  # fmt: skip
FIELDS = (
    "seed", "episode", "row", "rgb", "state", "values", "sequence", "value", "frame", "future",
    "by", "settings", "shown", "temperature", "number", "session", "__class__",
)  # fmt: skip


def hostile(random_numbers: random.Random) -> str:
    """A message that is wrong in one of many ways, or by chance right."""
    way = random_numbers.randrange(10)
    if way == 0:
        return "".join(random_numbers.choices(string.printable, k=random_numbers.randrange(60)))
    if way == 1:
        return "[" * random_numbers.randrange(1, 3000)
    if way == 2:
        return '{"type": "command", "values": [' + "9" * random_numbers.randrange(1, 6000) + "]}"
    if way == 3:
        word = random_numbers.choice(["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
        return f'{{"type": "command", "values": [0, {word}, 0]}}'
    kind = random_numbers.choice([*KINDS, "nobody", "", 3, None])
    content = {"type": kind}
    for _ in range(random_numbers.randrange(4)):
        content[random_numbers.choice(FIELDS)] = random_numbers.choice(NASTY)
    text = json.dumps(content)
    if way == 4:
        place = random_numbers.randrange(len(text))
        text = text[:place] + random_numbers.choice('}{][,:"\\\x01é') + text[place + 1 :]
    return text


def test_ten_thousand_hostile_messages_are_answered_and_the_world_still_plays(stage):
    random_numbers = random.Random(0)
    messages = [hostile(random_numbers) for _ in range(MESSAGES)]
    # Recording is a matter of disk, tried elsewhere; frames take time.
    messages = [text for text in messages if '"record"' not in text]

    async def story(app):
        async with Page(app) as page:
            await page.begun()
            for start in range(0, len(messages), 500):
                for text in messages[start : start + 500]:
                    page.send_text(text)
                page.send("ping", number=start)
                await drained(page, start)
            page.send("start_episode", episode=0)
            await drained(page, None, kind="frame")
            page.send("sample", temperature=0.0)
            page.send("step", values=LEFT, sequence=31)
            await drained(page, 31, kind="frame", key="sequence")
            return page.errors, len(app.state.host.sessions)

    errors, worlds = play(stage, story)
    assert worlds == 1
    assert errors["the log says why"] == 0
    assert errors["all"] > 10


async def drained(page, number, *, kind="pong", key="number"):
    """Read until an answer, and count the errors on the way."""
    errors = page.__dict__.setdefault("errors", {"all": 0, "the log says why": 0})
    while True:
        found, content, _ = await page.next()
        assert found != "websocket.close", content
        if found == "error":
            errors["all"] += 1
            errors["the log says why"] += "the log says why" in content["message"]
        if found == kind and (number is None or content.get(key) == number):
            return


def test_every_hostile_message_is_a_user_error_or_a_message():
    random_numbers = random.Random(1)
    refused = 0
    for _ in range(MESSAGES):
        try:
            assert type(parse(hostile(random_numbers))) in KINDS.values()
        except UserError as error:
            refused += 1
            assert len(str(error)) < 2000
            str(error).encode()
    assert refused > MESSAGES / 2


@pytest.mark.parametrize("greeting", ["", "{}", '{"type": "run"}', "[" * 10_000, "\x00"])
def test_a_page_that_does_not_greet_is_sent_away(stage, greeting):
    async def story(app):
        async with Page(app) as page:
            page.send_text(greeting)
            await page.wait_for("error")
            await page.wait_for("websocket.close")
            return page.closed, app.state.host.sessions

    closed, sessions = play(stage, story)
    assert closed == 1008 and not sessions


def test_a_message_beyond_the_largest_size_is_not_read(stage):
    async def story(app):
        async with Page(app) as page:
            await page.begun()
            page.send_text(json.dumps({"type": "ping", "number": 1, "more": "x" * 5000}))
            await page.wait_for("error")
            page.send("ping", number=2)
            return (await page.wait_for("pong"))["number"]

    assert play(with_limits(stage, message_bytes=4000), story) == 2


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"origin": "http://elsewhere.example"}, b""),
        ({"host": "attacker.example", "origin": "http://attacker.example"}, b""),
        ({"origin": "null"}, b""),
        ({"origin": "http://localhost:9999"}, b""),
    ],
)
def test_other_web_pages_cannot_drive(stage, headers, query):
    async def story(app):
        async with Page(app, headers=headers, query=query) as page:
            kind, _, _ = await page.next()
            return kind, app.state.host.sessions

    kind, sessions = play(stage, story)
    assert kind == "websocket.close" and not sessions


def test_beyond_this_machine_only_the_token_opens_the_door():
    doors = Doors(token="secret")
    asked = {"host": "robot.lan:8000", "origin": "http://robot.lan:8000"}
    assert doors.admits(**asked, token="secret")
    assert not doors.admits(**asked, token="secre")
    assert not doors.admits(**asked, token="")
    assert not doors.admits(**asked, token=None)
    assert not doors.admits(host="robot.lan:8000", origin="http://other.lan", token="secret")


@pytest.mark.parametrize("host", ["", "[", "localhost.attacker.example", "127.0.0.1.nip.io", "a:b"])
def test_names_that_only_look_like_this_machine_are_foreign(host):
    assert not Doors().admits(host=host, origin=None, token=None)
    assert isinstance(hostname(host), str)
