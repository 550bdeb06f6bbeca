"""Being asked to stop: by a person (Ctrl-C) or a scheduler (SIGTERM), in the middle of a step."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(kw_only=True)
class StopRequest:
    """The request to this process to stop, if there was one."""

    number: int = 0
    """The signal; 0 for none."""

    @property
    def made(self) -> bool:
        """True if there was one."""
        return self.number != 0

    def raise_interrupt(self) -> None:
        """Raise what the signal would have raised (in a process that got none, SIGTERM's)."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note the first request instead of stopping at once: half a step cannot be saved.

    A second one interrupts at once. Signals that the process ignores stay ignored, and only the
    main thread can catch any.
    """
    request = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        if request.made:
            raise KeyboardInterrupt
        request.number = number
        log.warning("stopping after this step; ask again to stop at once, without saving")

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    caught = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number in caught:
            signal.signal(number, before[number])
