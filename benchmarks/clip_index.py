"""What the index of millions of clips costs: opening it, and finding random clips in it.

    python benchmarks/clip_index.py                # 6.5 million clips, as in the paper
    python benchmarks/clip_index.py --store data/lift_tokens

The synthetic store has the worst index there is: every range of start rows holds a single clip. Its
shards are real, so that the time of a whole clip is one too, with pages cached
by the system, as in the second epoch.
"""

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
from roboscape.tokens.store import CLIPS, EPISODES, TokenStore


@dataclass(frozen=True, kw_only=True)
class ClipIndex:
    """What to measure."""

    store: Path | None = None
    """A real store; a synthetic one where not given."""
    clips: int = 6_500_000
    """Of the synthetic one."""
    clips_per_episode: int = 10
    batch_size: int = 512
    """Clips of a step."""
    output: Path | None = None
    """JSON to write."""


def main(config: ClipIndex) -> None:
    """Measure in this process, which is fresh."""
    if config.store is not None:
        measure(config.store, config)
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--make", folder]
        subprocess.run([*command, str(config.clips), str(config.clips_per_episode)], check=True)
        measure(Path(folder), config)


def make(root: Path, *, clips: int, clips_per_episode: int) -> None:
    """Episodes that all lie in one real shard, and an index of single clips."""
    rows = 100
    make_store(root, episodes=200, rows=rows, points=64)
    episodes = -(-clips // clips_per_episode)
    numbers = np.arange(episodes)
    # Every tenth of a million seeds or so is for validation and test: keep to training ones.
    table = {
        "shard": 0 * numbers,
        "first_row": numbers % 198 * rows,
        "length": 0 * numbers + rows,
        "seed": numbers % 800_000,
    }
    table["seed"][-2:] = 800_000
    pq.write_table(pa.table(table), root / EPISODES)
    episode = np.repeat(numbers, clips_per_episode)[:clips]
    start = np.arange(clips) % clips_per_episode * 3
    np.save(root / CLIPS, np.stack([episode, start, start + 1], axis=1).astype(np.int32))


def measure(root: Path, config: ClipIndex) -> None:
    """Open, find, read; print and write."""
    before_mib = resident_mib()
    start = time.perf_counter()
    store = TokenStore(root)
    open_s = time.perf_counter() - start
    table = store.clips("train")
    index_s = time.perf_counter() - start
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(table), size=config.batch_size)
    find_s = median_s(lambda: table.locate(generator.integers(len(table), size=config.batch_size)))
    one_s = median_s(lambda: table.locate(drawn[:1]))
    batch_s = median_s(
        lambda: store.batch(generator.integers(len(table), size=config.batch_size), split="train")
    )
    figures = {
        "clips": len(table),
        "episodes": len(store.episodes),
        "open_s": open_s,
        "open_and_index_s": index_s,
        "find_a_clip_us": 1e6 * one_s,
        "find_a_clip_of_a_batch_us": 1e6 * find_s / config.batch_size,
        "read_a_clip_us": 1e6 * batch_s / config.batch_size,
        "grown_mib": resident_mib() - before_mib,
        "cores": len(os.sched_getaffinity(0)),
    }
    for name, value in figures.items():
        print(f"{name:28} {value:,.3f}" if isinstance(value, float) else f"{name:28} {value:,}")
    if config.output is not None:
        write_json(config.output, figures)


def median_s(action: Callable[[], object], *, seconds: float = 1.0) -> float:
    """Median time of an action."""
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or not times:
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def resident_mib() -> float:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(Path(sys.argv[2]), clips=int(sys.argv[3]), clips_per_episode=int(sys.argv[4]))
    else:
        main(tyro.cli(ClipIndex))
