"""Episodes of a policy in a simulator: many starts, a batch of worlds at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from roboscape.core.errors import UserError
from roboscape.policies.driver import PolicyDriver
from roboscape.policies.protocol import Policy
from roboscape.simulators.protocol import Mask, Observation, Simulator, Start
from roboscape.simulators.success import Success

Watch = Callable[[Observation, Int[np.ndarray, " b"]], None]
"""Called with every frame, and the number of the episode that each world is in; -1: none."""


@dataclass(frozen=True, kw_only=True)
class EpisodeOutcome:
    """The outcome of an episode."""

    success: bool
    """Whether the task was solved in any frame."""
    frames: int
    """Steps that were taken: up to the first frame that shows success, or all that were allowed."""
    actions: Float[np.ndarray, "n a"]
    """Native actions that were taken, in the simulator's convention."""
    confidence: float
    """Mean probability that the model gave the tokens it chose; 1 where nothing is imagined."""


@dataclass(frozen=True, kw_only=True)
class EpisodePlan:
    """The episodes to run, and when each is over."""

    starts: Sequence[Start]
    """Where the episodes begin."""
    seeds: Sequence[int]
    """Of the policy's random numbers, one for each episode."""
    max_frames: int
    """Steps of the simulator after which an episode ends without success."""

    def __post_init__(self) -> None:
        """Refuse no episodes, or episodes of nothing."""
        if not self.starts or len(self.seeds) != len(self.starts) or self.max_frames < 1:
            raise UserError(
                "expected starts, a seed for each, and max_frames >= 1; got "
                f"{len(self.starts)} starts, {len(self.seeds)} seeds, max_frames {self.max_frames}"
            )


def run_episodes(
    simulator: Simulator,
    policy: Policy,
    plan: EpisodePlan,
    *,
    success: Success,
    watch: Watch | None = None,
    on_end: Callable[[int, EpisodeOutcome], None] | None = None,
) -> list[EpisodeOutcome]:
    """Run a policy from every start until it succeeds, or for so many frames.

    A world whose episode has ended begins the next one while the others go on. What an episode
    shows depends on its start, its seed and the policy alone, not on the batch.

    Args:
        simulator: learned or true.
        policy: one that fits it.
        plan: the episodes.
        success: decides which frames show the task solved.
        watch: is shown every frame.
        on_end: is given the number and outcome of each episode as it ends.

    Raises:
        ValueError: the policy does not fit the simulator.
    """
    episodes = _Episodes(simulator, PolicyDriver(policy, simulator.spec), plan, success=success)
    shown = watch or (lambda _observation, _numbers: None)
    shown(episodes.begin(), episodes.numbers)
    while len(episodes.outcomes) < len(plan.starts):
        observation, ended = episodes.step(shown)
        for number in ended:
            if on_end is not None:
                on_end(number, episodes.outcomes[number])
        again = episodes.take_next()
        if again.any():
            observation = episodes.begin(where=again)
            shown(observation, np.where(again, episodes.numbers, NONE))
    return [episodes.outcomes[number] for number in range(len(plan.starts))]


NONE = -1
"""In place of an episode's number: none is in this world."""


class _Episodes:
    """The episodes that are running in a simulator, and the outcomes of those that have ended."""

    def __init__(
        self, simulator: Simulator, driver: PolicyDriver, plan: EpisodePlan, *, success: Success
    ) -> None:
        self._simulator, self._driver, self._plan = simulator, driver, plan
        self._success = success
        batch = simulator.batch
        self._next = min(batch, len(plan.starts))
        self.numbers = np.array([n if n < self._next else NONE for n in range(batch)])
        """Of the episode in each world."""
        self._actions: list[list[np.ndarray]] = [[] for _ in range(batch)]
        self._confidence: list[list[float]] = [[] for _ in range(batch)]
        self.outcomes: dict[int, EpisodeOutcome] = {}

    def begin(self, *, where: Mask | None = None) -> Observation:
        """Begin the episodes of some worlds; a world without one repeats the first, uncounted."""
        worlds = np.flatnonzero(np.ones(len(self.numbers), bool) if where is None else where)
        numbers = [max(0, int(self.numbers[world])) for world in worlds]
        observation = self._simulator.reset([self._plan.starts[n] for n in numbers], where=where)
        mask = np.isin(np.arange(len(self.numbers)), worlds)
        self._success.reset(observation, where=mask)
        self._driver.reset(observation, seeds=[self._plan.seeds[n] for n in numbers], where=where)
        for world in worlds.tolist():
            self._actions[world], self._confidence[world] = [], []
        return observation

    def step(self, watch: Watch) -> tuple[Observation, list[int]]:
        """Take one frame; returns it, and the numbers of the episodes that it ended."""
        actions = self._driver.actions()
        observation = self._simulator.step(actions)
        self._driver.observe(observation)
        solved = self._success(observation)
        watch(observation, self.numbers)
        ended = []
        for world in np.flatnonzero(self.numbers != NONE).tolist():
            self._actions[world].append(actions[world])
            self._confidence[world].append(_confidence(observation, world))
            if solved[world] or len(self._actions[world]) >= self._plan.max_frames:
                ended.append(int(self.numbers[world]))
                self.outcomes[ended[-1]] = self._outcome(world, solved=bool(solved[world]))
        return observation, ended

    def take_next(self) -> Bool[np.ndarray, " b"]:
        """Give worlds whose episode has ended the next ones; returns which worlds got one."""
        over = np.isin(self.numbers, list(self.outcomes)) & (self.numbers != NONE)
        for world in np.flatnonzero(over).tolist():
            left = self._next < len(self._plan.starts)
            self.numbers[world] = self._next if left else NONE
            self._next += left
        return over & (self.numbers != NONE)

    def _outcome(self, world: int, *, solved: bool) -> EpisodeOutcome:
        return EpisodeOutcome(
            success=solved,
            frames=len(self._actions[world]),
            actions=np.concatenate(self._actions[world]).astype(np.float32),
            confidence=float(np.mean(self._confidence[world])),
        )


def _confidence(observation: Observation, world: int) -> float:
    """Mean confidence of a world's tokens."""
    if not observation.confidence:
        return 1.0
    return float(np.mean([values[world].mean() for values in observation.confidence.values()]))
