"""Act by imagination in the true simulator, beside the policy alone and beside chance: `plan`."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.core.files import append_json_line, write_json
from roboscape.core.progress import progress
from roboscape.core.runs import open_run
from roboscape.dataset.cameras import hand_columns
from roboscape.planning.costs import (
    Cost,
    Goal,
    GoalDepthCost,
    GoalImageCost,
    GoalStateCost,
    GoalTokenCost,
    read_goals,
)
from roboscape.planning.goals import GoalDistance, Never, expert_goals
from roboscape.planning.imagining import Imaginer
from roboscape.planning.lift import LiftCost
from roboscape.planning.ranking import RankedPolicy
from roboscape.planning.sampling import RandomPolicy, SamplingConfig, SamplingPlanner
from roboscape.policies.episodes import EpisodeOutcome, EpisodePlan, run_episodes
from roboscape.policies.opening import open_policy
from roboscape.policies.protocol import Policy, PolicyInput
from roboscape.policies.rates import SuccessRate, success_rate
from roboscape.policies.run import read_episodes
from roboscape.policies.worlds import WorldChoice, learned_simulator, starts_of, true_simulator
from roboscape.simulators.protocol import Index, Mask, Simulator
from roboscape.simulators.success import TrueSuccess

log = logging.getLogger(__name__)

GoalKind = Literal["lift", "state", "image", "pixels", "depth", "tokens"]
Actor = Literal["planned", "policy", "random"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Act in the true simulator by what a bundle imagines, and say how often that succeeds."""

    output: Path
    """Folder of the results; an interrupted run continues there."""
    goal: GoalKind = "state"
    """`lift`: solve the task. The others: bring the hand where an expert brought it, given as the
    hand's position, as an image that the bundle's state reader reads it off, or as pixels, depth or
    tokens that the imagined ones are compared with."""
    policy: str = ""
    """A trained policy whose proposals are ranked; empty: action sequences are searched."""
    proposals: int = 16
    """Chunks of the policy that are imagined for a decision."""
    world: WorldChoice = field(default_factory=lambda: WorldChoice(bundle="lift"))
    """The bundle that imagines, and the true simulator to act in."""
    search: SamplingConfig = field(default_factory=SamplingConfig)
    """How sequences are searched where no policy proposes any."""
    episodes: int = 16
    """Number of starts; start i has the seed `seed` + i."""
    seed: int = 800_000
    """Seed of the first start: 800000 and above is validation, 900000 and above is test."""
    seconds: float = 0.0
    """Simulated time of an episode; 0: 10 s to lift, 4 s to reach."""
    goal_seconds: float = 1.6
    """How long the expert acts before its frame is the goal."""
    near_m: float = 0.03
    """The hand has reached its goal where it ends within this distance of it."""
    beside: bool = True
    """Also measure random actions, and the policy alone."""

    def __post_init__(self) -> None:
        """Refuse to measure nothing."""
        if self.episodes < 1 or self.seconds < 0 or self.goal_seconds <= 0 or self.near_m <= 0:
            raise UserError(
                "expected episodes >= 1, seconds >= 0, goal_seconds > 0 and near_m > 0, got "
                f"{self.episodes}, {self.seconds:g}, {self.goal_seconds:g} and {self.near_m:g}"
            )
        if not self.world.bundle:
            raise UserError("expected a bundle that imagines: --world.bundle lift")
        if self.goal == "lift" and self.world.task != "Lift":
            raise UserError(f"--goal lift is a goal of the task Lift, got {self.world.task}")

    @property
    def seeds(self) -> list[int]:
        """Of all starts."""
        return list(range(self.seed, self.seed + self.episodes))

    @property
    def max_frames(self) -> int:
        """Of an episode."""
        seconds = self.seconds or (10.0 if self.goal == "lift" else 4.0)
        return round(seconds * self.world.frame_hz)


@dataclass(frozen=True, kw_only=True)
class ActorResult:
    """The result of one way of acting."""

    actor: str
    success: SuccessRate
    final_distance_m: float | None
    """Median distance of the hand from its goal at the end; None where the task is to be solved."""
    first_distance_m: float | None
    """The same at the start."""
    seconds_per_decision: float | None
    """Wall time of one world's decision, imagining included; None where nothing was run now."""

    def __str__(self) -> str:
        """In words."""
        words = f"{self.actor}: {self.success}"
        if self.final_distance_m is not None and self.first_distance_m is not None:
            words += (
                f", the hand ends {100 * self.final_distance_m:.1f} cm from its goal (median; at "
                f"the start {100 * self.first_distance_m:.1f} cm)"
            )
        if self.seconds_per_decision is not None:
            words += f", {self.seconds_per_decision:.2f} s a decision"
        return words


class TimedPolicy:
    """A policy, and how long its decisions take."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.spec = policy.spec
        self.seconds, self.decisions = 0.0, 0

    def reset(self, seeds: Sequence[int], *, where: Mask | None = None) -> None:
        """Begin episodes."""
        self._policy.reset(seeds, where=where)

    def act(self, observed: PolicyInput, *, worlds: Index) -> Float[np.ndarray, "b c a"]:
        """The policy's chunks."""
        clock = time.perf_counter()
        chunks = self._policy.act(observed, worlds=worlds)
        self.seconds += time.perf_counter() - clock
        self.decisions += len(worlds)
        return chunks

    def close(self) -> None:
        """Free the policy."""
        self._policy.close()


