"""Planning without a policy: action sequences are drawn, imagined, and drawn again near the best.

Two optimisers share everything but how the mean moves. The cross-entropy method (CEM; Rubinstein
1999) moves mean and spread to those of the best samples. Model-predictive path integral control
(MPPI; Williams et al. 2017, arXiv 1707.02342) moves the mean to the average of all samples,
weighted by how cheap they are, and keeps the spread. Noise is correlated in time: a hand that
shakes goes nowhere.

Axes: b world, k sample, c native action, a action dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.conventions import is_gripper
from roboscape.dataset.records import ActionConvention
from roboscape.planning.costs import Cost, Pricing
from roboscape.planning.imagining import Imaginer, Reads
from roboscape.policies.protocol import PolicyInput, PolicySpec, begun_anew
from roboscape.simulators.protocol import Index, Mask

OF_STATES = {"samples": 16, "iterations": 4, "elites": 16, "executed": 1}
"""The search where states are all that is looked at: a short one, for a longer one finds what the
arm model is wrong about (docs/planning.md)."""
OF_FRAMES = {"samples": 32, "iterations": 2, "elites": 6, "executed": 2}
"""The search among imagined frames."""
LARGEST_ACTION = 1.0
"""Stored actions lie between minus this and this."""
LEAST_SPREAD = 0.05
"""CEM's samples never come closer to each other than this, of the action range."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """The settings of the search for action sequences."""

    method: Literal["cem", "mppi"] = "cem"
    """How the mean of the samples moves."""
    samples: int = 0
    """Sequences that are imagined at a time; 0: 16 where the arm's states are all that is looked
    at, else 32."""
    iterations: int = 0
    """Times that samples are drawn for a decision; 0: 4 where states are all, else 2."""
    elites: int = 0
    """The best samples, which CEM goes on from; 0: 16 where states are all, else 6."""
    frames: int = 4
    """Imagined frames of a sequence."""
    executed: int = 0
    """Frames of a sequence that are taken before the next decision; 0: 1 where states are all, else
    2."""
    correlation: float = 0.9
    """Of the noise of one native action with the next."""
    spread: float = 0.5
    """Standard deviation of the first samples, for translations and all that is not named below."""
    rotation_spread: float = 0.05
    """Of rotations."""
    gripper_spread: float = 0.0
    """Of the gripper; 0 leaves it as `gripper` says."""
    gripper: float = -1.0
    """The gripper's action before anything was found: -1 opens it."""
    temperature: float = 0.3
    """MPPI: costs that lie so many standard deviations apart differ in weight by a factor of e."""
    doubt: float = 0.0
    """Weight of 1 minus the mean confidence, beside the cost."""

    def __post_init__(self) -> None:
        """Refuse searches of nothing."""
        if min(self.samples, self.iterations, self.elites, self.executed) < 0 or self.frames < 1:
            raise UserError(
                "expected samples, iterations, elites and executed >= 0 and frames >= 1, got "
                f"{self.samples}, {self.iterations}, {self.elites}, {self.executed} and "
                f"{self.frames}"
            )
        if self.samples and self.elites > self.samples:
            raise UserError(f"expected elites <= samples, got {self.elites} and {self.samples}")
        if self.executed > self.frames or not 0 <= self.correlation < 1:
            raise UserError(
                "expected executed <= frames and 0 <= correlation < 1, got "
                f"{self.executed}, {self.frames} and {self.correlation:g}"
            )
        if self.temperature <= 0 or min(self.spread, self.rotation_spread, self.gripper_spread) < 0:
            raise UserError("expected temperature > 0 and spreads >= 0")

    def settled(self, reads: Reads) -> "SamplingConfig":
        """The same, with a number for each 0: states cost a hundredth of imagined frames."""
        usual = OF_STATES if reads == "states" else OF_FRAMES
        samples = self.samples or usual["samples"]
        return replace(
            self,
            samples=samples,
            iterations=self.iterations or usual["iterations"],
            elites=self.elites or min(usual["elites"], samples),
            executed=self.executed or min(usual["executed"], self.frames),
        )


@dataclass(kw_only=True)
class _Search:
    """One world's search, which goes on from decision to decision."""

    seed: int
    noise: np.random.Generator
    mean: Float[np.ndarray, "c a"]


