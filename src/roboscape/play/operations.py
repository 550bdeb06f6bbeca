"""The operations of a session, a function for each kind of message from its page."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from roboscape.core.errors import UserError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.play import messages as m
from roboscape.play.drivers.protocol import Surroundings
from roboscape.play.drivers.registry import DRIVERS
from roboscape.play.frames import Pictures
from roboscape.play.history import Future
from roboscape.play.host import Host
from roboscape.play.recording import record_session
from roboscape.play.session import Began, Session
from roboscape.play.stage import Stage
from roboscape.play.starts import start_at_truth, start_of_image
from roboscape.play.worlds import TEMPERATURES, Seen, Turn
from roboscape.simulators.protocol import EpisodeStart, FrameStart, SeedStart, Start

Kind = TypeVar("Kind")
FASTEST = 20.0
"""Largest factor of real time, beside as fast as can be."""
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Player:
    """A session and its host, which messages are answered for."""

    host: Host
    session: Session

    @property
    def stage(self) -> Stage:
        """The things that all sessions share."""
        return self.host.stage

    async def answer(self, message: m.Message) -> None:
        """Do what a message asks for.

        Raises:
            ValueError: it cannot be done; the session is as it was.
        """
        self.session.heard_s = time.monotonic()
        await ANSWERS[type(message)](self, message)
        self.host.wake()


async def start_seed(player: Player, message: m.StartSeed) -> None:
    """Begin with the true simulator's scene of a seed."""
    session, truth = player.session, player.stage.truth
    if truth is None:
        raise UserError("seeds need the true simulator of this task, which is not here")
    _check_seed(message.seed)
    async with session.lock:
        session.running = False
        seen = await truth.begin(session.name, SeedStart(seed=message.seed), seed=0)
        first = seen.pictures
        start = FrameStart(
            rgb=dict(first.rgb),
            depth_m={
                name: player.stage.codec.decode(codes) for name, codes in first.depth_codes.items()
            },
            state=first.state,
        )
        words = f"seed {message.seed}"
        began = Began(
            words=words,
            about={"kind": "seed", "seed": message.seed},
            seed=message.seed,
            task=truth.spec.task,
        )
        imagined = await _imagine_from(player, start)
        await _begin(player, imagined, began, truth=seen, state=first.state)


async def start_episode(player: Player, message: m.StartEpisode) -> None:
    """Begin with a recorded frame; with the true world beside it where it can be replayed."""
    session, dataset = player.session, player.stage.dataset
    if dataset is None:
        raise UserError("episodes need recordings; start `roboscape play` with --dataset")
    info = dataset.episode_info(message.episode)
    start = EpisodeStart(dataset=dataset, episode=message.episode, row=message.row)
    began = Began(
        words=f"episode {message.episode}, row {message.row}",
        about={
            "kind": "episode",
            "dataset": str(dataset.root),
            "episode": message.episode,
            "row": message.row,
        },
        seed=info.seed,
        split=info.split,
        task=info.task,
    )
    async with session.lock:
        session.running = False
        state = await asyncio.to_thread(_state_of_row, dataset, message.episode, message.row)
        imagined = await _imagine_from(player, start)
        seen = None
        if player.stage.truth is not None and session.with_truth:
            try:
                seen = await player.stage.truth.begin(session.name, start, seed=0)
            except UserError as error:
                session.tell("notice", message=f"No true world beside this episode: {error}")
        await _begin(player, imagined, began, truth=seen, state=state)


async def start_image(player: Player, message: m.StartImage) -> None:
    """Begin with an image of the player's own; a true world cannot."""
    session, stage = player.session, player.stage
    read = None
    if message.state is None:
        read = await stage.read_state(message.images(side_px=stage.side_px))
    start, warnings = start_of_image(
        message,
        stage.known,
        cameras=stage.cameras,
        side_px=stage.side_px,
        state_size=stage.state_size,
        codec=stage.codec,
        read_state=read,
    )
    began = Began(words="an uploaded image", about={"kind": "image", "warnings": warnings}, seed=0)
    async with session.lock:
        session.running = False
        imagined = await _imagine_from(player, start)
        await _begin(player, imagined, began, truth=None, state=None)
    for warning in warnings:
        session.tell("notice", message=warning)