def run(config: Plan) -> list[ActorResult]:
    """Run what is missing; leaves a JSONL file for each way of acting, and `plan.json`."""
    open_run(config.output, config)
    simulator = true_simulator(config.world, batch=config.world.batch)
    imagining = learned_simulator(config.world)
    goals: dict[int, Goal] = {}
    if config.goal != "lift":
        goals = expert_goals(
            config.world,
            config.seeds,
            seconds=config.goal_seconds,
            action_hz=simulator.spec.action.action_hz,
        )
    actors = make_actors(config, Imaginer(imagining, task=simulator.spec.task), goals=goals)
    results = []
    for name, policy in actors.items():
        results.append(_measure(config, simulator, policy, actor=name, goals=goals))
        log.info("%s", results[-1])
    simulator.close()
    imagining.close()
    content = {"goal": config.goal, "seed": config.seed, "actors": [asdict(one) for one in results]}
    write_json(config.output / "plan.json", content)
    return results


def make_actors(config: Plan, imaginer: Imaginer, *, goals: dict[int, Goal]) -> dict[Actor, Policy]:
    """The ways of acting that are measured, by name."""
    cost = make_cost(config, imaginer, goals=goals)
    planner: Policy = SamplingPlanner(imaginer, cost, config.search)
    if config.policy:
        policy = open_policy(config.policy, device=config.world.device)
        planner = RankedPolicy(
            policy, imaginer, cost, proposals=config.proposals, doubt=config.search.doubt
        )
    actors: dict[Actor, Policy] = {"planned": planner}
    if config.beside:
        actors["random"] = RandomPolicy(planner.spec, config.search)
        if config.policy:
            actors["policy"] = open_policy(config.policy, device=config.world.device)
    return actors


def make_cost(config: Plan, imaginer: Imaginer, *, goals: dict[int, Goal]) -> Cost:
    """The cost of a goal."""
    world = imaginer.simulator.spec
    cameras = [one.name for one in world.cameras]
    camera = cameras[0]
    match config.goal:
        case "lift":
            return LiftCost(
                camera=camera,
                state_names=world.state_names,
                image_size=config.world.image_size,
            )
        case "state":
            return GoalStateCost(goals, columns=hand_columns(world.state_names))
        case "image":
            read = read_goals(goals, bundle=imaginer.simulator.bundle, cameras=cameras)
            return GoalStateCost(read, columns=hand_columns(world.state_names))
        case "pixels":
            return GoalImageCost(goals, camera=camera)
        case "depth":
            return GoalDepthCost(goals, camera=camera)
        case "tokens":
            tokenizer = imaginer.simulator.bundle.tokenizer
            return GoalTokenCost(goals, cameras=cameras, tokenizer=tokenizer)


def _measure(
    config: Plan, simulator: Simulator, policy: Policy, *, actor: Actor, goals: dict[int, Goal]
) -> ActorResult:
    """Run one way of acting from the starts that are missing."""
    file = config.output / f"{actor}.jsonl"
    done = read_episodes(file)
    seeds = [seed for seed in config.seeds if seed not in done]
    timed = TimedPolicy(policy)
    if seeds:
        _act(config, simulator, timed, seeds=seeds, goals=goals, file=file, actor=actor)
        done = read_episodes(file)
    rows = [done[seed] for seed in config.seeds]
    return ActorResult(
        actor=actor,
        success=success_rate([row["success"] for row in rows]),
        first_distance_m=float(np.median([row["first_m"] for row in rows])) if goals else None,
        final_distance_m=float(np.median([row["final_m"] for row in rows])) if goals else None,
        seconds_per_decision=timed.seconds / timed.decisions if timed.decisions else None,
    )


def _act(
    config: Plan,
    simulator: Simulator,
    policy: Policy,
    *,
    seeds: list[int],
    goals: dict[int, Goal],
    file: Path,
    actor: Actor,
) -> None:
    """Run episodes, and append a line for each as it ends."""
    bar = progress(config.episodes, actor, initial=config.episodes - len(seeds), unit="episodes")
    distance = GoalDistance(goals, seeds=seeds, world=simulator.spec) if goals else None

    def note(number: int, outcome: EpisodeOutcome) -> None:
        row: dict[str, Any] = {
            "seed": seeds[number],
            "success": outcome.success,
            "frames": outcome.frames,
        }
        if distance is not None:
            metres = distance.metres[number]
            row |= {
                "success": metres[-1] <= config.near_m,
                "first_m": round(metres[0], 5),
                "final_m": round(metres[-1], 5),
            }
        append_json_line(file, row)
        bar.update()

    run_episodes(
        simulator,
        policy,
        EpisodePlan(
            starts=starts_of(replace(config.world, bundle=""), seeds),
            seeds=seeds,
            max_frames=config.max_frames,
        ),
        success=Never() if goals else TrueSuccess(),
        watch=distance,
        on_end=note,
    )
    bar.close()
