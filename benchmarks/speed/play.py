"""What `roboscape play` reaches: frames a second, key to picture, several players, steady memory.

The server is served in this process and driven over real WebSockets on the loopback interface; a
picture counts as shown when its bytes have arrived and were unpacked. Frames a second are asked for
as fast as can be (`speed` 0), latencies at a speed that is named. Run it with nothing else running.
"""

import asyncio
import contextlib
import json
import resource
import statistics
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
import uvicorn
import websockets
from websockets.typing import Origin

from roboscape.core.memory import keep_freed_memory
from roboscape.play.frames import unpack
from roboscape.play.limits import Limits
from roboscape.play.play import listen
from roboscape.play.server import Doors, make_app
from roboscape.play.stage import Stage, open_stage
from roboscape.rollout.bundle import PROBED, Bundle, Compute


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is measured, and for how long."""

    checkpoint: str = "lift"
    """Name, folder or hub name of a bundle."""
    seconds: float = 10.0
    """Of each measurement of frames a second."""
    presses: int = 60
    """Keys pressed for each measurement of latency."""
    players: int = 8
    """Players at once."""
    soak_s: float = 0.0
    """Seconds of driving over which memory is watched; 1800 is half an hour."""
    soak_speed: float = 0.0
    """Its speed: 1 is real time, 0 as fast as can be."""
    soak_alone: bool = False
    """Measure nothing else."""
    compute: Compute = PROBED
    """Where and in which format."""


class Player:
    """One page: reads frames as they come, and sends what is asked."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket = socket
        self.arrivals_s: list[float] = []
        self.sequences: list[int] = []
        self.notices: list[str] = []
        self.size = 0
        self._status: dict = {}
        self._reader = asyncio.create_task(self._read())

    async def send(self, kind: str, **content: object) -> None:
        """Send a message."""
        await self._socket.send(json.dumps({"type": kind, **content}))

    async def _read(self) -> None:
        async for message in self._socket:
            if isinstance(message, bytes):
                header, _ = unpack(message)
                self.arrivals_s.append(time.perf_counter())
                self.sequences.append(header["sequence"])
                self.size = len(message)
                # A world that goes on sends frames, and no status of its own.
                self._status["waiting"] = header["waiting"]
            elif (content := json.loads(message))["type"] == "status":
                self._status = content
            elif content["type"] == "notice":
                self.notices.append(content["message"])
            elif content["type"] == "error":
                raise RuntimeError(content["message"])

    async def first_frame(self, after: int = 0) -> None:
        """Wait for more frames than there were."""
        while len(self.arrivals_s) <= after:
            self._check()
            await asyncio.sleep(0.002)

    async def until_waiting(self) -> None:
        """Wait until the world waits for a command."""
        while not self._status.get("waiting"):
            self._check()
            await asyncio.sleep(0.002)

    async def picture_of(self, sequence: int) -> float:
        """The time at which the first frame that holds a command arrived."""
        while not self.sequences or self.sequences[-1] < sequence:
            self._check()
            await asyncio.sleep(0.0005)
        return self.arrivals_s[next(i for i, s in enumerate(self.sequences) if s >= sequence)]

    def _check(self) -> None:
        if self._reader.done():
            self._reader.result()
            raise RuntimeError("the server closed the connection")


@contextlib.contextmanager
def served(stage: Stage) -> Iterator[str]:
    """The address of a server in a thread of its own."""
    app = make_app(stage, doors=Doors(), with_truth=False)
    server = uvicorn.Server(
        uvicorn.Config(
            app, ws="websockets-sansio", ws_per_message_deflate=False, log_level="warning"
        )
    )
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"localhost:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextlib.asynccontextmanager
async def playing(address: str, *, truth: bool, seed: int) -> AsyncIterator[Player]:
    """A player whose world has begun and runs."""
    connection = websockets.connect(
        f"ws://{address}/world", origin=Origin(f"http://{address}"), max_size=None, compression=None
    )
    async with connection as socket:
        player = Player(socket)
        await player.send("hello")
        await player.send("truth", shown=truth)
        await player.send("start_seed", seed=seed)
        await player.first_frame()
        yield player
        await player.send("pause")


def moving(number: int, names: int) -> list[float]:
    """A command that changes and never rests."""
    return [0.3 if number % 2 else -0.3, *[0.0] * (names - 2), -1.0]


async def frames_a_second(
    address: str, *, seconds: float, players: int, truth: bool, names: int
) -> list[float]:
    """Frames a second of every player, as fast as can be."""
    async with contextlib.AsyncExitStack() as stack:
        everybody = [
            await stack.enter_async_context(playing(address, truth=truth, seed=seed))
            for seed in range(players)
        ]
        for player in everybody:
            await player.send("command", values=moving(1, names), sequence=1)
            await player.send("speed", value=0)
            await player.send("run")
        # The first batches are arranged.
        await asyncio.sleep(min(2.0, seconds / 2))
        begun = [len(player.arrivals_s) for player in everybody]
        await asyncio.sleep(seconds)
        ended = [len(player.arrivals_s) for player in everybody]
        return [(end - begin) / seconds for begin, end in zip(begun, ended, strict=True)]


