"""How far the imagined hand is from the recorded one, by behaviour: where the arm model goes wrong.

    roboscape collect lift --output data/lift_validation --seed 800100 --episodes 32
    python benchmarks/training/arm_error.py data/lift_validation

The arm model knows commands and the first state, and nothing of the scene.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

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


def main(config: ArmError) -> None:
    """Print medians and means in millimetres."""
    arm = Bundle.from_pretrained(config.checkpoint).controls.proprioception
    if arm is None:
        raise SystemExit(f"{config.checkpoint} has no arm model")
    hand, last = hand_columns(arm.config.state_names), max(config.rows)
    found: dict[str, list[list[float]]] = defaultdict(list)
    for dataset in map(LeRobotDataset, config.datasets):
        arm.check(dataset)
        for episode in range(dataset.num_episodes):
            states = dataset.state(episode)
            if len(states) <= last:
                continue
            actions = dataset.actions(episode)[None, :last]
            imagined = arm.imagine(actions, states[None, 0])[0]
            away_mm = 1000 * np.linalg.norm((imagined - states[: last + 1])[:, hand], axis=1)
            found[dataset.episode_info(episode).behaviour].append(
                away_mm[list(config.rows)].tolist()
            )
    print(f"{'behaviour':<16}episodes   mm after {config.rows} rows: median; mean")
    for behaviour, errors in sorted(found.items()):
        median, mean = np.median(errors, axis=0).round(1), np.mean(errors, axis=0).round(1)
        print(f"{behaviour:<16}{len(errors):8d}   {median.tolist()}; {mean.tolist()}")


if __name__ == "__main__":
    main(tyro.cli(ArmError, description=__doc__))
