"""The episodes of an evaluation: every policy from every start, in both worlds, a line each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from roboscape.core.errors import UserError
from roboscape.core.files import append_json_line, atomic_path
from roboscape.core.progress import progress
from roboscape.core.video import write_video
from roboscape.policies.episodes import EpisodeOutcome, EpisodePlan, run_episodes
from roboscape.policies.protocol import Policy
from roboscape.policies.run import read_episodes
from roboscape.policies.scripted import RecordedPolicy
from roboscape.policy_evaluation.watching import TrueWithRule, Watcher
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import Observation, Simulator, Start
from roboscape.simulators.success import Success

World = str
"""Where an episode ran: `true`; `imagined`; `replayed`, imagined under the actions of the true
episode; `nudged_1` and so on, imagined with the objects told a little elsewhere."""
NUDGED = "nudged_"
"""Beginning of the names of the worlds whose objects are told elsewhere."""
GRACE_S = 1.0
"""How long a solved true episode goes on, so that the rule may see it too."""


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One episode, as a line of a JSONL file."""

    seed: int
    """Of its start and of the policy's noise."""
    success: bool
    """In the true world by the simulator's own word, in the imagined one by the rule."""
    by_rule: bool
    """What the rule says of the video: in the true world too."""
    frames: int
    """Steps that were taken."""
    confidence: float
    """Mean probability of the chosen tokens; 1 in the true world."""
    loss_over_motion: float
    """Re-tokenised loss in multiples of the motion; 0 in the true world."""


@dataclass(frozen=True, kw_only=True)
class EpisodeFiles:
    """The files of one policy in one world."""

    folder: Path

    @property
    def lines(self) -> Path:
        """An episode a line."""
        return self.folder / "episodes.jsonl"

    def film(self, seed: int) -> Path:
        """The video of an episode."""
        return self.folder / "films" / f"{seed}.mp4"

    def actions(self, seed: int) -> Path:
        """The native actions of an episode, float32 (n, a)."""
        return self.folder / "actions" / f"{seed}.npy"

    def records(self) -> dict[int, EpisodeRecord]:
        """The episodes that were run, by seed; a line that was cut off counts as not run."""
        names = [one.name for one in fields(EpisodeRecord)]
        return {
            seed: EpisodeRecord(**{name: row[name] for name in names})
            for seed, row in read_episodes(self.lines).items()
        }

    def add(self, record: EpisodeRecord) -> None:
        """Append an episode, after its film and actions: a line says that all of it is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        append_json_line(self.lines, asdict(record))


@dataclass(frozen=True, kw_only=True)
class EvaluatedWorld:
    """A simulator of an evaluation, and how its episodes begin and end."""

    name: World
    simulator: Simulator
    success: Success
    """Of imagined video; in true worlds what stands beside the simulator's own word."""
    starts: Mapping[int, Start]
    """By seed."""
    max_frames: int
    fps: float
    """Of films."""
    check_every: int
    """Every so many imagined frames go through the tokenizer again."""
    kept: bool = True
    """Whether films and actions are kept; of others, the outcomes alone."""


def run_missing(
    world: EvaluatedWorld,
    policy: Policy,
    *,
    seeds: Sequence[int],
    files: EpisodeFiles,
    label: str,
) -> dict[int, EpisodeRecord]:
    """Run the episodes that are not there yet; returns all, by seed."""
    done = files.records()
    missing = [seed for seed in seeds if seed not in done]
    bar = progress(len(seeds), label, initial=len(seeds) - len(missing), unit="episodes")
    if missing:
        _run(world, policy, seeds=missing, files=files, on_end=lambda: bar.update())
    bar.close()
    found = files.records()
    return {seed: found[seed] for seed in seeds}


def _run(
    world: EvaluatedWorld,
    policy: Policy,
    *,
    seeds: Sequence[int],
    files: EpisodeFiles,
    on_end: Callable[[], Any],
) -> None:
    simulator, camera = world.simulator, world.simulator.spec.cameras[0].name
    imagined = isinstance(simulator, LearnedSimulator)
    watcher = Watcher(
        camera,
        tokenizer=simulator.bundle.tokenizer if imagined else None,
        check_every=world.check_every,
    )
    both = None
    if not imagined:
        both = TrueWithRule(world.success, grace_frames=round(GRACE_S * world.fps))
    solved: dict[int, tuple[bool, bool]] = {}

    def watch(observation: Observation, numbers: Int[np.ndarray, " b"]) -> None:
        if world.kept:
            watcher(observation, numbers)
        if both is not None:
            flags = zip(numbers.tolist(), both.solved.tolist(), both.by_rule.tolist(), strict=True)
            solved.update({number: (own, rule) for number, own, rule in flags})

    def note(number: int, outcome: EpisodeOutcome) -> None:
        seed, loss_over_motion = seeds[number], 0.0
        own, rule = solved.get(number, (outcome.success, outcome.success))
        if world.kept:
            watched = watcher.take(number)
            loss_over_motion = watched.loss_over_motion
            write_actions(files.actions(seed), outcome.actions)
            with atomic_path(files.film(seed)) as temporary:
                write_video(temporary, watched.film, fps=world.fps)
        files.add(
            EpisodeRecord(
                seed=seed,
                success=own,
                by_rule=rule,
                frames=outcome.frames,
                confidence=round(outcome.confidence, 5),
                loss_over_motion=round(loss_over_motion, 5),
            )
        )
        on_end()

    plan = EpisodePlan(
        starts=[world.starts[seed] for seed in seeds], seeds=seeds, max_frames=world.max_frames
    )
    run_episodes(simulator, policy, plan, success=both or world.success, watch=watch, on_end=note)


def replay_of(true: EpisodeFiles, world: EvaluatedWorld, *, seeds: Sequence[int]) -> RecordedPolicy:
    """The policy that takes the actions of the true episodes."""
    return RecordedPolicy(
        {seed: read_actions(true.actions(seed)) for seed in seeds}, world.simulator.spec
    )


def write_actions(path: Path, actions: Float[np.ndarray, "n a"]) -> None:
    """Keep an episode's actions, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, actions)


def read_actions(path: Path) -> Float[np.ndarray, "n a"]:
    """The actions that `write_actions` wrote."""
    if not path.is_file():
        raise UserError(f"expected the actions of an episode at {path}; run the evaluation again")
    return np.load(path)
