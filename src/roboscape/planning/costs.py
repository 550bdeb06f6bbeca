"""Costs of imagined futures: the lower, the better. Axes as in `imagining.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8

from roboscape.core.errors import UserError
from roboscape.planning.imagining import Futures, Imaginer, Reads
from roboscape.policies.protocol import PolicyInput
from roboscape.rollout.bundle import Bundle
from roboscape.simulators.success import Success
from roboscape.tokenizer.model import Tokenizer

Region = tuple[float, float, float, float]
"""Top, bottom, left and right of a part of an image, as shares of its height and width."""
WHOLE: Region = (0.0, 1.0, 0.0, 1.0)
ON_THE_WAY = 1.0
"""Weight of the mean distance along the way, beside that at its end: of two ways, the quicker, and
at the goal none that leaves it and comes back."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A frame to reach."""

    rgb: dict[str, UInt8[np.ndarray, "h w 3"]]
    depth_m: dict[str, Float[np.ndarray, "h w"]]
    state: Float[np.ndarray, " s"]


Goals = Mapping[int, Goal]
"""By the seed of the episode."""


@runtime_checkable
class Cost(Protocol):
    """The cost that planning makes small."""

    @property
    def reads(self) -> Reads:
        """The parts of a future that it needs."""
        ...

    def __call__(self, futures: Futures) -> Float[np.ndarray, " n"]:
        """The cost of every candidate."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pricing:
    """The costs of candidate actions: a cost of what they lead to, and of doubt about it."""

    imaginer: Imaginer
    cost: Cost
    doubt: float = 0.0
    """Weight of 1 minus the mean confidence of all imagined tokens, beside the cost."""

    @property
    def reads(self) -> Reads:
        """The parts of a future that are needed; where states are enough, doubt needs frames."""
        return "tokens" if self.doubt and self.cost.reads == "states" else self.cost.reads

    def __call__(
        self,
        observed: PolicyInput,
        actions: Float[np.ndarray, "b k c a"],
        *,
        seeds: Sequence[int],
    ) -> Float[np.ndarray, "b k"]:
        """The cost of every candidate of every world; arguments as of `Imaginer.imagine`."""
        futures = self.imaginer.imagine(observed, actions, seeds=seeds, reads=self.reads)
        costs = self.cost(futures)
        if futures.confidence is not None:
            costs = costs + self.doubt * (1 - futures.confidence)
        return rearrange(costs, "(b k) -> b k", k=actions.shape[1])


class GoalStateCost:
    """Distance of the hand from the goal's, in metres: at the end, and along the way."""

    reads: Reads = "states"

    def __init__(self, goals: Goals, *, columns: Sequence[int]) -> None:
        """Reach goals.

        Args:
            goals: by seed.
            columns: dimensions of the state that are compared, in one unit.
        """
        self._goals, self._columns = goals, list(columns)

    def __call__(self, futures: Futures) -> Float[np.ndarray, " n"]:
        """The distance of every candidate."""
        wanted = np.stack([self._goals[seed].state[self._columns] for seed in futures.seeds])
        away = futures.states[:, :, self._columns] - wanted[futures.world][:, None]
        distance = np.linalg.norm(away, axis=-1)
        return distance[:, -1] + ON_THE_WAY * distance.mean(axis=1)


class GoalImageCost:
    """Mean absolute difference from the goal's image, as a share of the full range."""

    reads: Reads = "rgb"

    def __init__(self, goals: Goals, *, camera: str, region: Region = WHOLE) -> None:
        self._goals, self._camera, self._region = goals, camera, region

    def __call__(self, futures: Futures) -> Float[np.ndarray, " n"]:
        """The difference of every candidate."""
        wanted = np.stack([self._goals[seed].rgb[self._camera] for seed in futures.seeds])
        found = part(futures.last.rgb[self._camera], self._region).astype(np.float32)
        wanted = part(wanted, self._region).astype(np.float32)
        return np.abs(found - wanted[futures.world]).mean(axis=(1, 2, 3)) / 255


