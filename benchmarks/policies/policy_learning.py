r"""Do policies learn from imagined data? The paper's Table 3, and the comparison at equal steps.

Every arm trains the compact policy for the same number of steps, on recordings, on imagined
episodes or on both, once a seed, and acts from the same starts in the true simulator. Success
rates have Wilson's 95 % intervals; differences from the first arm are paired over starts and
bootstrapped.

    python benchmarks/policies/policy_learning.py --real data/demos \
        --validation data/demos_validation \
        --imagined data/imagined --own data/imagined_from_50 --output runs/policy_learning

Interrupted, it goes on where it stopped. `docs/policies.md` has the commands that make the data.
"""

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import tyro

from roboscape.core.files import write_json
from roboscape.evaluate.statistics import Estimate, estimate
from roboscape.policies.compact.settings import CompactPolicyRun
from roboscape.policies.compact.train import POLICY
from roboscape.policies.compact.train import run as train
from roboscape.policies.rates import success_rate
from roboscape.policies.run import RunPolicy, read_episodes
from roboscape.policies.run import run as run_policy
from roboscape.policies.worlds import WorldChoice
from roboscape.training.learner import FitConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PolicyLearning:
    """What is trained on, and how it is measured."""

    real: Path
    """Recorded demonstrations."""
    validation: Path
    """Recorded demonstrations to measure the loss on."""
    imagined: Path | None = None
    """The same demonstrations, imagined (`roboscape synthesize --actions replay`)."""
    own: Path | None = None
    """Episodes imagined from the first `few` demonstrations alone."""
    output: Path
    """Folder of all runs and of `table.json`."""
    amounts: tuple[int, ...] = (200, 50, 100, 150)
    """Numbers of imagined episodes; the first is also the number of recorded ones."""
    few: int = 50
    """Recorded demonstrations of the comparison with little data."""
    added: int = 150
    """Imagined episodes that are added to these."""
    steps: int = 1000
    """Of every training."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the trainings."""
    episodes: int = 100
    """Starts that every policy acts from."""
    first_start: int = 805_000
    """Seed of the first start: 980000 and above for figures that are reported."""
    camera: str = "agentview"
    """The camera that policies read."""
    world: WorldChoice = field(default_factory=lambda: WorldChoice(batch=4, device="cpu"))
    """The simulator that measures."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one policy learns from."""

    name: str
    datasets: tuple[Path, ...]
    counts: tuple[int, ...]
    """Demonstrations of each dataset."""


def arms_of(config: PolicyLearning) -> list[Arm]:
    """The arms, the one that others are compared with first."""
    counts = config.amounts[0], config.few
    found = [
        Arm(name=f"{count} recorded", datasets=(config.real,), counts=(count,)) for count in counts
    ]
    if config.imagined is not None:
        found += [
            Arm(name=f"{count} imagined", datasets=(config.imagined,), counts=(count,))
            for count in config.amounts
        ]
    if config.own is not None:
        found.append(
            Arm(
                name=f"{config.few} recorded + {config.added} imagined from them",
                datasets=(config.real, config.own),
                counts=(config.few, config.added),
            )
        )
    return found


def successes(arm: Arm, seed: int, *, config: PolicyLearning) -> np.ndarray:
    """Train an arm with a seed and measure it; which starts it solved."""
    folder = config.output / arm.name.replace(" ", "_") / f"seed_{seed}"
    if not (folder / POLICY / "model.safetensors").is_file():
        train(
            CompactPolicyRun(
                dataset=arm.datasets[0],
                more=arm.datasets[1:],
                demonstrations=arm.counts,
                validation=config.validation,
                output=folder,
                cameras=(config.camera,),
                every_row=False,
                seed=seed,
                fit=FitConfig(
                    steps=config.steps,
                    log_every=50,
                    evaluate_every=config.steps,
                    checkpoint_every=500,
                    average_decay=0.995,
                ),
            )
        )
    run_policy(
        RunPolicy(
            policy=str(folder / POLICY),
            output=folder / "starts",
            world=config.world,
            episodes=config.episodes,
            seed=config.first_start,
        )
    )
    rows = read_episodes(folder / "starts" / "episodes.jsonl")
    return np.array([rows[start]["success"] for start in sorted(rows)], float)


def difference(found: np.ndarray, reference: np.ndarray) -> Estimate | None:
    """How much more often an arm succeeds, seeds and starts paired."""
    return estimate(found - reference[: len(found)])


def main(config: PolicyLearning) -> None:
    """Run all arms seed by seed, so that whatever is there is balanced."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arms, found = arms_of(config), {}
    for seed in config.seeds:
        for arm in arms:
            found.setdefault(arm.name, []).append(successes(arm, seed, config=config))
        report(found, config=config)


def report(found: dict[str, list[np.ndarray]], *, config: PolicyLearning) -> None:
    """Write and print what there is."""
    reference = np.stack(next(iter(found.values())))
    rows = {}
    for name, solved in found.items():
        scores = np.stack(solved)
        paired = difference(scores, reference)
        rows[name] = {
            "by_seed": [asdict(success_rate(list(one > 0))) for one in scores],
            "all": asdict(success_rate(list(scores.ravel() > 0))),
            "difference": None if paired is None else asdict(paired),
        }
        low, high = (0.0, 0.0) if paired is None else (paired.low, paired.high)
        log.info(
            "%-44s %s   difference %+.1f (%+.1f to %+.1f) points",
            name,
            success_rate(list(scores.ravel() > 0)),
            100 * (scores.mean() - reference.mean()),
            100 * low,
            100 * high,
        )
    settings = json.loads(json.dumps(asdict(config), default=str))
    write_json(config.output / "table.json", {"settings": settings, "arms": rows})


if __name__ == "__main__":
    main(tyro.cli(PolicyLearning))
