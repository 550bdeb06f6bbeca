"""What the index of millions of clips costs: opening it, and finding random clips in it.

    python benchmarks/speed/clip_index.py                # 6.5 million clips, as in the paper
    python benchmarks/speed/clip_index.py --store data/lift_tokens

Two synthetic stores: one whose ranges of start rows hold ten clips each, and the worst there is,
where every range holds a single clip. Their shards are real, so that the time of a whole clip is
one too, with pages cached by the system, as in the second epoch. Everything is measured in a fresh
process, as a training begins; the CPU time is the wall time of a machine with nothing else to do.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from roboscape.bench.synthetic_store import make_store
from roboscape.core.files import write_json
from roboscape.dataset.records import FIRST_VALIDATION_SEED
from roboscape.tokens.store import CLIPS, EPISODES, TokenStore


@dataclass(frozen=True, kw_only=True)
class ClipIndex:
    """What to measure."""

    store: Path | None = None
    """A real store; synthetic ones where not given."""
    clips: int = 6_500_000
    """Of a synthetic one."""
    clips_per_range: tuple[int, ...] = (10, 1)
    """Synthetic stores: clips that follow each other by a row. Ten clips an episode in any case."""
    batch_size: int = 512
    """Clips of a step."""
    output: Path | None = None
    """JSON to write."""


def main(config: ClipIndex) -> None:
    """Measure every store in a fresh process."""
    found = {}
    if config.store is not None:
        found[str(config.store)] = in_fresh_process("--measure", config.store, config.batch_size)
    else:
        for count in config.clips_per_range:
            with tempfile.TemporaryDirectory() as folder:
                in_fresh_process("--make", folder, config.clips, count)
                found[f"{count} a range"] = in_fresh_process("--measure", folder, config.batch_size)
    names = next(iter(found.values()))
    print(" " * 28 + "".join(f"{name:>18}" for name in found))
    for name in names:
        values = [figures[name] for figures in found.values()]
        print(f"{name:28}" + "".join(f"{value:>18,.6g}" for value in values))
    if config.output is not None:
        write_json(config.output, found)


def in_fresh_process(*words: object) -> dict[str, float]:
    """Run this file again; returns what it prints."""
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def make(root: Path, *, clips: int, clips_per_range: int) -> None:
    """Episodes that all lie in one real shard, and the index of their clips."""
    rows, clips_per_episode = 100, 10
    make_store(root, episodes=200, rows=rows, points=64, tokens_per_side=16)
    episodes = -(-clips // clips_per_episode)
    numbers = np.arange(episodes)
    table = {
        "shard": 0 * numbers,
        "first_row": numbers % 198 * rows,
        "length": 0 * numbers + rows,
        "seed": numbers % FIRST_VALIDATION_SEED,
        "split": 0 * numbers,
    }
    pq.write_table(pa.table(table), root / EPISODES)
    ranges = np.arange(-(-clips // clips_per_range))
    per_episode = clips_per_episode // clips_per_range
    start = ranges % per_episode * 3
    ends = start + clips_per_range
    columns = [ranges // per_episode, start, ends, 0 * ranges, 0 * ranges + rows]
    np.save(root / CLIPS, np.stack(columns, axis=1).astype(np.int32))


def measure(root: Path, *, batch_size: int) -> dict[str, float]:
    """Open, find, read."""
    before_mib = resident_mib()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    store = TokenStore(root)
    open_s = time.perf_counter() - wall_s
    table = store.clips("train")
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    index_mib = resident_mib() - before_mib
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(table), size=batch_size)
    find_s = median_s(lambda: table.locate(generator.integers(len(table), size=batch_size)))
    one_s = median_s(lambda: table.locate(drawn[:1]))
    batch_s = median_s(
        lambda: store.batch(generator.integers(len(table), size=batch_size), split="train")
    )
    return {
        "clips": len(table),
        "ranges": len(table.ends),
        "episodes": len(store.episodes),
        "open_s": open_s,
        "open_and_index_s": wall_s,
        "open_and_index_cpu_s": cpu_s,
        "find_a_clip_us": 1e6 * one_s,
        "find_a_clip_of_a_batch_us": 1e6 * find_s / batch_size,
        "read_a_clip_us": 1e6 * batch_s / batch_size,
        "grown_mib": index_mib,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
    }


def median_s(action: Callable[[], object], *, seconds: float = 1.0, least: int = 5) -> float:
    """Median CPU time of an action, after two that are not counted."""
    times: list[float] = []
    end = time.process_time() + seconds
    while time.process_time() < end or len(times) < least + 2:
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return float(np.median(times[2:]))


def resident_mib() -> float:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--make", folder, clips, clips_per_range]:
            make(Path(folder), clips=int(clips), clips_per_range=int(clips_per_range))
            print("{}")
        case ["--measure", folder, batch_size]:
            print(json.dumps(measure(Path(folder), batch_size=int(batch_size))))
        case _:
            main(tyro.cli(ClipIndex))