class GoalDepthCost:
    """Mean absolute difference from the goal's depth, in metres."""

    reads: Reads = "all"

    def __init__(self, goals: Goals, *, camera: str, region: Region = WHOLE) -> None:
        self._goals, self._camera, self._region = goals, camera, region

    def __call__(self, futures: Futures) -> Float[np.ndarray, " n"]:
        """The difference of every candidate."""
        wanted = np.stack([self._goals[seed].depth_m[self._camera] for seed in futures.seeds])
        found = part(futures.last.depth_m[self._camera], self._region)
        return np.abs(found - part(wanted, self._region)[futures.world]).mean(axis=(1, 2))


def part(images: np.ndarray, region: Region) -> np.ndarray:
    """A region of images (n h w ...)."""
    height, width = images.shape[1:3]
    top, bottom, left, right = region
    cut = images[
        :, round(top * height) : round(bottom * height), round(left * width) : round(right * width)
    ]
    if not cut.size:
        raise UserError(f"expected a region with top < bottom and left < right, got {region}")
    return cut


class GoalTokenCost:
    """Share of the bits of RGB tokens, and of depth tokens, that differ from the goal's."""

    reads: Reads = "tokens"

    def __init__(self, goals: Goals, *, cameras: Sequence[str], tokenizer: Tokenizer) -> None:
        """Encode the goals.

        Args:
            goals: by seed.
            cameras: the views of a frame, from top to bottom.
            tokenizer: of the bundle that imagines.
        """
        self._bits = tokenizer.config.code_bits
        self._tokens = {
            seed: goal_tokens(goal, cameras=cameras, tokenizer=tokenizer)
            for seed, goal in goals.items()
        }

    def __call__(self, futures: Futures) -> Float[np.ndarray, " n"]:
        """The difference of every candidate."""
        wanted = np.stack([self._tokens[seed] for seed in futures.seeds], axis=1)
        assert futures.tokens is not None, "the planner imagines what the cost reads"
        different = np.bitwise_xor(futures.tokens, wanted[: len(futures.tokens), futures.world])
        bits = different[..., None] >> np.arange(self._bits) & 1
        return bits.mean(axis=(0, 2, 3))


@torch.no_grad()
def goal_tokens(
    goal: Goal, *, cameras: Sequence[str], tokenizer: Tokenizer
) -> Int[np.ndarray, "m t"]:
    """Tokens of a goal: RGB, then depth where it has any."""
    rgb = np.concatenate([goal.rgb[name] for name in cameras])[None]
    codes = [tokenizer.encode_rgb(torch.from_numpy(rgb).to(tokenizer.device))]
    if goal.depth_m:
        depth_m = np.concatenate([goal.depth_m[name] for name in cameras])[None]
        metres = torch.from_numpy(depth_m.astype(np.float32)).to(tokenizer.device)
        codes.append(tokenizer.encode_depth(metres))
    return torch.cat(codes).cpu().numpy()


def read_goals(goals: Goals, *, bundle: Bundle, cameras: Sequence[str]) -> dict[int, Goal]:
    """The same goals with the state that is read off their images, and nothing else of them.

    Args:
        goals: by seed.
        bundle: whose state reader reads them.
        cameras: the views of a frame, from top to bottom.

    Raises:
        ValueError: the bundle has no state reader.
    """
    frames = [np.concatenate([goal.rgb[name] for name in cameras]) for goal in goals.values()]
    states = bundle.read_states(np.stack(frames)).astype(np.float64)
    return {
        seed: replace(goal, state=state)
        for (seed, goal), state in zip(goals.items(), states, strict=True)
    }


class RuleCost:
    """0 where a rule says that the last frame shows the task solved, else 1."""

    reads: Reads = "all"

    def __init__(self, rule: Success) -> None:
        self._rule = rule

    def __call__(self, futures: Futures) -> Float[np.ndarray, " n"]:
        """The cost of every candidate."""
        everywhere = np.ones(len(futures), bool)
        given = futures.given
        self._rule.reset(
            type(given)(
                rgb={name: images[futures.world] for name, images in given.rgb.items()},
                depth_m={name: depth[futures.world] for name, depth in given.depth_m.items()},
                state=given.state[futures.world],
            ),
            where=everywhere,
        )
        return 1.0 - self._rule(futures.last)