async def _imagine_from(player: Player, start: Start) -> Seen:
    """Begin the imagined world."""
    session = player.session
    return await player.stage.imagined.begin(
        session.name, start, seed=session.seed, temperature=session.temperature
    )


async def _begin(
    player: Player, imagined: Seen, began: Began, *, truth: Seen | None, state: Any
) -> None:
    """Begin the session's new past."""
    session, stage = player.session, player.stage
    if stage.truth is not None and (truth is None or not session.with_truth):
        await stage.truth.drop(session.name)
        truth = None
    if state is not None:
        stage.known.add(began.words, imagined.pictures, state)
    session.begin(imagined, truth, began=began)


def _state_of_row(dataset: LeRobotDataset, episode: int, row: int) -> np.ndarray:
    states = dataset.state(episode)
    if not 0 <= row < len(states):
        raise UserError(f"episode {episode} has rows 0 to {len(states) - 1}, got {row}")
    return states[row]


async def command(player: Player, message: m.Command) -> None:
    """Hold another command."""
    session = player.session
    session.hands.command(message.array(), sequence=message.sequence, now_s=time.monotonic())
    if session.driver is not None:
        session.give_wheel(None)
        session.show_status()


async def run(player: Player, message: m.Run) -> None:
    """Let time pass, from the frame that is looked at."""
    session = player.session
    async with session.lock:
        await _go_on(player)
        now_s = time.monotonic()
        session.running, session.waiting, session.still_frames = True, False, 0
        session.due_s = session.frame_begun_s = now_s
    session.show_status()


async def pause(player: Player, message: m.Pause) -> None:
    """Let time stand still."""
    player.session.running = player.session.waiting = False
    player.session.show_status()


async def step(player: Player, message: m.Step) -> None:
    """Take one frame."""
    session = player.session
    async with session.lock:
        session.running = session.waiting = False
        await _go_on(player)
        now_s = time.monotonic()
        session.frame_begun_s = now_s
        if message.values is not None:
            values = m.Command(values=message.values, sequence=message.sequence).array()
            session.hands.command(values, sequence=message.sequence, now_s=now_s)
            session.give_wheel(None)
    await player.host.step([session])
    session.show_status()


async def _go_on(player: Player) -> None:
    """Have the worlds at the frame that is looked at; a frame of the past begins a new future."""
    session, stage = player.session, player.stage
    future = session.history.now
    if session.at_the_end:
        return
    number, place = session.shown()
    copy, way = session.history.futures[number].way_to(place)
    turns = [
        Turn(actions=frame.actions, temperature=frame.temperature)
        for frame in way
        if frame.actions is not None
    ]
    has_truth = copy.truth is not None and session.history.futures[number].frame(place).truth
    work: list[Awaitable[None]] = [
        stage.imagined.go_to(session.name, copy.imagined, turns, temperature=session.temperature)
    ]
    if stage.truth is not None and copy.truth is not None and has_truth:
        # True worlds have no temperature.
        plain = [Turn(actions=turn.actions) for turn in turns]
        work.append(stage.truth.go_to(session.name, copy.truth, plain))
    await asyncio.gather(*work)
    before = future.number
    session.history.part(number, at=place)
    session.view = None
    if session.history.present != before:
        session.other = before if before in session.history.futures else None
    session.show_all()


async def speed(player: Player, message: m.Speed) -> None:
    """Let time pass faster or slower."""
    if message.value != 0 and not 0.1 <= message.value <= FASTEST:
        raise UserError(f"expected a speed of 0.1 to {FASTEST:g}, or 0 for as fast as can be")
    player.session.speed = message.value
    player.session.show_status()


async def seek(player: Player, message: m.Seek) -> None:
    """Look at a frame that is kept, and pause."""
    session = player.session
    number = session.history.now.number if message.future is None else message.future
    _future(session, number).frame(message.frame)
    before = session.shown()[0]
    session.running = session.waiting = False
    session.view = (number, message.frame)
    if number == before and session.outbox is not None:
        session.outbox.show(frame=True, status=True)
    else:
        session.show_all()


async def compare_with(player: Player, message: m.CompareWith) -> None:
    """Show another future beside this one."""
    if message.future is not None:
        _future(player.session, message.future)
    player.session.other = message.future
    player.session.show_all()


