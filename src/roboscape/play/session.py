"""One player's session: the world's past, who drives it, and what the player's page is to show."""

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from roboscape.dataset.records import Split
from roboscape.play.drivers.hands import HandDriver
from roboscape.play.drivers.protocol import Driver
from roboscape.play.frames import Frame, Pictures, arrays_of, compare, pack
from roboscape.play.history import History, WorldCopy
from roboscape.play.pool import Kept
from roboscape.play.worlds import Seen, Turn
from roboscape.simulators.protocol import WorldSpec

SETTLING_FRAMES = 5
"""Frames for which a world goes on after its last command; it then waits for the next one."""
TEXTS = 32
"""Texts that wait for a page at most; the oldest are dropped."""


class Outbox:
    """The messages that wait for a page: the newest frame and status, and a few texts."""

    def __init__(self) -> None:
        self.texts: deque[dict[str, Any]] = deque(maxlen=TEXTS)
        self.frame = self.status = False
        """Whether there is a newer one than was sent."""
        self.closed: str | None = None
        """Why the connection is to end."""
        self._news = asyncio.Event()

    def tell(self, kind: str, **content: Any) -> None:
        """Send a text soon."""
        self.texts.append({"type": kind, **content})
        self._news.set()

    def show(self, *, frame: bool = True, status: bool = False) -> None:
        """Send the newest frame, or the status, as soon as the page has taken the last one."""
        self.frame, self.status = self.frame or frame, self.status or status
        self._news.set()

    def close(self, reason: str) -> None:
        """End the connection."""
        self.closed = reason
        self._news.set()

    async def news(self) -> None:
        """Wait for something to send."""
        await self._news.wait()
        self._news.clear()


@dataclass(frozen=True, kw_only=True)
class Began:
    """The beginning of the present world, as recordings keep it."""

    words: str
    """For people."""
    about: Mapping[str, Any]
    """For programs."""
    seed: int
    """Of the scene; an episode's own."""
    split: Split | None = None
    """Of the recorded episode that it began in; None: by the seed."""
    task: str = ""


