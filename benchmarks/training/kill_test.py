"""Kill a training again and again with SIGKILL; it must end as if nothing had happened.

    python benchmarks/training/kill_test.py --kills 100

A tiny world model trains on random tokens and writes a checkpoint after every step. Most kills
come at a random moment of the training, some while it opens its run and data, some as soon as a
checkpoint is seen being written. After each kill every checkpoint must be readable and none may be
lost; at the end the weights, the checkpoint and the reported losses must be, bit for bit, those of
a run that was never disturbed. Exits with 1 where they are not.

Every training is a process of its own, forked from one that has imported PyTorch already: otherwise
most of the time, and most of the kills, would go into imports. `--fresh` starts the real command.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a process with threads cannot be forked

import tyro
from safetensors.torch import load_file

import roboscape.presets.world_model  # noqa: F401  (imported here, so that no fork need do it)
from roboscape import cli
from roboscape.bench.synthetic_store import make_store
from roboscape.core.files import read_json
from roboscape.training.checkpoint import checkpoints
from roboscape.training.loop import read_metrics

Aim = Literal["anywhere", "starting", "writing"]


@dataclass(frozen=True, kw_only=True)
class KillTest:
    """How often, and how long the run is."""

    kills: int = 100
    """SIGKILLs."""
    steps_per_kill: int = 6
    """Length of the run for each kill."""
    fresh: bool = False
    """Start every training as a user does."""
    seed: int = 0
    """Of the moments."""


def main(config: KillTest) -> None:
    """Train undisturbed, then with kills, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_store(root / "tokens")
        began = time.perf_counter()
        finish(config, root, "undisturbed")
        step_s = typical_step_s(root / "undisturbed")
        print(f"undisturbed: {time.perf_counter() - began:.0f} s", flush=True)
        chance = random.Random(config.seed)
        tally: Counter[str] = Counter()
        for number in range(config.kills):
            aim = chance.choices(("anywhere", "starting", "writing"), weights=(6, 1, 3))[0]
            longest_s = 1.5 * config.steps_per_kill * step_s
            tally += kill_once(config, root, aim, delay_s=chance.uniform(0, longest_s))
            if (number + 1) % 10 == 0:
                print(f"{number + 1} kills, {dict(tally)}", flush=True)
        finish(config, root, "killed")
        if tally["finished before the kill"]:
            sys.exit("the run was too short for so many kills; raise --steps-per-kill")
        compare(root / "undisturbed", root / "killed")
        minutes = (time.perf_counter() - began) / 60
        print(
            f"{config.kills} kills in {minutes:.1f} minutes ({dict(tally)}): "
            "same weights, checkpoints and losses, bit for bit; no checkpoint lost or half"
        )


def start(config: KillTest, root: Path, name: str) -> int:
    """Begin or resume a training in a process of its own; returns its id."""
    steps = config.steps_per_kill * config.kills + 20
    words = [
        *("train", "world-model", "debug", "--precision", "fp32", "--device", "cpu"),
        *("--tokens", str(root / "tokens"), "--output", str(root / name)),
        *("--model.num-layers", "1", "--model.width", "16", "--model.max-frames", "4"),
        *("--fit.steps", str(steps), "--fit.log-every", "1"),
        *("--fit.evaluate-every", str(steps), "--fit.checkpoint-every", "1"),
        *("--masking.self-predicted", "0.5", "--masking.self-predicted-after", "0"),
    ]
    if config.fresh:
        command = [sys.executable, "-m", "roboscape.cli", *words]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL).pid
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        cli.main(words)
        status = 0
    finally:
        os._exit(status)


def finish(config: KillTest, root: Path, name: str) -> None:
    """Train to the end."""
    _, status = os.waitpid(start(config, root, name), 0)
    if status:
        sys.exit(f"the training failed with status {status}")


def kill_once(config: KillTest, root: Path, aim: Aim, *, delay_s: float) -> Counter[str]:
    """Start or resume the run, kill it, and look at what it left."""
    run = root / "killed"
    before = newest_step(run)
    process = start(config, root, "killed")
    if aim != "starting":
        wait_for(process, lambda: newest_step(run) > before)
    if aim == "writing":
        wait_for(process, lambda: bool(half_written(run)))
    else:
        time.sleep(delay_s)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    left = half_written(run)
    check(run, at_least=before)
    finished = not os.WIFSIGNALED(status)
    return Counter(
        {aim: 1, "half-written at the kill": len(left), "finished before the kill": int(finished)}
    )


def wait_for(process: int, condition: Callable[[], bool]) -> None:
    """Until something is so, or the process has ended."""
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while not condition() and os.waitid(os.P_PID, process, ended) is None:
        time.sleep(0.0005)


def half_written(run: Path) -> list[Path]:
    """Checkpoints in the making (not those in the deleting)."""
    hidden = (run / "checkpoints").glob(".step_*")
    return [path for path in hidden if "retired" not in path.name]


def newest_step(run: Path) -> int:
    """Of the complete checkpoints."""
    return max((int(path.name[5:]) for path in checkpoints(run / "checkpoints")), default=0)


def check(run: Path, *, at_least: int) -> None:
    """Everything that bears a checkpoint's name is one, and what was saved stays saved."""
    found = checkpoints(run / "checkpoints")
    for path in found:
        assert load_file(path / "state.safetensors"), path
        assert read_json(path / "state.json")["step"] == int(path.name[5:]), path
    assert newest_step(run) >= at_least, f"lost the checkpoint of step {at_least}"
    assert not found or len(found) >= min(2, newest_step(run)), "the last two are kept"


def compare(undisturbed: Path, killed: Path) -> None:
    """Exit with 1 where the two runs differ."""
    names = ["world_model/model.safetensors"]
    names += [
        f"checkpoints/{path.name}/state.safetensors"
        for path in checkpoints(undisturbed / "checkpoints")
    ]
    for name in names:
        ours, theirs = (sha256(folder / name) for folder in (undisturbed, killed))
        if ours != theirs:
            sys.exit(f"{name} differs after the kills: {ours} {theirs}")
    if losses(undisturbed) != losses(killed):
        sys.exit("the reported losses differ")


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def losses(run: Path) -> list[str]:
    """Every line of the metrics but its clock."""
    lines = read_metrics(run / "metrics.jsonl")
    return [json.dumps({k: v for k, v in line.items() if k != "clock_s"}) for line in lines]


def typical_step_s(run: Path) -> float:
    """Mean time between the lines of the metrics."""
    clocks = sorted(
        line["clock_s"] for line in read_metrics(run / "metrics.jsonl") if "clock_s" in line
    )
    return (clocks[-1] - clocks[0]) / max(1, len(clocks) - 1)


if __name__ == "__main__":
    main(tyro.cli(KillTest))
