"""How fast a policy's loop runs in imagined and in true worlds, and how long a planner decides.

    python benchmarks/speed/closed_loop.py
    python benchmarks/speed/closed_loop.py --true-worlds 0   # without a true simulator

The policy itself is left out: actions are drawn before the clock starts. Wall seconds and CPU
seconds are printed; on a busy machine only the latter mean anything.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import tyro

from roboscape.core.memory import keep_freed_memory
from roboscape.dataset.cameras import hand_columns
from roboscape.planning.costs import Goal, GoalImageCost, GoalStateCost, GoalTokenCost
from roboscape.planning.imagining import Imaginer
from roboscape.planning.sampling import SamplingConfig, SamplingPlanner
from roboscape.policies.protocol import PolicyInput
from roboscape.policies.worlds import WorldChoice, true_simulator
from roboscape.rollout.bundle import PROBED, Bundle, Compute
from roboscape.simulators.learned import Decode, LearnedSimulator
from roboscape.simulators.protocol import FrameStart, SeedStart, Simulator

SHOWN: tuple[tuple[str, Decode], ...] = (
    ("RGB and depth", "all"),
    ("RGB", "rgb"),
    ("tokens alone", "none"),
)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Where and how long to measure."""

    bundle: str = "lift"
    """Folder or name of a bundle of Lift."""
    decoder: str = ""
    """Of a tokenizer whose decoder shows its frames, `lift-light-decoder`; the bundle's own where
    empty."""
    worlds: int = 16
    """Imagined worlds at a time."""
    frames: int = 20
    """Measured frames; two further ones warm up."""
    samples: int = 64
    """Of a planner's decision, at one iteration."""
    planned_frames: int = 8
    """Frames of each sample."""
    true_worlds: int = 1
    """Worlds of the true simulator beside it; 0: none."""
    threads: int = 2
    """Of PyTorch."""
    compute: Compute = PROBED
    """Where and in which format."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What something took."""

    wall_s: float
    cpu_s: float


def timed(act: Callable[[], object], *, times: int) -> Cost:
    """Mean time of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        act()
    return Cost(
        wall_s=(time.perf_counter() - wall) / times, cpu_s=(time.process_time() - cpu) / times
    )


def grey_start(bundle: Bundle, camera: str) -> FrameStart:
    """A grey scene; what it shows costs nothing."""
    side = bundle.tokenizer.config.image_size
    return FrameStart(
        rgb={camera: np.full((side, side, 3), 128, np.uint8)},
        depth_m={camera: np.ones((side, side), np.float32)},
        state=np.zeros(bundle.controls.statistics.state_size, np.float32),
    )


def steps(simulator: Simulator, *, frames: int) -> Cost:
    """Time of a frame of all worlds, which have begun."""
    spec = simulator.spec
    shape = simulator.batch, spec.stride, len(spec.action.names)
    actions = np.random.default_rng(0).uniform(-1, 1, (frames + 2, *shape)).astype(np.float32)
    left = iter(actions)
    for _ in range(2):
        simulator.step(next(left))
    return timed(lambda: simulator.step(next(left)), times=frames)


def decisions(bundle: Bundle, config: Benchmark) -> dict[str, Cost]:
    """Time of a planner's decision for one world, by cost."""
    camera = bundle.world_model.config.views[0]
    simulator = LearnedSimulator(bundle, cameras=(camera,))
    start = grey_start(bundle, camera)
    goal = {0: Goal(rgb=start.rgb, depth_m=start.depth_m, state=start.state)}
    search = SamplingConfig(
        samples=config.samples, iterations=1, frames=config.planned_frames, executed=2
    )
    seen = PolicyInput(
        rgb={camera: np.stack([start.rgb[camera]] * 2)[None]},
        depth_m={camera: np.stack([start.depth_m[camera]] * 2)[None]},
        state=np.stack([start.state] * 2)[None],
    )
    costs = {
        "goal state": GoalStateCost(goal, columns=hand_columns(simulator.spec.state_names)),
        "goal tokens": GoalTokenCost(goal, cameras=[camera], tokenizer=bundle.tokenizer),
        "goal pixels": GoalImageCost(goal, camera=camera),
    }
    found = {}
    for name, cost in costs.items():
        planner = SamplingPlanner(Imaginer(simulator), cost, search)
        planner.reset([0])
        planner.act(seen, worlds=np.zeros(1, int))
        found[name] = timed(
            lambda planner=planner: planner.act(seen, worlds=np.zeros(1, int)), times=3
        )
    return found


def main(config: Benchmark) -> None:
    """Measure and print, one JSON object a line."""
    # As every command does.
    keep_freed_memory()
    torch.set_num_threads(config.threads)
    bundle = Bundle.from_pretrained(config.bundle, decoder=config.decoder).for_imagining(
        config.compute
    )
    camera = bundle.world_model.config.views[0]
    per_cpu_second: dict[str, float] = {}

    def report(what: str, worlds: int, cost: Cost) -> None:
        per_cpu_second[what] = worlds / cost.cpu_s
        line = {
            "what": what,
            "worlds": worlds,
            "world_steps_per_s": round(worlds / cost.wall_s, 1),
            "world_steps_per_cpu_s": round(per_cpu_second[what], 1),
        }
        print(json.dumps(line), flush=True)

    for what, decode in SHOWN:
        simulator = LearnedSimulator(bundle, batch=config.worlds, cameras=(camera,), decode=decode)
        simulator.reset([grey_start(bundle, camera)] * config.worlds)
        report(f"imagined, {what}", config.worlds, steps(simulator, frames=config.frames))
        simulator.close()
    for what, cost in decisions(bundle, config).items():
        line = {
            "what": f"decision, {what}",
            "samples": config.samples,
            "frames": config.planned_frames,
            "s_per_decision": round(cost.wall_s, 3),
            "cpu_s_per_decision": round(cost.cpu_s, 3),
        }
        print(json.dumps(line), flush=True)
    if config.true_worlds:
        true = true_simulator(WorldChoice(), batch=config.true_worlds)
        true.reset([SeedStart(seed=800_000 + i) for i in range(config.true_worlds)])
        report("true, rendered", config.true_worlds, steps(true, frames=config.frames))
        true.close()
        for what in ("RGB", "tokens alone"):
            times = per_cpu_second[f"imagined, {what}"] / per_cpu_second["true, rendered"]
            line = {"what": f"imagined {what} over true, per CPU second", "times": round(times, 2)}
            print(json.dumps(line))


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
