"""A stage of tiny models, and a page that talks to the application without a network."""

import asyncio
import contextlib
import json
from dataclasses import replace

import numpy as np

from roboscape.play.frames import unpack
from roboscape.play.limits import Limits
from roboscape.play.server import Doors, make_app
from roboscape.play.stage import Stage
from roboscape.play.worlds import codec_of, imagined_worlds
from roboscape.rollout.identity import Checkpoint

LIMITS = Limits(messages_hz=1e6, messages_burst=10**6)


class Page:
    """A page: sends messages, and keeps what arrives."""

    def __init__(self, app, *, headers=None, query=b""):
        given = {"host": "localhost:8000", "origin": "http://localhost:8000"} | (headers or {})
        self.scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "path": "/world",
            "query_string": query,
            "headers": [(k.encode(), v.encode()) for k, v in given.items() if v is not None],
            "subprotocols": [],
        }
        self._app = app
        self._to_app, self._from_app = asyncio.Queue(), asyncio.Queue()
        self.closed, self.sequence = None, 1000
        self.slow = asyncio.Event()
        self.slow.set()

    async def __aenter__(self):
        self._to_app.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.create_task(self._app(self.scope, self._to_app.get, self._take))
        return self

    async def __aexit__(self, *_):
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1001})
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._task, 20)

    async def _take(self, message):
        await self.slow.wait()
        if message["type"] == "websocket.close":
            self.closed = message["code"]
        self._from_app.put_nowait(message)

    def send(self, kind, **content):
        self.send_text(json.dumps({"type": kind, **content}))

    def send_text(self, text):
        self._to_app.put_nowait({"type": "websocket.receive", "text": text})

    async def next(self):
        """The next message: (type, content, arrays)."""
        message = await asyncio.wait_for(self._from_app.get(), 20)
        if message["type"] != "websocket.send":
            return message["type"], message, {}
        if message.get("text") is not None:
            content = json.loads(message["text"])
            return content["type"], content, {}
        header, arrays = unpack(message["bytes"])
        return header["type"], header, arrays

    async def wait_for(self, kind, condition=lambda content: True):
        """The next message of a kind that meets a condition; others may come in between."""
        async with asyncio.timeout(60):
            while True:
                found, content, arrays = await self.next()
                assert found != "websocket.close" or kind == found, f"closed: {content}"
                if found == "error" and kind != "error":
                    raise AssertionError(content["message"])
                if found == kind and condition(content):
                    return (content, arrays) if kind == "frame" else content

    async def begun(self, **hello):
        """Say hello, and begin with the first row of the first episode."""
        self.send("hello", **hello)
        welcome = await self.wait_for("welcome")
        self.send("start_episode", episode=0)
        await self.wait_for("frame")
        return welcome

    async def step(self, values):
        """Take a frame; returns it."""
        self.sequence += 1
        number = self.sequence
        self.send("step", values=values, sequence=number)
        return await self.wait_for("frame", lambda header: header["sequence"] == number)


@contextlib.contextmanager
def opened(bundle, dataset, output, *, limits=LIMITS, truth=None):
    found = Stage(
        checkpoint=Checkpoint(name="tiny", sha256="ab" * 32),
        imagined=imagined_worlds(bundle, cameras=("front",), task=""),
        truth=truth,
        dataset=dataset,
        recordings=dataset.spec,
        cameras=("front",),
        side_px=bundle.tokenizer.config.image_size,
        state_size=bundle.controls.statistics.state_size,
        codec=codec_of(bundle),
        output=output / "play",
        limits=limits,
    )
    try:
        yield found
    finally:
        found.close()


@contextlib.asynccontextmanager
async def served(stage, *, doors=None, with_truth=False):
    """The application with its clock running."""
    app = make_app(stage, doors=doors or Doors(), with_truth=with_truth)
    async with app.router.lifespan_context(app):
        yield app


def play(stage, story, **settings):
    """Run a story `async def story(app)` against a served stage."""

    async def tell():
        async with served(stage, **settings) as app:
            return await story(app)

    return asyncio.run(tell())


def with_limits(stage, **changes):
    return replace(stage, limits=replace(stage.limits, **changes))


LEFT, RIGHT, STILL = [-1.0, 0.0, -1.0], [1.0, 0.0, -1.0], [0.0, 0.0, -1.0]


def same(first, second):
    """Whether two frames' pictures are equal."""
    return all(np.array_equal(first[name], second[name]) for name in ("rgb/front", "depth/front"))
