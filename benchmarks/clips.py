"""How fast random clips come out of a token store, and what opening one costs.

    python benchmarks/clips.py            # synthetic stores of growing size
    python benchmarks/clips.py --store data/tokens_lift --step-seconds 1.2

Prints clips a second, microseconds a clip, and how many times a training step's need that is; then
the time to open a store and the memory that it takes against its number of episodes.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from roboscape.clips.controls import ControlStatistics, control_size
from roboscape.core.files import write_json
from roboscape.dataset.records import ActionConvention
from roboscape.tokenizer.model import TokenizerConfig
from roboscape.tokens.store import EPISODES, STORE, StoreConfig, TokenStore, shard_folder

ROWS, POINTS, SHARD = 100, 320, 50


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What to measure."""

    store: Path | None = None
    """A real store; synthetic ones where not given."""
    episodes: tuple[int, ...] = (100, 1000, 5000)
    """Sizes of the synthetic stores."""
    batch_size: int = 16
    """Clips a training step takes."""
    step_seconds: float = 1.2
    """Time of a training step that the clips are for."""
    seconds: float = 3.0
    """How long to read."""


def main(config: Benchmark) -> None:
    """Measure every store in a process of its own, so that memory is its own."""
    if config.store is not None:
        report(config.store, config)
        return
    for episodes in config.episodes:
        with tempfile.TemporaryDirectory() as folder:
            make_store(Path(folder), episodes=episodes)
            report(Path(folder), config)


def report(root: Path, config: Benchmark) -> None:
    """Run `measure` in a fresh process and print what it found."""
    arguments = [sys.executable, __file__, "--measure", str(root)]
    arguments += [str(config.batch_size), str(config.seconds)]
    found = json.loads(subprocess.run(arguments, capture_output=True, check=True).stdout)
    margin = found["clips_per_s"] * config.step_seconds / config.batch_size
    print(
        f"{found['episodes']:6d} episodes {found['frames']:8d} frames | open "
        f"{found['open_ms']:6.1f} ms, first batch {found['first_batch_ms']:6.1f} ms | "
        f"{found['clips_per_s']:6.0f} clips/s, {1e6 / found['clips_per_s']:5.0f} us a clip, "
        f"{margin:6.0f} x a step's need | grown by {found['grown_mib']:.0f} MiB "
        f"(heap {found['heap_mib']:.0f} MiB)"
    )


def measure(root: Path, *, batch_size: int, seconds: float) -> dict[str, float]:
    """Open a store and read random batches for a while."""
    before, heap_before = resident_mib(), heap_mib()
    start = time.perf_counter()
    store = TokenStore(root)
    open_ms = 1e3 * (time.perf_counter() - start)
    start = time.perf_counter()
    count = len(store.clips("train"))
    store.batch(np.arange(batch_size), split="train")
    first_batch_ms = 1e3 * (time.perf_counter() - start)
    generator = np.random.default_rng(0)
    start, clips = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        store.batch(generator.integers(count, size=batch_size), split="train")
        clips += batch_size
    return {
        "episodes": len(store.episodes),
        "frames": store.num_frames,
        "open_ms": open_ms,
        "first_batch_ms": first_batch_ms,
        "clips_per_s": clips / (time.perf_counter() - start),
        "grown_mib": resident_mib() - before,
        "heap_mib": heap_mib() - heap_before,
    }


def resident_mib() -> float:
    """Largest memory of this process so far, mapped pages of files counted in."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def heap_mib() -> float:
    """Memory of this process that is no mapped file."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def make_store(root: Path, *, episodes: int) -> None:
    """A store of random tokens, shaped as robosuite Lift's."""
    generator = np.random.default_rng(0)
    shards = -(-episodes // SHARD)
    for shard in range(shards):
        count = min(SHARD, episodes - shard * SHARD) * ROWS
        folder = shard_folder(root, shard)
        folder.mkdir(parents=True)
        codes = generator.integers(2**18, size=(2, count, 64), dtype=np.int32)
        np.save(folder / "rgb.npy", codes[0])
        np.save(folder / "depth.npy", codes[1])
        np.save(folder / "actions.npy", np.zeros((count, 7), np.float32))
        np.save(folder / "state.npy", np.zeros((count, 16), np.float32))
        np.save(folder / "tracks.npy", np.zeros((count, POINTS, 2), np.float16))
        np.save(folder / "visible.npy", np.ones((count, POINTS), bool))
    numbers = np.arange(episodes)
    table = {
        "shard": numbers // SHARD,
        "first_row": numbers % SHARD * ROWS,
        "length": np.full(episodes, ROWS),
        "seed": numbers,
    }
    pq.write_table(pa.table(table), root / EPISODES)
    write_json(root / STORE, asdict(store_config()))


def store_config() -> StoreConfig:
    """What a Lift store says about itself."""
    convention = ActionConvention(
        mode="delta",
        names=("x", "y", "z", "rx", "ry", "rz", "gripper"),
        units=("m", "m", "m", "rad", "rad", "rad", "1"),
        scale=(0.05, 0.05, 0.05, 0.5, 0.5, 0.5, 1.0),
        frame="robot_base",
        rotation="axis_angle",
        gripper="-1 opens, +1 closes",
        action_hz=20.0,
    )
    size = control_size(convention, stride=4, state_size=16)
    return StoreConfig(
        tokenizer=TokenizerConfig(),
        tokenizer_sha256="synthetic",
        camera="agentview",
        annotator="simulator",
        datasets=("synthetic",),
        controls=ControlStatistics(
            convention=convention, stride=4, state_size=16, mean=(0.0,) * size, std=(1.0,) * size
        ),
        has_depth=True,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        root, batch_size, seconds = sys.argv[2:]
        print(json.dumps(measure(Path(root), batch_size=int(batch_size), seconds=float(seconds))))
    else:
        main(tyro.cli(Benchmark))
