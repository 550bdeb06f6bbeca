"""A server of openpi's policy protocol for any function from an observation to an answer.

The client connects; the server sends its metadata; then every message is an observation and is
answered by a map with `actions`. An error is answered by its traceback as text, and the connection
is closed, as openpi does; the server goes on. `GET /healthz` is answered by `OK`.

This file is imported by lerobot's environment too: it needs websockets and msgpack alone.
"""

import asyncio
import contextlib
import http
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from roboscape.core.errors import UserError
from roboscape.policies.remote.wire import pack, unpack

log = logging.getLogger(__name__)

Answer = Callable[[dict[Any, Any]], dict[str, Any]]
"""From the content of a message to that of its answer; one connection's, so it may remember."""

INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013
"""Close codes of websockets (RFC 6455 and its registry)."""


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """The limits of a server."""

    message_bytes: int = 64 * 2**20
    """A larger message is refused and its connection closed (code 1009)."""
    connections: int = 64
    """At a time; further ones are refused (HTTP 503)."""

    def __post_init__(self) -> None:
        """Refuse a server that takes nothing."""
        if self.message_bytes < 1 or self.connections < 1:
            raise UserError(
                "expected a positive message size and number of connections, got "
                f"{self.message_bytes} and {self.connections}"
            )


class PolicyServer:
    """Answers observations of several clients, one observation at a time."""

    def __init__(
        self,
        connect: Callable[[], contextlib.AbstractContextManager[Answer]],
        *,
        metadata: dict[str, Any],
        limits: ServerLimits | None = None,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            connect: makes the function that answers a new connection, and ends with it.
            metadata: is sent first to every client.
            limits: what is accepted.
        """
        self._connect, self._metadata = connect, pack(metadata)
        self._limits = limits or ServerLimits()
        self._open = 0
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy")

    async def serve(
        self, host: str, port: int, *, ready: Callable[[int], None], stop: asyncio.Event
    ) -> None:
        """Serve until `stop` is set.

        Args:
            host: address to listen at.
            port: to listen at; 0 takes a free one.
            ready: is given the port as soon as clients can connect.
            stop: ends it.

        Raises:
            ValueError: the address is taken, or is none of this machine.
        """
        from websockets.asyncio.server import serve

        try:
            listening = await serve(
                self._converse,
                host,
                port,
                compression=None,
                max_size=self._limits.message_bytes,
                process_request=self._admit,
                # A web page must not reach a server on its reader's own machine.
                origins=[None],
            )
        except OSError as error:
            raise UserError(
                f"cannot listen at {host}:{port} ({error.strerror}); choose another --port"
            ) from error
        async with listening:
            ready(next(iter(listening.sockets)).getsockname()[1])
            await stop.wait()

    def _admit(self, connection: Any, request: Any) -> Any:
        """Answer what is no websocket, and refuse connections that are too many."""
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if self._open >= self._limits.connections:
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE,
                f"all {self._limits.connections} connections are taken\n",
            )
        return None

    async def _converse(self, connection: Any) -> None:
        """Answer one client until it leaves or asks what cannot be answered."""
        if self._open >= self._limits.connections:
            # Several shook hands while one place was left.
            await connection.close(TRY_AGAIN_LATER, "all connections are taken")
            return
        self._open += 1
        log.info("%s connected", connection.remote_address)
        try:
            with self._connect() as answer:
                await connection.send(self._metadata)
                async for message in connection:
                    if not await self._reply(connection, answer, message):
                        return
        finally:
            self._open -= 1
            log.info("%s left", connection.remote_address)

    async def _reply(self, connection: Any, answer: Answer, message: bytes | str) -> bool:
        """Answer a message; False where it could not be and the connection was closed."""
        try:
            reply = await asyncio.get_running_loop().run_in_executor(
                self._worker, _packed_answer, answer, message
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the client must see it
            log.warning("%s was refused: %s", connection.remote_address, error)
            await connection.send("".join(traceback.format_exception(error)))
            await connection.close(INTERNAL_ERROR, "see the traceback in the message before")
            return False
        await connection.send(reply)
        return True


def _packed_answer(answer: Answer, message: bytes | str) -> bytes:
    """The answer to a message, with the time that it took."""
    started = time.perf_counter()
    observation = unpack(message)
    if not isinstance(observation, dict):
        raise UserError(f"expected a map of observations, got a {type(observation).__name__}")
    reply = answer(observation)
    elapsed_ms = 1000 * (time.perf_counter() - started)
    return pack({**reply, "server_timing": {"infer_ms": elapsed_ms}})


def serve_forever(server: PolicyServer, *, host: str, port: int) -> None:
    """Serve until the process is interrupted."""

    def ready(taken: int) -> None:
        log.info("serving at ws://%s:%d (stop with Ctrl-C)", host, taken)

    async def wait() -> None:
        await server.serve(host, port, ready=ready, stop=asyncio.Event())

    asyncio.run(wait())


@contextlib.contextmanager
def served(server: PolicyServer, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve from a thread of this process; gives the address, `ws://host:port`."""
    loop, stop, found = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    outcome: list[int | BaseException] = []

    def ready(taken: int) -> None:
        outcome.append(taken)
        found.set()

    def work() -> None:
        try:
            loop.run_until_complete(server.serve(host, port, ready=ready, stop=stop))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            outcome.append(error)
        finally:
            found.set()
            loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    found.wait()
    first = outcome[0]
    if isinstance(first, BaseException):
        raise first
    try:
        yield f"ws://{host}:{first}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
