"""How far the imagined hand is from the recorded one, by behaviour: where the arm model goes wrong.

    roboscape collect lift --no-pictures --output data/numbers --seed 800100 --episodes 96
    python benchmarks/training/arm_error.py data/numbers

The arm model knows commands and the first state; one that is told where objects are is measured
with what the recording says of the first row, and without.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from roboscape.controls.proprioception import Proprioception
from roboscape.dataset.cameras import hand_columns
from roboscape.dataset.reader import LeRobotDataset
from roboscape.rollout.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class ArmError:
    """What is measured."""

    datasets: tyro.conf.Positional[tuple[Path, ...]]
    """LeRobot datasets of the bundle's robot."""
    checkpoint: str = "lift"
    """Name, folder or hub name of a bundle with an arm model."""
    rows: tuple[int, ...] = (4, 16, 32, 60)
    """Native rows after which the distance is taken; shorter episodes are left out."""


def parts_of(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Columns of the state whose distance is taken, by what they are."""
    fingers = [i for i, name in enumerate(names) if name.startswith("gripper_finger")]
    return {"hand": hand_columns(names), "fingers": fingers}


def errors_of(
    dataset: LeRobotDataset, arm: Proprioception, *, rows: tuple[int, ...]
) -> Iterator[tuple[tuple[str, str, str], list[float]]]:
    """Distances in millimetres after so many rows, one entry an episode, part and kind of start."""
    arm.check(dataset)
    told = dataset.spec.object_names and dataset.spec.object_names == arm.config.object_names
    last, parts = max(rows), parts_of(arm.config.state_names)
    for episode in range(dataset.num_episodes):
        states = dataset.state(episode)
        if len(states) <= last:
            continue
        actions = dataset.actions(episode)[None, :last]
        known = {"untold": None} | ({"told": dataset.objects(episode)[:1]} if told else {})
        for which, objects in known.items():
            imagined = arm.imagine(actions, states[None, 0], objects=objects)[0]
            for part, columns in parts.items():
                away_m = np.linalg.norm((imagined - states[: last + 1])[:, columns], axis=1)
                for behaviour in (dataset.episode_info(episode).behaviour, "all"):
                    yield (part, behaviour, which), (1000 * away_m[list(rows)]).tolist()


def main(config: ArmError) -> None:
    """Print medians and means in millimetres."""
    arm = Bundle.from_pretrained(config.checkpoint).controls.proprioception
    if arm is None:
        raise SystemExit(f"{config.checkpoint} has no arm model")
    found: dict[tuple[str, str, str], list[list[float]]] = defaultdict(list)
    for dataset in map(LeRobotDataset, config.datasets):
        for key, errors_mm in errors_of(dataset, arm, rows=config.rows):
            found[key].append(errors_mm)
    print(f"{'':<32}episodes   mm after {config.rows} rows: median; mean")
    for (part, behaviour, which), errors in sorted(found.items()):
        median, mean = np.median(errors, axis=0).round(1), np.mean(errors, axis=0).round(1)
        title = f"{part}, {behaviour}, {which}"
        print(f"{title:<32}{len(errors):8d}   {median.tolist()}; {mean.tolist()}")


if __name__ == "__main__":
    main(tyro.cli(ArmError, description=__doc__))
