"""What collecting costs: CPU seconds an episode, and where they go.

    python benchmarks/speed/collect.py                       # Lift
    python benchmarks/speed/collect.py --source metaworld    # Meta-World, tasks in turn

Simulates in this process, one episode after the other. Meta-World builds a new simulation for each
episode, which is counted. Prints the median and the range over the episodes, the share of
rendering, and the cost of saving (video encoding). All are seconds of CPU time of this process, so
that they hold on a busy machine: on an idle one they are what a worker takes.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from roboscape.collect.lift import CollectLift, LiftRecorder, lift_spec
from roboscape.collect.metaworld import CollectMetaworld, MetaworldRecorder, metaworld_spec
from roboscape.collect.simulate import Simulator
from roboscape.dataset.records import DatasetSpec, Episode
from roboscape.dataset.writer import DatasetWriter
from roboscape.sources.simulation import SceneRenderer


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What to measure."""

    source: Literal["lift", "metaworld"] = "lift"
    """The simulator."""
    episodes: int = 8
    """Episodes to simulate, after one that warms up."""


class Stopwatch:
    """Adds up the time spent in a method of a class."""

    def __init__(self, owner: type, method: str) -> None:
        self.seconds = 0.0
        self.calls = 0
        original = getattr(owner, method)

        def timed(*arguments: object, **settings: object) -> object:
            begin = time.process_time()
            result = original(*arguments, **settings)
            self.seconds += time.process_time() - begin
            self.calls += 1
            return result

        setattr(owner, method, timed)


def make(source: str) -> tuple[Simulator, DatasetSpec, int]:
    """A simulator, what its datasets have in common, and the rows of an episode."""
    if source == "lift":
        lift = CollectLift(output=Path(), episodes=1)
        return LiftRecorder(lift), lift_spec(lift), lift.horizon
    world = CollectMetaworld(output=Path(), episodes=1)
    return MetaworldRecorder(world), metaworld_spec(world), world.horizon


def main(config: Benchmark) -> None:
    """Simulate, then save, and print both."""
    begin = time.process_time()
    simulator, spec, rows = make(config.source)
    simulator.simulate(0)
    print(
        f"{config.source}: ready after {time.process_time() - begin:.1f} s, {rows} rows an episode"
    )
    rendering = Stopwatch(SceneRenderer, "render")
    seconds, episodes = [], []
    for seed in range(1, config.episodes + 1):
        begin = time.process_time()
        episodes.append(simulator.simulate(seed))
        seconds.append(time.process_time() - begin)
    simulator.close()
    print(
        f"simulate  {statistics.median(seconds):.2f} s an episode "
        f"({min(seconds):.2f} to {max(seconds):.2f} over {len(seconds)})"
    )
    print(
        f"  of it rendering RGB and depth {rendering.seconds / sum(seconds):.0%}: "
        f"{rendering.seconds / rendering.calls * 1000:.1f} ms a frame"
    )
    print(f"save      {seconds_to_save(episodes, spec) / len(episodes):.2f} s an episode")


def seconds_to_save(episodes: list[Episode], spec: DatasetSpec) -> float:
    """Time to write episodes as a LeRobot dataset."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        with DatasetWriter(Path(folder) / "dataset", spec) as writer:
            for episode in episodes:
                writer.add(episode)
        return time.process_time() - begin


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
