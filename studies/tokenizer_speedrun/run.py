"""Learning per CPU second of the tokenizer: every change on its own, at an equal budget.

    python -m studies.tokenizer_speedrun.run run --output runs/speedrun_tokenizer
    python -m studies.tokenizer_speedrun.run table --output runs/speedrun_tokenizer \
        --page docs/speedrun-tokenizer.md

Each variant is trained once per seed for a fixed number of CPU seconds on one thread, with its
learning rate's schedule as long as that allows, and scored on validation episodes. What is finished
is not done again; several processes on one output folder share the work.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tqdm import trange

from roboscape.core.files import read_json, write_json
from roboscape.core.runs import describe_machine, git
from roboscape.dataset.depth_choice import RECORDED
from roboscape.dataset.reader import LeRobotDataset
from roboscape.tokenizer.frames import FrameCache, cache_dataset
from roboscape.tokenizer.train import needed_episodes
from studies.sharing import agree_on_settings, claimed
from studies.tokenizer_speedrun.scores import mean_frame_psnr, measure
from studies.tokenizer_speedrun.table import TableConfig, write_table
from studies.tokenizer_speedrun.training import Training, costs_the_same, cpu_seconds
from studies.tokenizer_speedrun.variants import VARIANTS, variant_named

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What to train."""

    output: Path = Path("runs/speedrun_tokenizer")
    """Results, one file a training; also the frames."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Which changes, in this order; all of them where not given. `+` joins several into one."""
    seeds: tuple[int, ...] = (0, 1)
    """Each trains every variant."""
    budget_s: float = 120.0
    """CPU seconds of a training."""
    dataset: Path = Path("data/lift_train")
    """Learnt from."""
    validation: Path = Path("data/lift_validation")
    """Scored on."""
    episodes: int = 400
    """Learnt from."""
    validation_episodes: int = 16
    """Scored on."""
    stride: int = 4
    """Every so many frames of an episode."""

    def __post_init__(self) -> None:
        """Refuse variants that there are not."""
        for name in self.variants:
            variant_named(name)

    def settings(self) -> dict[str, Any]:
        """What all results of an output folder have in common."""
        chosen = {"output", "variants", "seeds"}
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
            if name not in chosen
        }


@dataclass(frozen=True, kw_only=True)
class Frames:
    """What is learnt from, and what is scored on."""

    train: FrameCache
    held_out: FrameCache


def run(config: RunConfig) -> None:
    """Train and score what is not done yet and no other process works on."""
    torch.set_num_threads(1)
    agree_on_settings(config.output, config.settings())
    with claimed(config.output / "claims" / "frames", wait=True):
        frames = open_frames(config)
    for name in config.variants:
        for seed in config.seeds:
            path = config.output / "results" / f"{name}_{seed}.json"
            with claimed(config.output / "claims" / path.stem) as mine:
                if mine and not path.is_file():
                    write_json(path, train_and_judge(name, frames, seed=seed, config=config))


def open_frames(config: RunConfig) -> Frames:
    """Decode them the first time, map them afterwards."""

    def cached(root: Path, split: Any, episodes: int, name: str) -> FrameCache:
        dataset = LeRobotDataset(root)
        return cache_dataset(
            dataset,
            config.output / name,
            episodes=needed_episodes(dataset, split)[:episodes],
            camera=dataset.spec.cameras[0].name,
            depth=RECORDED,
            stride=config.stride,
        )

    return Frames(
        train=cached(config.dataset, "train", config.episodes, "frames"),
        held_out=cached(
            config.validation, "validation", config.validation_episodes, "validation_frames"
        ),
    )


def train_and_judge(name: str, frames: Frames, *, seed: int, config: RunConfig) -> dict[str, Any]:
    """One training, to the end of its budget, and its scores."""
    step_s = step_seconds(name, frames, config=config)
    steps = max(1, round(config.budget_s / step_s))
    variant = variant_named(name)
    training = Training.start(variant, frames.train, seed=seed, steps=steps)
    start, clock = time.process_time(), time.perf_counter()
    loss = float("nan")
    for _ in trange(steps, desc=f"{name} {seed}", mininterval=10):
        loss = training.take_step()
    spent, wall = time.process_time() - start, time.perf_counter() - clock
    tokenizer = training.result()
    return {
        "variant": name,
        "change": variant.change,
        "seed": seed,
        "steps": steps,
        "step_s": step_s,
        "cpu_s": spent,
        "wall_s": wall,
        "loss": loss,
        "parameters": sum(parameter.numel() for parameter in tokenizer.parameters()),
        "mean_frame_psnr": mean_frame_psnr(frames.train, frames.held_out),
        "scores": asdict(measure(tokenizer, frames.held_out)),
        "configuration": asdict(training.run),
        "commit": git("rev-parse", "HEAD"),
        "machine": describe_machine(),
    }


def step_seconds(name: str, frames: Frames, *, config: RunConfig) -> float:
    """CPU seconds of a step: the baseline's, times how much more this one takes beside it.

    Both are measured once and kept, so all seeds of a variant take equally many steps.
    """
    variant, baseline = variant_named(name), VARIANTS["baseline"]
    folder = config.output / "costs"
    alone = kept(folder / "baseline.json", lambda: cpu_seconds([baseline], frames.train)[0])
    if costs_the_same(variant, baseline):
        return alone

    def ratio() -> float:
        first, second = cpu_seconds([baseline, variant], frames.train)
        return second / first

    return alone * kept(folder / f"{name}_to_baseline.json", ratio)


def kept(path: Path, work_out: Callable[[], float]) -> float:
    """A figure from a file; worked out, by one process, where there is none yet."""
    with claimed(path.with_suffix(".claim"), wait=True):
        if not path.is_file():
            write_json(path, work_out())
        return read_json(path)


Command = (
    Annotated[RunConfig, tyro.conf.subcommand("run")]
    | Annotated[TableConfig, tyro.conf.subcommand("table")]
)


def main() -> None:
    """Train and score, or write the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    command = tyro.cli(Command, description=(__doc__ or "").splitlines()[0])
    if isinstance(command, RunConfig):
        run(command)
    else:
        write_table(command)


if __name__ == "__main__":
    main()
