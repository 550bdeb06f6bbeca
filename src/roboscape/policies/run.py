"""The success rate of a policy in a simulator: `roboscape run-policy`."""

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from roboscape.core.errors import UserError
from roboscape.core.files import append_json_line, write_json
from roboscape.core.progress import progress
from roboscape.core.runs import open_run
from roboscape.policies.episodes import EpisodeOutcome, EpisodePlan, run_episodes
from roboscape.policies.filming import Filming
from roboscape.policies.opening import open_policy
from roboscape.policies.rates import success_rate
from roboscape.policies.worlds import WorldChoice, decode_what_is_seen, open_world, starts_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunPolicy:
    """Run a policy from many starts, and say how often it succeeds, with a 95 % interval."""

    policy: str
    """Folder of a trained policy, or the address of a policy server, `ws://host:port`."""
    described: Path | None = None
    """JSON file that says what a policy server takes and gives; one of ours says it itself."""
    output: Path
    """Folder of the results; an interrupted run continues there."""
    world: WorldChoice = field(default_factory=WorldChoice)
    """Where it acts."""
    episodes: int = 100
    """Number of starts; start i has the seed `seed` + i, in every simulator."""
    seed: int = 800_000
    """Seed of the first start: 800000 and above is validation, 900000 and above is test."""
    seconds: float = 10.0
    """Simulated time after which an episode counts as failed."""
    videos: int = 0
    """So many episodes are written as `videos/<seed>.mp4`, the first ones that are run."""

    def __post_init__(self) -> None:
        """Refuse to measure nothing."""
        if self.episodes < 1 or self.seconds <= 0 or self.videos < 0:
            raise UserError(
                "expected episodes >= 1, seconds > 0 and videos >= 0, got "
                f"{self.episodes}, {self.seconds:g}, {self.videos}"
            )


def run(config: RunPolicy) -> dict[str, Any]:
    """Run what is missing; leaves `episodes.jsonl` and `success.json`."""
    file = config.output / "episodes.jsonl"
    done = read_episodes(file)
    seeds = [config.seed + i for i in range(config.episodes) if config.seed + i not in done]
    if seeds:
        _run_missing(config, seeds, file=file)
    open_run(config.output, config)
    rate = success_rate([row["success"] for row in read_episodes(file).values()])
    result = {**asdict(rate), "seed": config.seed, "policy": config.policy}
    write_json(config.output / "success.json", result)
    log.info("%s succeeds in %s", config.policy, rate)
    return result


def _run_missing(config: RunPolicy, seeds: list[int], *, file: Path) -> None:
    """Run the episodes of some seeds, and append a line for each as it ends."""
    policy = open_policy(config.policy, device=config.world.device, described=config.described)
    simulator, success = open_world(config.world)
    if not config.videos:
        decode_what_is_seen(simulator, policy.spec, success)
    # A policy or world that is refused leaves no run behind.
    open_run(config.output, config)
    film = Filming(
        config.output / "videos", seeds=seeds[: config.videos], fps=config.world.frame_hz
    )
    begun = config.episodes - len(seeds)
    bar = progress(config.episodes, "episodes", initial=begun, unit="episodes")

    def note(number: int, outcome: EpisodeOutcome) -> None:
        row = {"seed": seeds[number], "success": outcome.success, "frames": outcome.frames}
        append_json_line(file, row | {"confidence": round(outcome.confidence, 4)})
        film.finish(number)
        bar.update()

    plan = EpisodePlan(
        starts=starts_of(config.world, seeds),
        seeds=seeds,
        max_frames=round(config.seconds * config.world.frame_hz),
    )
    run_episodes(simulator, policy, plan, success=success, watch=film.watch, on_end=note)
    bar.close()
    simulator.close()
    policy.close()


def read_episodes(file: Path) -> dict[int, dict[str, Any]]:
    """Episodes that were run before, by seed; a line that was cut off counts as not run."""
    found: dict[int, dict[str, Any]] = {}
    if not file.is_file():
        return found
    for line in file.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[row["seed"]] = row
    return found
