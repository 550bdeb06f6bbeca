"""Success rates in a true and an imagined world, and how far they agree: `policy-eval`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from roboscape.core.errors import UserError
from roboscape.core.files import write_json
from roboscape.core.runs import open_run
from roboscape.policies.opening import open_policy
from roboscape.policies.worlds import WorldChoice, judge_of, open_world, starts_of
from roboscape.policy_evaluation.episodes import (
    NUDGED,
    EpisodeFiles,
    EpisodeRecord,
    EvaluatedWorld,
    World,
    replay_of,
    run_missing,
)
from roboscape.policy_evaluation.nudging import check_reads_objects, nudged
from roboscape.policy_evaluation.report import write_report
from roboscape.policy_evaluation.results import Outcomes, PolicyScores, as_json, scores_of
from roboscape.rollout.bundle import Bundle
from roboscape.simulators.learned import LearnedSimulator

log = logging.getLogger(__name__)

TEST_SEEDS = 900_000


@dataclass(frozen=True, kw_only=True)
class PolicyEval:
    """Run policies from equal starts in the true and in an imagined world, and compare."""

    policies: tuple[str, ...]
    """Folders of trained policies, or RUN@STEP: a checkpoint of a training run."""
    output: Path
    """Folder of episodes, films and the report; an interrupted evaluation continues there."""
    world: WorldChoice = field(default_factory=lambda: WorldChoice(bundle="lift"))
    """The imagined world, and the true one beside it."""
    episodes: int = 24
    """Number of starts; start i has the seed `seed` + i in both worlds, the policy's noise too."""
    seed: int = 800_000
    """Seed of the first start: 800000 and above is validation, 900000 and above is test."""
    seconds: float = 10.0
    """Simulated time after which an episode counts as failed."""
    replays: bool = True
    """Also imagine the actions of the true episodes (open loop)."""
    nudges: int = 0
    """So often each imagined episode is repeated with the objects told a little elsewhere: one that
    then ends otherwise is flagged. For bundles that read where objects are."""
    nudge_m: float = 0.005
    """How far they are moved, standard deviation along x and along y, in metres."""
    true_episodes: int = 10
    """True episodes that the prediction-powered interval is shown of each policy."""
    flagged: float = 0.1
    """Share of the imagined episodes that are flagged as doubtful."""
    check_every: int = 4
    """Every so many imagined frames go through the tokenizer again."""
    films: int = 6
    """Disagreements whose videos are in the report."""

    def __post_init__(self) -> None:
        """Refuse comparisons of nothing."""
        if len(self.policies) < 2 or self.episodes < 2 or self.seconds <= 0:
            raise UserError(
                "expected at least 2 policies, episodes >= 2 and seconds > 0, got "
                f"{len(self.policies)}, {self.episodes} and {self.seconds:g}"
            )
        if self.nudges < 0 or self.nudge_m <= 0:
            raise UserError(
                f"expected nudges >= 0 and nudge_m > 0, got {self.nudges} and {self.nudge_m:g}"
            )
        if not self.world.bundle:
            raise UserError("expected an imagined world to compare: --world.bundle lift")
        if not 0 <= self.flagged < 1 or self.check_every < 1:
            raise UserError(
                f"expected 0 <= flagged < 1 and check_every >= 1, got {self.flagged:g} and "
                f"{self.check_every}"
            )

    @property
    def seeds(self) -> list[int]:
        """Of all starts."""
        return list(range(self.seed, self.seed + self.episodes))