async def key_to_picture_ms(
    address: str, *, presses: int, speed: float, from_rest: bool, truth: bool, names: int
) -> list[float]:
    """Milliseconds from a key to the first picture that holds it."""
    random = np.random.default_rng(0)
    found = []
    async with playing(address, truth=truth, seed=0) as player:
        await player.send("speed", value=speed)
        await player.send("run")
        for number in range(1, presses + 1):
            if from_rest:
                await player.send(
                    "command", values=[*[0.0] * (names - 1), -1.0], sequence=2 * number
                )
                await player.until_waiting()
            else:
                await asyncio.sleep(float(random.uniform(0.2, 0.5)))
            began_s = time.perf_counter()
            await player.send("command", values=moving(number, names), sequence=2 * number + 1)
            found.append(1000 * (await player.picture_of(2 * number + 1) - began_s))
    return found


async def driven_frames_a_second(
    address: str, *, seconds: float, by: str, settings: dict[str, int]
) -> tuple[float, str]:
    """Frames a second of a world that a driver drives, as fast as can be, and its last words."""
    async with playing(address, truth=False, seed=0) as player:
        await player.send("speed", value=0)
        await player.send("drive", by=by, settings=settings)
        # The driver is made, and the first frames are slow.
        await player.first_frame(after=3)
        begun, began_s = len(player.arrivals_s), time.perf_counter()
        while time.perf_counter() < began_s + seconds and not player.notices:
            await player.first_frame(after=len(player.arrivals_s) - 1)
            await asyncio.sleep(0.01)
        spent_s = max(player.arrivals_s[-1] - player.arrivals_s[begun - 1], 1e-9)
        return (len(player.arrivals_s) - begun) / spent_s, " ".join(player.notices)


async def soak(
    address: str, *, seconds: float, speed: float, names: int
) -> list[tuple[float, int, float]]:
    """Seconds, frames shown and resident megabytes while a player drives, every 20 seconds."""
    found = []
    async with playing(address, truth=True, seed=0) as player:
        await player.send("speed", value=speed)
        await player.send("run")
        began_s, number = time.perf_counter(), 0
        while (spent_s := time.perf_counter() - began_s) < seconds:
            number += 1
            await player.send("command", values=moving(number, names), sequence=number)
            if number % 20 == 1:
                found.append((spent_s, len(player.arrivals_s), resident_mb()))
            await asyncio.sleep(1.0)
    return found


def resident_mb() -> float:
    """Memory of this process now; the most that it was, where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (one for one in status.read_text().splitlines() if one.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(config: Benchmark, address: str, *, names: int) -> None:
    """Print every figure beside its aim."""
    if not config.soak_alone:
        await measure_rates(config, address, names=names)
    if config.soak_s:
        for spent_s, frames, memory_mb in await soak(
            address, seconds=config.soak_s, speed=config.soak_speed, names=names
        ):
            print(f"driving for {spent_s:6.0f} s, {frames:6d} frames{'':<16}{memory_mb:6.0f} MB")


async def measure_rates(config: Benchmark, address: str, *, names: int) -> None:
    """Print frames a second and latencies."""
    for what, players, truth, aim in (
        ("one player", 1, False, 20),
        ("one player, true world beside", 1, True, 8),
        (f"{config.players} players, the slowest", config.players, False, 3),
    ):
        rates = await frames_a_second(
            address, seconds=config.seconds, players=players, truth=truth, names=names
        )
        print(f"{what:<48}{min(rates):6.1f} frames/s      aim >= {aim}")
    middle = {"camera": 0, "x_px": 64, "y_px": 80}
    for what, by, settings in (
        ("lift-policy drives", "policy", {}),
        ("a planner drives to a point of the table", "goal", middle),
    ):
        rate, words = await driven_frames_a_second(
            address, seconds=config.seconds, by=by, settings=settings
        )
        print(f"{what:<48}{rate:6.1f} frames/s      {words}")
    for what, speed, from_rest, truth in (
        ("key to picture, world waiting", 1.0, True, False),
        ("key to picture, world waiting, true world beside", 1.0, True, True),
        ("key to picture, running at real time", 1.0, False, False),
        ("key to picture, running as fast as can be", 0.0, False, False),
    ):
        found = await key_to_picture_ms(
            address, presses=config.presses, speed=speed, from_rest=from_rest, truth=truth,
            names=names,
        )  # fmt: skip
        median, high = statistics.median(found), float(np.percentile(found, 95))
        print(f"{what:<48}{median:6.0f} ms, 95 %: {high:.0f} ms      aim <= 100, <= 200")


def main(config: Benchmark) -> None:
    """Open a stage, and measure it."""
    keep_freed_memory()
    bundle = Bundle.from_pretrained(config.checkpoint).for_imagining(config.compute)
    stage = open_stage(
        bundle,
        name=config.checkpoint,
        dataset=None,
        task="",
        cameras=(),
        output=Path("runs/play"),
        limits=Limits(worlds=config.players + 1, away_s=0.5),
    )
    try:
        with served(stage) as address:
            asyncio.run(measure(config, address, names=len(stage.spec.action.names)))
    finally:
        stage.close()


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
