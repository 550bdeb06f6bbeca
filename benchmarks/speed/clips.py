"""Whether clips come out of a token store fast enough that no training ever waits for them.

    python benchmarks/speed/clips.py            # synthetic stores of growing size
    python benchmarks/speed/clips.py --store data/lift_tokens --step-seconds 0.2

Prints, for every store, what opening it costs; how fast random clips are read, and made into
training rows; and what share of its time a training would wait whose steps take `--step-seconds`
on another device, with batches prepared by a thread (0 loaders) or by processes. Reading and making
are in CPU time, which a busy machine does not change; waiting is in wall time, which it does.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from roboscape.bench.synthetic_store import make_store
from roboscape.core.config import config_from_dict
from roboscape.core.files import write_json
from roboscape.presets.world_model import small
from roboscape.tokens.store import TokenStore
from roboscape.training.prefetch import prefetching
from roboscape.world_model.batches import BatchMaker


@dataclass(frozen=True, kw_only=True)
class Clips:
    """What to measure."""

    store: Path | None = None
    """A real store; synthetic ones where not given."""
    episodes: tuple[int, ...] = (100, 1000, 4000)
    """Sizes of the synthetic stores, of 100 rows each with 16 x 16 tokens."""
    batch_size: int = 16
    """Clips that a device takes in a step."""
    step_seconds: float = 0.2
    """Time of a training step on a device that leaves the CPU alone."""
    loaders: tuple[int, ...] = (0, 1)
    """Loading processes to try."""
    seconds: float = 2.0
    """How long to measure each thing."""
    output: Path | None = None
    """JSON to write."""


def main(config: Clips) -> None:
    """Measure every store in a process of its own, so that memory is its own."""
    found = []
    if config.store is not None:
        found.append(in_fresh_process(config))
    else:
        for episodes in config.episodes:
            with tempfile.TemporaryDirectory() as folder:
                make_store(Path(folder), episodes=episodes, tokens_per_side=16, points=64)
                found.append(in_fresh_process(replace(config, store=Path(folder))))
    for name in found[0]:
        print(f"{name:38}" + "".join(f"{figures[name]:>14,.5g}" for figures in found))
    if config.output is not None:
        write_json(config.output, found)


def in_fresh_process(config: Clips) -> dict[str, float]:
    """Run `measure` in a fresh process."""
    words = json.dumps(asdict(config), default=str)
    command = [sys.executable, __file__, "--measure", words]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def measure(config: Clips) -> dict[str, float]:
    """Open a store, read, prepare, wait."""
    assert config.store is not None
    heap = heap_mib()
    start = time.perf_counter()
    store = TokenStore(config.store)
    count = len(store.clips("train"))
    open_ms = 1e3 * (time.perf_counter() - start)
    start = time.perf_counter()
    store.batch(np.arange(config.batch_size), split="train")
    first_batch_ms = 1e3 * (time.perf_counter() - start)
    generator = np.random.default_rng(0)
    read_s = seconds_each(
        lambda _: store.batch(generator.integers(count, size=config.batch_size), split="train"),
        seconds=config.seconds,
    )
    heap = heap_mib() - heap
    maker = make_batches(store, count, batch_size=config.batch_size)
    made_s = seconds_each(maker.microbatches, seconds=config.seconds)
    waiting = {
        f"waiting, {loaders} loaders (share)": waiting_share(maker, config, loaders=loaders)
        for loaders in config.loaders
    }
    return {
        "episodes": len(store.episodes),
        "frames": store.num_frames,
        "open (ms)": open_ms,
        "first batch (ms)": first_batch_ms,
        "read a clip (us)": 1e6 * read_s / config.batch_size,
        "make a clip's training rows too (us)": 1e6 * made_s / config.batch_size,
        "clips made a second, one process": config.batch_size / made_s,
        "times what the step needs": config.step_seconds / made_s,
        **waiting,
        "heap (MiB)": heap,
        "load of the machine": os.getloadavg()[0],
    }


def make_batches(store: TokenStore, clips: int, *, batch_size: int) -> BatchMaker:
    """What a training with the `small` preset's losses prepares for a step."""
    run = replace(small(), batch_size=batch_size)
    shape = replace(run.model, control_size=store.control_size, grid=store.grid)
    return BatchMaker(
        config=run,
        model=shape,
        clips=clips,
        read=lambda indices: store.batch(indices, split="train"),
    )


def waiting_share(maker: BatchMaker, config: Clips, *, loaders: int) -> float:
    """Share of the time that a training spends waiting for batches, after the first."""
    steps = range(max(3, int(2 * config.seconds / config.step_seconds)))
    with prefetching(maker.microbatches, steps, loaders=loaders) as batches:
        next(batches)
        begun, waited = time.perf_counter(), 0.0
        for _ in steps[1:]:
            time.sleep(config.step_seconds)  # the device computes; the interpreter is free
            start = time.perf_counter()
            next(batches)
            waited += time.perf_counter() - start
        return waited / (time.perf_counter() - begun)


def seconds_each(action: Callable[[int], object], *, seconds: float) -> float:
    """Mean CPU time of `action(number)` over a while, the first call left out."""
    action(0)
    calls, start = 0, time.process_time()
    while time.process_time() < start + seconds:
        calls += 1
        action(calls)
    return (time.process_time() - start) / calls


def heap_mib() -> float:
    """Memory of this process that is no mapped file."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(config_from_dict(Clips, json.loads(sys.argv[2]), where="argv"))))
    else:
        main(tyro.cli(Clips))
