"""The host of all sessions: it makes them, keeps their clocks, and frees them."""

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping

from roboscape.core.errors import UserError
from roboscape.play.drivers.hands import HandDriver
from roboscape.play.history import History
from roboscape.play.session import SETTLING_FRAMES, Outbox, Session
from roboscape.play.stage import Stage
from roboscape.play.worlds import Seen, Turn

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""Time between two looks for sessions that are no longer used."""
RECENT_S = 600.0
"""A world that runs by itself is paused so long after the last message."""


class Host:
    """Sessions by name, and the clock that steps their worlds, those that are due together."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.sessions: dict[str, Session] = {}
        self._wake = asyncio.Event()
        self._thinking: dict[str, asyncio.Task[None]] = {}
        """Frames whose drivers think, by session: other worlds go on meanwhile."""

    def open(self, name: str | None, outbox: Outbox, *, with_truth: bool) -> Session:
        """The session of a page: the one that it had before, else a new one.

        Raises:
            ValueError: there are as many as there may be.
        """
        found = self.sessions.get(name or "")
        if found is None:
            if len(self.sessions) >= self.stage.limits.worlds:
                raise UserError(
                    f"all {self.stage.limits.worlds} worlds are taken; try again when a player "
                    "has left, or start the server with a higher --limits.worlds"
                )
            found = Session(
                name=secrets.token_urlsafe(16),
                spec=self.stage.spec,
                history=History(most_frames=self.stage.limits.frames),
                hands=HandDriver(self.stage.spec),
                with_truth=with_truth and self.stage.truth is not None,
                now_s=time.monotonic(),
            )
            self.sessions[found.name] = found
        if found.outbox is not None:
            found.outbox.close("this world was opened in another window")
        found.outbox, found.heard_s = outbox, time.monotonic()
        return found

    def leave(self, session: Session, outbox: Outbox) -> None:
        """A page was closed; its world stands still, and is freed after a while."""
        if session.outbox is outbox:
            session.outbox, session.running = None, False
            session.heard_s = time.monotonic()

    def wake(self) -> None:
        """Have the clock look again: a session is due earlier than it was."""
        self._wake.set()

    async def run(self) -> None:
        """Step the worlds that are due, for ever."""
        cleaner = asyncio.create_task(self._clean())
        try:
            while True:
                self._wake.clear()
                now_s = time.monotonic()
                due = self._due(now_s)
                for session in due:
                    if session.driver is not None and session.driver.thinks:
                        self._think(session)
                together = [one for one in due if one.name not in self._thinking]
                if together:
                    await self.step(together)
                elif not due:
                    await self._sleep(now_s)
        finally:
            for task in (cleaner, *self._thinking.values()):
                task.cancel()

    def _think(self, session: Session) -> None:
        """Take a frame in a world whose driver thinks, beside the clock."""

        def done(task: asyncio.Task[None]) -> None:
            del self._thinking[session.name]
            self.wake()

        task = asyncio.create_task(self.step([session], running=True))
        self._thinking[session.name] = task
        task.add_done_callback(done)

    async def step(self, sessions: list[Session], *, running: bool = False) -> None:
        """Take a frame in some sessions' worlds; one that fails is paused, with the reason.

        Args:
            sessions: whose worlds.
            running: leave out those that were paused before their turn came.
        """
        for session in sessions:
            await session.lock.acquire()
        try:
            await self._step([one for one in sessions if one.running or not running])
        except Exception as error:
            # One world's trouble must not end the clock of all.
            if not isinstance(error, UserError):
                log.exception("a frame could not be taken")
            for session in sessions:
                session.running = False
                session.tell("error", message=f"the frame could not be taken: {error}")
                session.show_all()
        finally:
            for session in sessions:
                session.lock.release()

    async def free(self, session: Session) -> None:
        """Forget a session, and free its worlds."""
        self.sessions.pop(session.name, None)
        if session.outbox is not None:
            session.outbox.close("nothing was heard of this page for a long time")
        async with session.lock:
            session.give_wheel(None)
            await self.stage.imagined.drop(session.name)
            if self.stage.truth is not None:
                await self.stage.truth.drop(session.name)

    async def _step(self, sessions: list[Session]) -> None:
        began_s = time.monotonic()
        turns: dict[str, Turn] = {}
        for session in sessions:
            turn = await session.turn(began_s)
            if turn is not None:
                turns[session.name] = turn
        if not turns:
            return
        true_turns = {
            session.name: turns[session.name]
            for session in sessions
            if session.name in turns and session.has_truth
        }
        imagined, truth = await asyncio.gather(
            self.stage.imagined.step(turns), self._step_truth(true_turns)
        )
        ended_s = time.monotonic()
        for session in sessions:
            if session.name in turns:
                session.took(
                    turns[session.name],
                    imagined[session.name],
                    truth.get(session.name),
                    duration_s=ended_s - began_s,
                )
                session.due_s = max(began_s + session.period_s, ended_s - session.period_s)

    async def _step_truth(self, turns: Mapping[str, Turn]) -> Mapping[str, Seen]:
        if not turns or self.stage.truth is None:
            return {}
        # True worlds have no temperature: all are stepped together.
        return await self.stage.truth.step(
            {name: Turn(actions=turn.actions, copies=turn.copies) for name, turn in turns.items()}
        )

    def _due(self, now_s: float) -> list[Session]:
        """Sessions whose frame is due; those that soon are go along, and keep step from then on."""
        ready = [one for one in self.sessions.values() if self._runs(one)]
        if not any(session.due_s <= now_s for session in ready):
            return []
        return [one for one in ready if one.due_s <= now_s + one.period_s / 2]

    def _runs(self, session: Session) -> bool:
        """True if a session's time passes, and its world is not at work on something else."""
        if not session.running or not session.has_begun or session.lock.locked():
            return False
        if session.name in self._thinking:
            return False
        if session.driver is None and session.still_frames > SETTLING_FRAMES:
            waits = session.hands.is_neutral
            if waits and not session.waiting:
                # Its time stands still, so the command that ends that is answered at once.
                session.waiting, session.due_s = True, 0.0
                session.show_status()
            return not waits
        return True

    async def _sleep(self, now_s: float) -> None:
        """Until the next frame is due, or something has changed."""
        times_s = [one.due_s for one in self.sessions.values() if self._runs(one)]
        pause_s = min(times_s, default=now_s + LOOK_EVERY_S) - now_s
        try:
            await asyncio.wait_for(self._wake.wait(), timeout=max(pause_s, 0.0))
        except TimeoutError:
            return

    async def _clean(self) -> None:
        """Free the worlds of pages that are gone or silent; pause those that no page watches."""
        limits = self.stage.limits
        while True:
            await asyncio.sleep(min(LOOK_EVERY_S, limits.away_s / 2, limits.idle_s / 2))
            now_s = time.monotonic()
            for session in list(self.sessions.values()):
                silent_s = now_s - session.heard_s
                if silent_s > (limits.away_s if session.outbox is None else limits.idle_s):
                    await self.free(session)
                elif session.running and silent_s > RECENT_S:
                    session.running = False
                    session.show_status()