async def drive(player: Player, message: m.Drive) -> None:
    """Give the wheel to the player's hands, or to another driver."""
    session, stage = player.session, player.stage
    if message.by == "hands":
        session.give_wheel(None)
        session.show_status()
        return
    if message.by not in DRIVERS:
        raise UserError(
            f"expected a driver of hands, {', '.join(DRIVERS)}, got {m.shortened(message.by)!r}"
        )
    number, place = session.shown()
    around = Surroundings(
        stage=stage,
        future=lambda number: _future(session, number),
        shown=_future(session, number).frame(place),
    )
    session.give_wheel(await DRIVERS[message.by](around, message.settings), by=message.by)
    session.show_status()
    await run(player, m.Run())


async def truth(player: Player, message: m.Truth) -> None:
    """Have a true world beside the next ones, or none."""
    if message.shown and player.stage.truth is None:
        raise UserError("there is no true simulator of this task here")
    player.session.with_truth = message.shown
    player.session.show_status()


async def restart(player: Player, message: m.Restart) -> None:
    """Put the imagined world to the true one's present frame."""
    session, stage = player.session, player.stage
    async with session.lock:
        await _go_on(player)
        frames = session.history.now.frames
        now = frames[-1].truth
        if now is None or stage.truth is None:
            raise UserError("there is no true world beside this one to start again from")
        before: Pictures | None = frames[-2].truth if len(frames) > 1 else None
        start = start_at_truth(now, before, stride=stage.spec.stride, codec=stage.codec)
        imagined = await stage.imagined.begin(
            session.name, start, seed=session.seed, temperature=session.temperature
        )
        session.restarted(imagined, await stage.truth.copy(session.name))


async def sample(player: Player, message: m.Sample) -> None:
    """Draw otherwise from here on; a frame of the past begins a new future at once."""
    session = player.session
    if message.temperature not in TEMPERATURES:
        raise UserError(f"expected a temperature of {', '.join(map(str, TEMPERATURES))}")
    _check_seed(message.seed)
    async with session.lock:
        if session.has_begun:
            await _go_on(player)
            await player.stage.imagined.sample(
                session.name, temperature=message.temperature, seed=message.seed
            )
            true_copy = None
            if session.has_truth and player.stage.truth is not None:
                true_copy = await player.stage.truth.copy(session.name)
            session.resampled(await player.stage.imagined.copy(session.name), true_copy)
        session.temperature, session.seed = message.temperature, message.seed
    session.show_all()


async def record(player: Player, message: m.Record) -> None:
    """Write the future that is looked at as an episode, up to its end."""
    session = player.session
    number, _ = session.shown()
    future, began = session.history.futures[number], session.began
    assert began is not None
    frames = list(future.frames)
    written = await asyncio.to_thread(
        record_session,
        player.stage,
        frames,
        began,
        temperature=session.temperature,
        seed=session.seed,
    )
    session.recorded.append(f"episode {written.episode} of {written.root}")
    session.tell("recorded", path=str(written.root), episode=written.episode, rows=written.rows)
    session.show_status()


async def ping(player: Player, message: m.Ping) -> None:
    """Answer at once."""
    player.session.tell("pong", number=message.number)


async def hello(player: Player, message: m.Hello) -> None:
    """Greetings are for the first message."""
    raise UserError("this page has said hello before")


def _future(session: Session, number: int) -> Future:
    if number not in session.history.futures:
        raise UserError(f"there is no future {number}; there are {sorted(session.history.futures)}")
    return session.history.futures[number]


def _check_seed(seed: int) -> None:
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"expected a seed from 0 to {LARGEST_SEED}, got {seed}")


ANSWERS: dict[type, Callable[[Player, Any], Awaitable[None]]] = {
    m.Hello: hello,
    m.StartSeed: start_seed,
    m.StartEpisode: start_episode,
    m.StartImage: start_image,
    m.Command: command,
    m.Run: run,
    m.Pause: pause,
    m.Step: step,
    m.Speed: speed,
    m.Seek: seek,
    m.CompareWith: compare_with,
    m.Drive: drive,
    m.Truth: truth,
    m.Restart: restart,
    m.Sample: sample,
    m.Record: record,
    m.Ping: ping,
}