def run(config: PolicyEval) -> PolicyScores:
    """Run what is missing; leaves `scores.json`, `report.html` and a folder for each policy."""
    if config.nudges:
        check_reads_objects(Bundle.from_pretrained(config.world.bundle))
    open_run(config.output, config)
    labels = labels_of(config.policies)
    worlds: list[World] = ["true", "imagined", *(["replayed"] if config.replays else [])]
    worlds += [f"{NUDGED}{number + 1}" for number in range(config.nudges)]
    for name in worlds:
        if any(missing_of(config, label, name) for label in labels):
            with opened(config, name) as world:
                for policy, label in zip(config.policies, labels, strict=True):
                    _run_policy(config, world, policy=policy, label=label)
    records: dict[World, dict[str, dict[int, EpisodeRecord]]] = {
        name: {label: files_of(config, label, name).records() for label in labels}
        for name in worlds
    }
    outcomes = Outcomes.of(records, seeds=config.seeds)
    scores = scores_of(outcomes, true_episodes=config.true_episodes, flagged=config.flagged)
    write_json(config.output / "scores.json", as_json(scores))
    page = write_report(
        scores,
        outcomes,
        config.output,
        settings=settings(config),
        films=config.films,
        film_of=lambda label, name, seed: files_of(config, label, name).film(seed),
    )
    log.info("%s\n%s", scores.summary, page)
    return scores


def missing_of(config: PolicyEval, label: str, name: World) -> list[int]:
    """Seeds of the episodes that were not run yet."""
    done = files_of(config, label, name).records()
    return [seed for seed in config.seeds if seed not in done]


def _run_policy(config: PolicyEval, world: EvaluatedWorld, *, policy: str, label: str) -> None:
    """The episodes of one policy in one world, or those of its true actions."""
    if world.name == "replayed":
        acting = replay_of(files_of(config, label, "true"), world, seeds=config.seeds)
    else:
        acting = open_policy(policy, device=config.world.device)
    run_missing(
        world,
        acting,
        seeds=config.seeds,
        files=files_of(config, label, world.name),
        label=f"{label}, {world.name}",
    )
    acting.close()


@contextmanager
def opened(config: PolicyEval, name: World) -> Iterator[EvaluatedWorld]:
    """The true or the imagined world; closed afterwards."""
    choice = replace(config.world, bundle="") if name == "true" else config.world
    simulator, _ = open_world(choice)
    try:
        starts = dict(zip(config.seeds, starts_of(choice, config.seeds), strict=True))
        if name.startswith(NUDGED):
            assert isinstance(simulator, LearnedSimulator)
            number = int(name.removeprefix(NUDGED))
            starts = nudged(starts, simulator, number=number, by_m=config.nudge_m)
        yield EvaluatedWorld(
            name=name,
            simulator=simulator,
            success=judge_of(config.world, simulator),
            starts=starts,
            kept=not name.startswith(NUDGED),
            max_frames=round(config.seconds * choice.frame_hz),
            fps=choice.frame_hz,
            check_every=config.check_every,
        )
    finally:
        simulator.close()


def files_of(config: PolicyEval, label: str, world: World) -> EpisodeFiles:
    """The files of the episodes of a policy in a world."""
    return EpisodeFiles(folder=config.output / "policies" / label / world)


def labels_of(policies: tuple[str, ...]) -> list[str]:
    """Short names, one a policy: the last word of its path that says something."""
    names = [
        next((part for part in reversed(Path(name).parts) if part != "policy"), name)
        for name in policies
    ]
    return [
        name if names.count(name) == 1 else f"{name}-{names[:place].count(name) + 1}"
        for place, name in enumerate(names)
    ]


def settings(config: PolicyEval) -> dict[str, str]:
    """The settings of the comparison, for the report."""
    world = config.world
    last = config.seed + config.episodes - 1
    split = "test" if config.seed >= TEST_SEEDS else "validation"
    return {
        "True world": f"{world.task}, {world.frame_hz:g} frames a second",
        "Imagined world": f"bundle {world.bundle}",
        "Starts": f"{config.episodes}, seeds {config.seed} to {last} ({split})",
        "Longest episode": f"{config.seconds:g} s",
        "Repetitions with objects elsewhere": f"{config.nudges}, {1000 * config.nudge_m:g} mm",
        "Success": f"true world: the simulator's; imagined: {config.world.judge.kind}",
    }
