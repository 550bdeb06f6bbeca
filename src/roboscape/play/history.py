"""The past of a player's world: frames to look at again, and copies of the world to go on from.

A frame is some tens of kilobytes, a copy of the imagined world some megabytes. So every frame is
kept, and a copy every few frames only: a frame in between is reached from the copy before it, under
the actions that were taken, exactly (equal pasts and equal actions have equal futures).
"""

from dataclasses import dataclass, field, replace

from roboscape.core.errors import UserError
from roboscape.play.frames import Frame
from roboscape.play.pool import Kept

COPIES = 12
"""Copies of the world that a future keeps at most."""
FIRST_SPACING = 4
"""Frames between two copies, until there are too many of them; it then doubles."""


@dataclass(frozen=True, kw_only=True)
class WorldCopy:
    """The imagined world and, where there is one, the true world at one frame."""

    imagined: Kept
    truth: Kept | None = None


@dataclass(kw_only=True)
class Future:
    """One course of events, from the world's first frame on; futures that part share a past."""

    number: int
    """Its name."""
    parted_at: int | None = None
    """Number of the last frame that it shares with the future that it parted from."""
    parted_from: int | None = None
    """Number of that future."""
    first: int = 0
    """Number of the oldest frame that is kept."""
    frames: list[Frame] = field(default_factory=list)
    """From frame `first` on."""
    copies: dict[int, WorldCopy] = field(default_factory=dict)
    """By frame number; always one at `first`."""
    spacing: int = FIRST_SPACING
    """Copies are taken at multiples of this frame number, and where the world was restarted."""

    @property
    def last(self) -> int:
        """Number of the newest frame."""
        return self.first + len(self.frames) - 1

    def frame(self, number: int) -> Frame:
        """A kept frame.

        Raises:
            ValueError: it is too old, or has not come yet.
        """
        if not self.first <= number <= self.last:
            raise UserError(
                f"future {self.number} keeps frames {self.first} to {self.last}, got {number}"
            )
        return self.frames[number - self.first]

    def add_copy(self, copy: WorldCopy) -> None:
        """Keep a copy of the newest frame's world, and fewer of the others where too many."""
        self.copies[self.last] = copy
        while len(self.copies) > COPIES:
            thinned = self._every(2 * self.spacing)
            if len(thinned) == len(self.copies):
                # Only restarts are left, which cannot be reached from before.
                thinned.pop(min(number for number in thinned if number > self.first))
            self.copies, self.spacing = thinned, 2 * self.spacing

    def _every(self, spacing: int) -> dict[int, WorldCopy]:
        """Copies at multiples of a spacing, the oldest, and those at restarts."""
        return {
            number: copy
            for number, copy in self.copies.items()
            if number % spacing == 0 or number == self.first or self.frame(number).needs_copy
        }

    def way_to(self, number: int) -> tuple[WorldCopy, list[Frame]]:
        """The last copy at or before a frame, and the frames from there to it, without the first.

        Raises:
            ValueError: the frame is not kept, or cannot be reached any more.
        """
        self.frame(number)
        start = max(copy for copy in self.copies if copy <= number)
        frames = [self.frame(between) for between in range(start + 1, number + 1)]
        if any(frame.needs_copy for frame in frames):
            raise UserError(
                f"frame {number} follows a restart whose copy is not kept any more; choose an "
                "earlier frame, or begin anew"
            )
        return self.copies[start], frames

    def parted(self, number: int, *, at: int) -> "Future":
        """A future of another name that is equal up to frame `at`, and open from there."""
        return replace(
            self,
            number=number,
            parted_at=at,
            parted_from=self.number,
            frames=self.frames[: at - self.first + 1],
            copies={place: copy for place, copy in self.copies.items() if place <= at},
        )

    def forget_oldest(self) -> int:
        """Drop the frames before the second copy; returns how many.

        Nothing is dropped where there is one copy.
        """
        if len(self.copies) < 2:
            return 0
        oldest, second = sorted(self.copies)[:2]
        dropped = second - self.first
        del self.copies[oldest]
        self.frames = self.frames[dropped:]
        self.first = second
        return dropped


class History:
    """The futures of one player's world; one is the present one."""

    def __init__(self, *, most_frames: int, most_futures: int = 3) -> None:
        self._most_frames, self._most_futures = most_frames, most_futures
        self._next = 0
        self.futures: dict[int, Future] = {}
        self.present = 0
        """Number of the future that goes on."""

    @property
    def now(self) -> Future:
        """The future that goes on.

        Raises:
            ValueError: nothing has begun yet.
        """
        if self.present not in self.futures:
            raise UserError("this world has not begun; choose a start first")
        return self.futures[self.present]

    def begin(self, frame: Frame, copy: WorldCopy) -> None:
        """Forget everything, and start with a first frame."""
        self.futures = {self._next: Future(number=self._next, frames=[frame], copies={0: copy})}
        self.present = self._next
        self._next += 1

    def add(self, frame: Frame) -> None:
        """Append a frame to the present future; what is too much is dropped."""
        self.now.frames.append(frame)
        self._drop_too_many()

    def part(self, number: int, *, at: int) -> Future:
        """Go on from a frame of a future: in itself at its end, else in a new one."""
        origin = self.futures.get(number)
        if origin is None:
            raise UserError(f"there is no future {number}; there are {sorted(self.futures)}")
        origin.frame(at)
        if at < origin.last:
            self.futures[self._next] = origin.parted(self._next, at=at)
            self.present = self._next
            self._next += 1
            self._forget_futures()
        else:
            self.present = number
        return self.now

    def num_frames(self) -> int:
        """Frames in memory; those that futures share count once."""
        return len({id(frame) for future in self.futures.values() for frame in future.frames})

    def _forget_futures(self) -> None:
        """Drop the oldest futures but the present one and the one that it parted from."""
        needed = {self.present, self.now.parted_from}
        for number in sorted(self.futures):
            if len(self.futures) > self._most_futures and number not in needed:
                del self.futures[number]

    def _drop_too_many(self) -> None:
        if len(self.now.frames) <= self._most_frames and len(self.futures) == 1:
            return
        while self.num_frames() > self._most_frames:
            others = [number for number in sorted(self.futures) if number != self.present]
            if others:
                del self.futures[others[0]]
            elif not self.now.forget_oldest():
                return
