"""The connection of one world to a policy server, which survives that the server goes away."""

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from roboscape.core.errors import UserError
from roboscape.policies.remote.wire import pack, unpack

log = logging.getLogger(__name__)

MESSAGE_TOO_BIG = 1009
"""Close code of websockets."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """The waiting times of a client."""

    answer_s: float = 600.0
    """For an answer: a server compiles its network at the first observation."""
    server_s: float = 60.0
    """For a server that is not there or went away, in all."""
    first_wait_s: float = 0.25
    """Between the first two attempts to connect; each further wait is twice as long."""
    longest_wait_s: float = 8.0
    """Between two attempts."""


class Link:
    """Sends the observations of one world's episode and returns their answers."""

    def __init__(self, address: str, *, patience: Patience, remembers: bool) -> None:
        """Prepare; the connection is made when it is needed.

        Args:
            address: `ws://host:port`.
            patience: how long to wait.
            remembers: whether the server remembers the episode. Then all its observations are sent
                again after a reconnection, so that the answers go on as they would have.
        """
        self._address, self._patience, self._remembers = address, patience, remembers
        self._socket: Any = None
        self._sent: list[bytes] = []
        self.metadata: dict[Any, Any] | None = None

    def open(self) -> dict[Any, Any]:
        """Connect, however often it takes, and return the server's metadata."""
        self._persist(answer=False)
        assert self.metadata is not None
        return self.metadata

    def begin(self, *, reconnect: bool) -> None:
        """Forget the last episode; a server without a sign for that gets a new connection."""
        self._sent = []
        if reconnect:
            self.close()

    def send(self, observation: dict[str, Any]) -> None:
        """Ask; `receive` waits for the answer."""
        message = pack(observation)
        self._sent = [*self._sent, message] if self._remembers else [message]
        try:
            if self._socket is not None:
                self._socket.send(message)
        except _gone() as error:
            self._lose(error)

    def receive(self) -> dict[str, Any]:
        """The answer to the observation that was sent last.

        Raises:
            ValueError: the server refused it, or is gone for longer than patience lasts.
        """
        if self._socket is not None:
            try:
                return self._answer()
            except _gone() as error:
                self._lose(error)
        answer = self._persist(answer=True)
        assert answer is not None
        return answer

    def close(self) -> None:
        """Leave the server."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _persist(self, *, answer: bool) -> dict[str, Any] | None:
        """Connect and, for an answer, send what was sent before; again and again."""
        patience, began = self._patience, time.monotonic()
        wait = patience.first_wait_s
        while True:
            try:
                socket = self._connected()
                last = None
                for message in self._sent if answer else []:
                    socket.send(message)
                    last = self._answer()
                return last
            except _gone() as error:
                self._lose(error)
                left = patience.server_s - (time.monotonic() - began)
                if left <= 0:
                    raise UserError(
                        f"no policy server answers at {self._address} "
                        f"({_reason(error)}), after {patience.server_s:g} s of attempts; start it "
                        "(again) and repeat the command: episodes that have ended are kept"
                    ) from error
                log.info("waiting for %s (%s)", self._address, _reason(error))
                time.sleep(min(wait, left))
                wait = min(2 * wait, patience.longest_wait_s)

    def _connected(self) -> Any:
        """The connection, or one attempt at it; the server must be the one that it was before."""
        from websockets.exceptions import InvalidURI
        from websockets.sync.client import connect

        if self._socket is not None:
            return self._socket
        try:
            self._socket = connect(
                self._address,
                compression=None,
                max_size=None,
                # A server that compiles its network answers no ping in time.
                ping_interval=None,
                open_timeout=10,
            )
        except InvalidURI as error:
            raise UserError(f"expected an address ws://host:port, got {self._address}") from error
        metadata = unpack(self._socket.recv(timeout=self._patience.answer_s))
        if not isinstance(metadata, dict):
            raise UserError(f"{self._address} is no policy server: its first message is no map")
        if self.metadata not in (None, metadata):
            raise UserError(
                f"another policy is served at {self._address} than before the connection was "
                "lost; its answers would not belong to the same experiment"
            )
        self.metadata = metadata
        return self._socket

    def _answer(self) -> dict[str, Any]:
        """The next message, if it is an answer."""
        message = self._socket.recv(timeout=self._patience.answer_s)
        if isinstance(message, str):
            last = message.strip().splitlines()[-1:] or ["(no reason given)"]
            raise UserError(
                f"the policy server at {self._address} could not answer: {last[0]}\n"
                f"Its own report:\n{message.strip()}"
            )
        answer = unpack(message)
        if not isinstance(answer, dict) or not isinstance(answer.get("actions"), np.ndarray):
            raise UserError(
                f"expected a map with the array `actions` from {self._address}, got "
                f"{sorted(map(str, answer)) if isinstance(answer, dict) else type(answer).__name__}"
            )
        return answer

    def _lose(self, error: Exception) -> None:
        """Drop a connection that broke; a message that is too large would break the next too."""
        received = getattr(error, "rcvd", None)
        if received is not None and received.code == MESSAGE_TOO_BIG:
            raise UserError(
                f"an observation of {len(self._sent[-1])} bytes is too large for the server at "
                f"{self._address}; make its limit larger (--max-message-mib), or the images smaller"
            ) from error
        try:
            self.close()
        except _gone():
            self._socket = None


def _gone() -> tuple[type[Exception], ...]:
    """The errors that mean that a server is not there."""
    from websockets.exceptions import WebSocketException

    return (OSError, EOFError, WebSocketException)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