@dataclass(kw_only=True)
class Session:
    """A player's world, its past and its page. Changed in the server's thread only."""

    name: str
    """Secret of the page."""
    spec: WorldSpec
    history: History
    hands: HandDriver
    with_truth: bool
    """Whether the next start has a true world beside it."""
    now_s: float
    temperature: float = 0.0
    seed: int = 0
    """Of what is drawn."""
    speed: float = 1.0
    running: bool = False
    waiting: bool = False
    """Whether it runs without any command."""
    view: tuple[int, int] | None = None
    """Future and number of the frame that is looked at; None: the newest."""
    other: int | None = None
    """The future that is shown beside the present one."""
    driver: Driver | None = None
    """None: the player's hands."""
    driven_by: str = "hands"
    began: Began | None = None
    outbox: Outbox | None = None
    """Of the page; None while it is closed."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the worlds change."""
    due_s: float = 0.0
    """Time of the next frame."""
    frame_begun_s: float = 0.0
    """Time up to which commands went into frames."""
    heard_s: float = 0.0
    """Time of the last message."""
    still_frames: int = 0
    """Frames since the last command."""
    sequence: int = 0
    """Number of the last command that went into the newest frame."""
    durations_ms: deque[float] = field(default_factory=lambda: deque(maxlen=20))
    """Time that the last frames took to compute."""
    recorded: list[str] = field(default_factory=list)
    """Episodes that were written."""

    def __post_init__(self) -> None:
        """The first message has been heard."""
        self.heard_s = self.due_s = self.frame_begun_s = self.now_s

    @property
    def has_begun(self) -> bool:
        """True if there is a world."""
        return self.history.present in self.history.futures

    @property
    def has_truth(self) -> bool:
        """True if the present world has a true one beside it."""
        return self.has_begun and self.history.now.frames[-1].truth is not None

    @property
    def period_s(self) -> float:
        """Seconds from one frame to the next; 0: as fast as can be."""
        return 0.0 if self.speed == 0 else 1 / (self.spec.frame_hz * self.speed)

    @property
    def at_the_end(self) -> bool:
        """True if the newest frame is looked at, which is where the worlds are."""
        now = self.history.now
        return self.view is None or self.view == (now.number, now.last)

    def begin(self, imagined: Seen, truth: Seen | None, *, began: Began) -> None:
        """A new world, and no past."""
        assert imagined.copy is not None
        pictures = None if truth is None else truth.pictures
        first = Frame(
            imagined=imagined.pictures,
            truth=pictures,
            psnr_db=compare(imagined.pictures, pictures),
        )
        self.history.begin(
            first,
            WorldCopy(imagined=imagined.copy, truth=None if truth is None else truth.copy),
        )
        self.began, self.view, self.other = began, None, None
        self.hands, self.sequence = HandDriver(self.spec), 0
        self.still_frames = 0
        self.give_wheel(None)
        self.show_all()

    def give_wheel(self, driver: Driver | None, *, by: str = "hands") -> None:
        """Let another driver choose the actions; None: the player's hands."""
        if self.driver is not None:
            self.driver.close()
        self.driver, self.driven_by = driver, by

    async def turn(self, now_s: float) -> Turn | None:
        """The next frame's actions; None where none is to be taken.

        A driver that thinks is waited for. Where the hands take over meanwhile, theirs are taken;
        where the player pauses, none are.
        """
        begin_s, self.frame_begun_s = self.frame_begun_s, now_s
        if self.waiting:
            begin_s, self.waiting = self.hands.first_change_s(now_s), False
        by_hand = self.driver is None
        still = by_hand and self.hands.is_neutral
        self.still_frames = self.still_frames + 1 if still else 0
        future = self.history.now
        # Commands are taken whichever driver acts, so that none of them waits for a later driver.
        actions, sequence = self.hands.take(begin_s, now_s), self.hands.sequence
        if self.driver is not None:
            driver, was_running = self.driver, self.running
            chosen = await driver.actions(future)
            if was_running and not self.running:
                return None
            if self.driver is not driver:
                chosen, sequence = self.hands.take(now_s, time.monotonic()), self.hands.sequence
            if chosen is None:
                self._end(driver)
                return None
            actions = chosen
        return Turn(
            actions=np.asarray(actions, np.float32),
            temperature=self.temperature,
            copies=(future.last + 1) % future.spacing == 0,
            sequence=sequence,
        )

    def _end(self, driver: Driver) -> None:
        """Pause: the driver has no more actions."""
        self.running = False
        self.give_wheel(None)
        self.tell("notice", message=driver.ending)
        self.show_status()

    def took(self, turn: Turn, imagined: Seen, truth: Seen | None, *, duration_s: float) -> None:
        """The worlds have taken a frame."""
        pictures = None if truth is None else truth.pictures
        self.history.add(
            Frame(
                imagined=imagined.pictures,
                truth=pictures,
                actions=turn.actions,
                temperature=turn.temperature,
                psnr_db=compare(imagined.pictures, pictures),
            )
        )
        if imagined.copy is not None:
            self.history.now.add_copy(
                WorldCopy(imagined=imagined.copy, truth=None if truth is None else truth.copy)
            )
        self.view, self.sequence = None, turn.sequence
        self.durations_ms.append(1000 * duration_s)
        self.show()

    def restarted(self, imagined: Seen, truth: Kept) -> None:
        """The imagined world was put to the true one's present frame, a copy of which is kept."""
        assert imagined.copy is not None
        future = self.history.now
        last = future.frames[-1]
        future.frames[-1] = replace(
            last,
            imagined=imagined.pictures,
            restarted=True,
            psnr_db=compare(imagined.pictures, last.truth),
        )
        future.add_copy(WorldCopy(imagined=imagined.copy, truth=truth))
        self.show_all()

    def resampled(self, imagined: Kept, truth: Kept | None) -> None:
        """Later frames are drawn otherwise; both worlds were copied."""
        future = self.history.now
        future.frames[-1] = replace(future.frames[-1], resampled=True)
        future.add_copy(WorldCopy(imagined=imagined, truth=truth))

    def shown(self) -> tuple[int, int]:
        """Future and number of the frame that the page shows."""
        now = self.history.now
        number, frame = self.view or (now.number, now.last)
        if number not in self.history.futures:
            return now.number, now.last
        future = self.history.futures[number]
        return number, min(max(frame, future.first), future.last)

    def tell(self, kind: str, **content: Any) -> None:
        """Send the page a text."""
        if self.outbox is not None:
            self.outbox.tell(kind, **content)

    def show(self) -> None:
        """Show the page the newest frame."""
        if self.outbox is not None:
            self.outbox.show()

    def show_status(self) -> None:
        """Show the page all but the pictures."""
        if self.outbox is not None:
            self.outbox.show(frame=False, status=True)

    def show_all(self) -> None:
        """Show the page everything anew."""
        if self.outbox is not None:
            self.outbox.show(frame=self.has_begun, status=True)
            if self.has_begun:
                self.outbox.tell("curve", **self.curve())

    def curve(self) -> dict[str, Any]:
        """PSNR of the frames of the future that is looked at."""
        number, _ = self.shown()
        future = self.history.futures[number]
        return {
            "future": number,
            "first": future.first,
            "psnr_db": [_rounded(frame.psnr_db) for frame in future.frames],
        }

    def status(self) -> dict[str, Any]:
        """All but the pictures."""
        futures = [
            {
                "number": one.number,
                "first": one.first,
                "last": one.last,
                "parted_at": one.parted_at,
                "parted_from": one.parted_from,
            }
            for one in self.history.futures.values()
        ]
        return {
            "type": "status",
            "running": self.running,
            "waiting": self.waiting,
            "speed": self.speed,
            "temperature": self.temperature,
            "seed": self.seed,
            "with_truth": self.with_truth,
            "has_truth": self.has_truth,
            "driven_by": self.driven_by,
            "driver": None
            if self.driver is None
            else {
                "words": self.driver.words,
                "mark": None if self.driver.mark is None else vars(self.driver.mark),
            },
            "futures": futures,
            "present": self.history.present if self.has_begun else None,
            "other": self.other,
            "began": self.began.words if self.began else None,
            "recorded": self.recorded[-3:],
        }

    def frame_message(self) -> bytes:
        """The frame that is looked at, as `frames.pack` writes it."""
        number, place = self.shown()
        future = self.history.futures[number]
        frame = future.frame(place)
        beside = self._beside(place)
        header = {
            "type": "frame",
            "future": number,
            "frame": place,
            "first": future.first,
            "last": future.last,
            "time_s": round(place / self.spec.frame_hz, 3),
            "newest": self.at_the_end,
            "restarted": frame.restarted,
            "psnr_db": _rounded(frame.psnr_db),
            "other_psnr_db": _rounded(
                compare(frame.imagined, None if beside is None else beside.imagined)
            ),
            "sequence": self.sequence,
            "state": _numbers(frame.imagined),
            "true_state": None if frame.truth is None else _numbers(frame.truth),
            "waiting": self.waiting,
            "compute_ms": round(statistics.median(self.durations_ms or [0.0]), 1),
        }
        return pack(header, arrays_of(frame, beside))

    def _beside(self, place: int) -> Frame | None:
        """The frame of the other future, where it has one of this number."""
        other = self.history.futures.get(-1 if self.other is None else self.other)
        if other is None or not other.first <= place <= other.last:
            return None
        return other.frame(place)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _numbers(pictures: Pictures) -> list[float]:
    return [round(float(value), 4) for value in pictures.state]
