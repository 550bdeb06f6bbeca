"""Boundary error of the kinematic segmenter against the Lift simulator's truth.

    python -m studies.annotators.segmentation --episodes 60 --seed 800000 --output runs/segmentation

Episodes are simulated again from their seeds, so that three truths can be read off the simulation
that no recording holds:

- phases: the rows in which the episode's script begins another motion (above, down, close, lift,
  carry, put down, open, up; of play: the next place);
- contact: the rows in which both fingers begin, or cease, to hold the cube between them;
- success: the rows in which the cube passes 4 cm above the table.

A border counts as found where the segmenter has one within the tolerance (one to one, nearest
first). Phases also give precision: borders that no phase explains are wrong. No image is rendered.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from roboscape.annotate.accuracy.segments import BoundaryAccuracy, boundary_accuracy
from roboscape.annotate.segments.kinematic import KinematicSegmenter
from roboscape.annotate.segments.protocol import RecordedMotion
from roboscape.core.files import write_json
from roboscape.sources import lift, lift_behaviours
from roboscape.sources.osc_pose import OSC_POSE_ACTION
from roboscape.sources.proportions import Proportions, behaviour_of
from studies.pages import as_markdown, fill

TRUTHS = ("phases", "contact", "success")
ROWS = {
    "phases": "the script begins another motion",
    "contact": "both fingers take, or let go of, the cube",
    "success": "the cube passes 4 cm above the table",
}


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What to measure."""

    episodes: int = 60
    """Episodes, the first with `seed`."""
    seed: int = 800_000
    """Choose settings on one range of seeds, report on another."""
    horizon: int = 100
    """Rows of an episode."""
    tolerance_s: float = 0.25
    """How near a border must be to the truth to count as found."""
    segmenter: KinematicSegmenter = field(default_factory=KinematicSegmenter)
    output: Path | None = None
    """Folder for `segmentation.json`."""
    page: Path | None = None
    """Page to write the table of all behaviours into."""


class Watched:
    """Simulates a Lift episode as collecting does, unrendered, and writes down the truth."""

    def __init__(self, config: Benchmark) -> None:
        self._config = config
        self._scene = lift.LiftScene()
        self._phases: list[int] = []
        self._row = 0
        self._move = lift_behaviours.move
        # Every motion of every script begins with one call of `move`.
        lift_behaviours.move = self._watched_move

    def _watched_move(self, *arguments: Any, **options: Any) -> Any:
        self._phases.append(self._row)
        return (yield from self._move(*arguments, **options))

    def simulate(self, seed: int) -> tuple[RecordedMotion, dict[str, list[int]], str]:
        """What the robot recorded, the truth by name, and the behaviour."""
        behaviour, scene = behaviour_of(seed, Proportions()), self._scene
        scene.reset(seed, behaviour=behaviour)
        script = scene.script(seed, behaviour=behaviour)
        # Resetting brings the arm to where the episode begins, by motions of its own.
        self._phases, self._row = [], 0
        rows: dict[str, list[Any]] = {"actions": [], "state": [], "contact": [], "success": []}
        for _ in range(self._config.horizon):
            action = script(scene.view())
            rows["actions"].append(action)
            rows["state"].append(scene.state())
            rows["contact"].append(self._holds())
            rows["success"].append(scene.solved())
            scene.step(action)
            self._row += 1
        motion = RecordedMotion(
            actions=np.stack(rows["actions"]),
            state=np.stack(rows["state"]),
            state_names=lift.STATE_NAMES,
            convention=OSC_POSE_ACTION,
            fps=lift.CONTROL_HZ,
            task=lift.TASK,
        )
        inside = sorted({row for row in self._phases if 0 < row < self._config.horizon})
        changes = {name: np.flatnonzero(np.diff(rows[name])) + 1 for name in TRUTHS[1:]}
        truth = {name: found.tolist() for name, found in changes.items()}
        return motion, {"phases": inside, **truth}, behaviour

    def _holds(self) -> bool:
        environment = self._scene._environment
        return bool(
            environment._check_grasp(
                gripper=environment.robots[0].gripper, object_geoms=environment.cube
            )
        )


def main(config: Benchmark) -> None:
    """Measure, print a table, and keep it."""
    watched = Watched(config)
    found: dict[str, dict[str, list[tuple[list[int], list[int]]]]] = {}
    for seed in range(config.seed, config.seed + config.episodes):
        motion, truth, behaviour = watched.simulate(seed)
        segments = config.segmenter.annotate(None, motion=motion)
        borders = [one.first for one in segments[1:]]
        for group in ("all", behaviour):
            for name in TRUTHS:
                found.setdefault(group, {}).setdefault(name, []).append((borders, truth[name]))
    table = {
        group: {
            name: boundary_accuracy(pairs, fps=lift.CONTROL_HZ, tolerance_s=config.tolerance_s)
            for name, pairs in by_truth.items()
        }
        for group, by_truth in found.items()
    }
    print(f"{config.episodes} episodes from seed {config.seed}, within {config.tolerance_s} s")
    print(
        f"{'behaviour':14}{'truth':10}{'borders':>8}{'found':>8}{'right':>8}{'error':>10}{'bias':>10}"
    )
    for group, by_truth in table.items():
        for name, one in by_truth.items():
            print(line(group, name, one))
    if config.page:
        fill(config.page, "segments", as_table(table["all"], config))
    if config.output:
        content = {g: {n: asdict(one) for n, one in t.items()} for g, t in table.items()}
        settings = {"episodes": config.episodes, "seed": config.seed, **asdict(config.segmenter)}
        write_json(config.output / "segmentation.json", {"settings": settings, "accuracy": content})


def as_table(by_truth: dict[str, BoundaryAccuracy], config: Benchmark) -> str:
    """The table as Markdown."""
    rows = [
        (
            ROWS[name],
            one.truths,
            f"{one.recall:.0%}",
            f"{one.precision:.0%}" if name == "phases" else "",
            f"{one.error_s * 1000:.0f} ms",
            f"{one.bias_s * 1000:+.0f} ms",
        )
        for name, one in by_truth.items()
    ]
    header = ("true borders", "of them", "recall", "precision", "mean distance", "bias")
    note = (
        f"`kinematic`, {config.episodes} episodes simulated again from seed {config.seed}; a "
        f"border counts as found within {config.tolerance_s:g} s."
    )
    return f"{as_markdown(header, rows)}\n\n{note}"


def line(group: str, name: str, one: BoundaryAccuracy) -> str:
    """One row of the table; precision is said for phases alone."""
    right = f"{one.precision:8.0%}" if name == "phases" else f"{'':8}"
    return (
        f"{group:14}{name:10}{one.truths:8d}{one.recall:8.0%}{right}"
        f"{one.error_s:8.3f} s{one.bias_s:+8.3f} s"
    )


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