class SamplingPlanner:
    """A `Policy` that takes the best action sequence that it finds by imagination."""

    def __init__(self, imaginer: Imaginer, cost: Cost, config: SamplingConfig) -> None:
        world = imaginer.simulator.spec
        self._costs = Pricing(imaginer=imaginer, cost=cost, doubt=config.doubt)
        config = self._config = config.settled(self._costs.reads)
        self._executed = config.executed * world.stride
        self._length = config.frames * world.stride
        self._spec = imaginer.spec(executed=self._executed, chunk=self._length)
        self._spread = spreads(world.action, config)
        self._rest = np.where(
            [is_gripper(name) for name in world.action.names], config.gripper, 0.0
        )
        self._searches: list[_Search] = []

    @property
    def spec(self) -> PolicySpec:
        """Its observations and actions."""
        return self._spec

    def reset(self, seeds: Sequence[int], *, where: Mask | None = None) -> None:
        """Begin episodes with the noise of their seeds."""
        new = [
            _Search(
                seed=seed,
                noise=numpy_generator_for(seed, 6),
                mean=np.tile(self._rest, (self._length, 1)),
            )
            for seed in seeds
        ]
        self._searches = begun_anew(self._searches, new, where=where)

    def act(self, observed: PolicyInput, *, worlds: Index) -> Float[np.ndarray, "b c a"]:
        """The best sequence for each of some worlds."""
        searches = [self._searches[int(world)] for world in worlds]
        mean = np.stack([search.mean for search in searches])
        spread = np.broadcast_to(self._spread, mean.shape).copy()
        best, least = mean.copy(), np.full(len(mean), np.inf)
        for _ in range(self._config.iterations):
            samples = self._draw(searches, mean, spread)
            costs = self._costs(observed, samples, seeds=[search.seed for search in searches])
            first = costs.argmin(axis=1)
            found = costs[np.arange(len(costs)), first]
            better = found < least
            best[better] = samples[np.arange(len(costs)), first][better]
            least = np.minimum(least, found)
            mean, spread = moved(samples, costs, spread, config=self._config)
        plan = best if self._config.method == "cem" else mean
        for search, sequence in zip(searches, plan, strict=True):
            # The rest of the plan is where the next search begins; it ends at rest.
            left = sequence[self._executed :]
            rest = np.tile(self._rest, (self._executed, 1))
            search.mean = np.concatenate([left, rest])
        return plan.astype(np.float32)

    def close(self) -> None:
        """Nothing to free: the imagining simulator is not its own."""

    def _draw(
        self,
        searches: Sequence[_Search],
        mean: Float[np.ndarray, "b c a"],
        spread: Float[np.ndarray, "b c a"],
    ) -> Float[np.ndarray, "b k c a"]:
        """Samples around the mean; the first is the mean itself."""
        config = self._config
        shape = config.samples, mean.shape[1], mean.shape[2]
        noise = np.stack(
            [
                correlated_noise(shape, correlation=config.correlation, generator=search.noise)
                for search in searches
            ]
        )
        noise[:, 0] = 0
        drawn = mean[:, None] + spread[:, None] * noise
        return drawn.clip(-LARGEST_ACTION, LARGEST_ACTION)


def spreads(action: ActionConvention, config: SamplingConfig) -> Float[np.ndarray, " a"]:
    """Standard deviation of the first samples, by action dimension."""

    def spread(name: str, unit: str) -> float:
        if is_gripper(name):
            return config.gripper_spread
        return config.rotation_spread if unit == "rad" else config.spread

    return np.array([spread(*pair) for pair in zip(action.names, action.units, strict=True)])


def correlated_noise(
    shape: tuple[int, int, int], *, correlation: float, generator: np.random.Generator
) -> Float[np.ndarray, "k c a"]:
    """Normal noise of variance 1 whose neighbours along c correlate (a first-order process)."""
    fresh = generator.standard_normal(shape)
    noise = fresh.copy()
    for row in range(1, shape[1]):
        noise[:, row] = (
            correlation * noise[:, row - 1] + (1 - correlation**2) ** 0.5 * fresh[:, row]
        )
    return noise


def moved(
    samples: Float[np.ndarray, "b k c a"],
    costs: Float[np.ndarray, "b k"],
    spread: Float[np.ndarray, "b c a"],
    *,
    config: SamplingConfig,
) -> tuple[Float[np.ndarray, "b c a"], Float[np.ndarray, "b c a"]]:
    """Mean and spread of the next samples."""
    if config.method == "mppi":
        scale = config.temperature * costs.std(axis=1, keepdims=True) + 1e-9
        weight = np.exp(-(costs - costs.min(axis=1, keepdims=True)) / scale)
        weight /= weight.sum(axis=1, keepdims=True)
        return np.einsum("bk,bkca->bca", weight, samples), spread
    best = np.argsort(costs, axis=1, kind="stable")[:, : config.elites]
    elites = np.take_along_axis(samples, best[:, :, None, None], axis=1)
    # What was not searched (a spread of 0) stays so.
    least = np.minimum(spread, LEAST_SPREAD)
    return elites.mean(axis=1), np.maximum(elites.std(axis=1), least)


class RandomPolicy:
    """A `Policy` that moves at random, smoothly: what planning must beat."""

    def __init__(self, spec: PolicySpec, config: SamplingConfig) -> None:
        """Act at random.

        Args:
            spec: of the planner that it stands beside; the observations are not looked at.
            config: whose noise it draws.
        """
        self._spec, self._config = spec, config
        self._spread = spreads(spec.action, config)
        self._rest = np.where([is_gripper(name) for name in spec.action.names], config.gripper, 0.0)
        self._noise: list[np.random.Generator] = []

    @property
    def spec(self) -> PolicySpec:
        """Its observations and actions."""
        return self._spec

    def reset(self, seeds: Sequence[int], *, where: Mask | None = None) -> None:
        """Begin episodes with the noise of their seeds."""
        new = [numpy_generator_for(seed, 7) for seed in seeds]
        self._noise = begun_anew(self._noise, new, where=where)

    def act(self, observed: PolicyInput, *, worlds: Index) -> Float[np.ndarray, "b c a"]:
        """Random chunks."""
        del observed
        shape = 1, self._spec.chunk, len(self._rest)
        noise = [
            correlated_noise(
                shape, correlation=self._config.correlation, generator=self._noise[int(world)]
            )[0]
            for world in worlds
        ]
        drawn = self._rest + self._spread * np.stack(noise)
        return drawn.clip(-LARGEST_ACTION, LARGEST_ACTION).astype(np.float32)

    def close(self) -> None:
        """Nothing to free."""
