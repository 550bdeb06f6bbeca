"""The server: a page, and one WebSocket a page over which its world is driven.

Who may connect: on the loopback interface, pages that this server itself has served (the `Origin`
is the `Host`, and the `Host` is a name of this machine, so that no other web page can drive it).
Beyond it, also those that bring the token that is printed when the server starts.
"""

import asyncio
import contextlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from roboscape.core.errors import UserError
from roboscape.play.host import Host
from roboscape.play.limits import RateLimit
from roboscape.play.messages import Hello, parse, shortened
from roboscape.play.operations import Player
from roboscape.play.session import Outbox, Session
from roboscape.play.stage import Stage

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
HELLO_WITHIN_S = 10.0
REFUSED_IN_A_ROW = 2000
"""Messages beyond the rate after which a connection is ended."""
POLICY, BUSY, ELSEWHERE = 1008, 1013, 4001
"""WebSocket close codes."""
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


@dataclass(frozen=True, kw_only=True)
class Doors:
    """The rule of admission: hosts, origins and the token."""

    token: str | None = None
    """What a page must bring; None on the loopback interface."""

    def admits(self, *, host: str, origin: str | None, token: str | None) -> bool:
        """True if a connection may be opened.

        Args:
            host: The request's `Host`.
            origin: Its `Origin`; browsers always send one with a WebSocket.
            token: What it brought.
        """
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return False
        if self.token is None:
            return hostname(host) in LOOPBACK
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())


def hostname(host: str) -> str:
    """The name in a `Host` header, without port and brackets; empty where it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def make_app(stage: Stage, *, doors: Doors, with_truth: bool) -> Starlette:
    """The application; its host is `app.state.host`."""
    host = Host(stage)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        clock = asyncio.create_task(host.run())
        try:
            yield
        finally:
            clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await clock

    async def connect(socket: WebSocket) -> None:
        await Connection(socket, host=host, doors=doors, with_truth=with_truth).serve()

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/{name}", page),
            WebSocketRoute("/world", connect),
        ],
        middleware=[Middleware(SafeHeaders, doors=doors)],
        lifespan=lifespan,
    )
    app.state.host = host
    return app


async def page(request: Request) -> Response:
    """A file of the page; nothing else of the disk can be named."""
    name = request.path_params.get("name", "index.html")
    path = PAGE / name
    if name not in {one.name for one in PAGE.iterdir()} or path.suffix not in TYPES:
        return PlainTextResponse("there is no such page\n", status_code=404)
    return FileResponse(path, media_type=TYPES[path.suffix])


class SafeHeaders:
    """Adds headers that keep other pages out, and refuses foreign names of this machine."""

    def __init__(self, app: ASGIApp, *, doors: Doors) -> None:
        self._app, self._doors = app, doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if self._doors.token is None and hostname(host) not in LOOPBACK:
            await PlainTextResponse("unknown host\n", status_code=400)(scope, receive, send)
            return

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((key.encode(), value.encode()) for key, value in HEADERS.items()),
                ]
            await send(message)

        await self._app(scope, receive, send_more)


class Connection:
    """One page's WebSocket: reads what it asks for, and sends what is newest."""

    def __init__(self, socket: WebSocket, *, host: Host, doors: Doors, with_truth: bool) -> None:
        self._socket, self._host, self._doors = socket, host, doors
        self._with_truth = with_truth
        self._outbox = Outbox()
        limits = host.stage.limits
        self._rate = RateLimit(
            rate_hz=limits.messages_hz, burst=limits.messages_burst, now_s=time.monotonic()
        )

    async def serve(self) -> None:
        """Serve the page until one side leaves."""
        socket = self._socket
        admitted = self._doors.admits(
            host=socket.headers.get("host", ""),
            origin=socket.headers.get("origin"),
            token=socket.query_params.get("token"),
        )
        if not admitted:
            # Before it is accepted, this is answered with HTTP 403.
            await socket.close(POLICY)
            return
        await socket.accept()
        try:
            session = await self._open()
            if session is not None:
                await self._talk(session)
        except (WebSocketDisconnect, RuntimeError):
            # The page is gone; starlette raises RuntimeError where it left while being sent to.
            return

    async def _open(self) -> Session | None:
        """Wait for the page's greeting; returns its session, None where it gets none."""
        try:
            hello = parse(await asyncio.wait_for(self._receive(), HELLO_WITHIN_S))
            if not isinstance(hello, Hello):
                raise UserError("expected a message of type hello first")
        except (UserError, TimeoutError) as error:
            await self._refuse(POLICY, str(error) or "no hello came")
            return None
        try:
            session = self._host.open(hello.session, self._outbox, with_truth=self._with_truth)
        except UserError as error:
            await self._refuse(BUSY, str(error))
            return None
        self._outbox.tell("welcome", session=session.name, **self._host.stage.about())
        session.show_all()
        return session

    async def _talk(self, session: Session) -> None:
        sender = asyncio.create_task(self._send(session))
        reader = asyncio.create_task(self._read(session))
        try:
            await asyncio.wait([sender, reader], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._host.leave(session, self._outbox)
            for task in (sender, reader):
                task.cancel()
            results = await asyncio.gather(sender, reader, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _read(self, session: Session) -> None:
        """Answer message after message; one that cannot be answered changes nothing."""
        player = Player(self._host, session)
        while True:
            text = await self._receive()
            if not self._rate.allows(time.monotonic()):
                if self._rate.refused == 1:
                    session.tell("error", message="messages come too fast; some are not read")
                if self._rate.refused > REFUSED_IN_A_ROW:
                    self._outbox.close("messages came too fast for too long")
                    return
                continue
            try:
                await player.answer(parse(text))
            except UserError as error:
                self._outbox.tell("error", message=shortened(str(error), most=500))
            except Exception:
                # A bug; the player receives an error, the log its traceback, and the server lives.
                log.exception("a message could not be answered")
                self._outbox.tell("error", message="this could not be done; the log says why")

    async def _receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        text = message.get("text")
        content = message.get("bytes") or b"" if text is None else text
        if len(content) > self._host.stage.limits.message_bytes:
            return b""
        return content

    async def _send(self, session: Session) -> None:
        """Send what is new; while the page is slow, newer frames replace those not sent."""
        outbox, socket = self._outbox, self._socket
        while True:
            await outbox.news()
            while outbox.texts:
                await socket.send_text(json.dumps(outbox.texts.popleft(), allow_nan=False))
            if outbox.status:
                outbox.status = False
                await socket.send_text(json.dumps(session.status(), allow_nan=False))
            if outbox.frame:
                outbox.frame = False
                await socket.send_bytes(session.frame_message())
            if outbox.closed is not None:
                await socket.close(ELSEWHERE, reason=outbox.closed)
                return

    async def _refuse(self, code: int, message: str) -> None:
        text = shortened(message, most=500)
        await self._socket.send_text(json.dumps({"type": "error", "message": text}))
        await self._socket.close(code)
