"""A policy whose proposals are ranked by imagination (GPC-RANK: Qi et al. 2025, arXiv 2502.00622).

Several chunks are drawn from the policy, each is imagined, and the one that ends best is taken. The
first proposal is the one that the policy alone would take: with one proposal nothing changes, and a
cost that cannot tell proposals apart leaves the policy as it is.
"""

from collections.abc import Sequence

import numpy as np
from einops import rearrange
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.core.seeding import seed_for
from roboscape.planning.costs import Cost, Pricing
from roboscape.planning.imagining import Imaginer
from roboscape.policies.driver import native_actions, native_length
from roboscape.policies.protocol import (
    Policy,
    PolicyInput,
    PolicySpec,
    begun_anew,
    check_policy_fits,
)
from roboscape.simulators.protocol import Index, Mask


class RankedPolicy:
    """A `Policy` that takes the best of a policy's proposals, as imagined."""

    def __init__(
        self,
        policy: Policy,
        imaginer: Imaginer,
        cost: Cost,
        *,
        proposals: int = 16,
        doubt: float = 0.0,
    ) -> None:
        """Rank a policy.

        Args:
            policy: draws its chunks from the random numbers of its seeds.
            imaginer: of a bundle that imagines the policy's task.
            cost: of what is imagined.
            proposals: chunks that are drawn each time.
            doubt: weight of 1 minus the mean confidence, beside the cost.

        Raises:
            ValueError: no proposals, a policy that does not fit, or a chunk that is no whole
                number of frames.
        """
        world = imaginer.simulator.spec
        check_policy_fits(policy.spec, world)
        length = native_length(policy.spec.chunk, policy.spec, world)
        executed = native_length(policy.spec.executed, policy.spec, world)
        if proposals < 1 or length < world.stride:
            raise UserError(
                f"expected at least one proposal of at least {world.stride} native actions (a "
                f"frame), got {proposals} of {length}"
            )
        self._policy, self._imaginer, self._proposals = policy, imaginer, proposals
        self._costs = Pricing(imaginer=imaginer, cost=cost, doubt=doubt)
        self._length = length - length % world.stride
        self._spec = imaginer.spec(executed=executed, chunk=length, frames=policy.spec.frames)
        self._seeds: list[int] = []
        self.chosen: list[int] = []
        """Numbers of the proposals that were taken, for statistics."""

    @property
    def spec(self) -> PolicySpec:
        """Its observations and actions."""
        return self._spec

    def reset(self, seeds: Sequence[int], *, where: Mask | None = None) -> None:
        """Begin episodes; the first proposal's noise is that of the policy alone."""
        count = self._proposals
        self._seeds = begun_anew(self._seeds, seeds, where=where)
        drawn = [
            seed if number == 0 else seed_for(seed, number)
            for seed in seeds
            for number in range(count)
        ]
        self._policy.reset(drawn, where=None if where is None else np.repeat(where, count))

    def act(self, observed: PolicyInput, *, worlds: Index) -> Float[np.ndarray, "b c a"]:
        """The best proposal for each of some worlds."""
        count, policy = self._proposals, self._policy
        places = (np.asarray(worlds)[:, None] * count + np.arange(count)).ravel()
        chunks = policy.act(
            repeated(shown_to(policy.spec, observed, self._spec), count), worlds=places
        )
        native = np.stack(
            [native_actions(one, policy.spec, self._imaginer.simulator.spec) for one in chunks]
        )
        candidates = rearrange(native, "(b k) c a -> b k c a", k=count)
        costs = self._costs(
            observed,
            candidates[:, :, : self._length],
            seeds=[self._seeds[int(world)] for world in worlds],
        )
        best = costs.argmin(axis=1)
        self.chosen += best.tolist()
        return candidates[np.arange(len(best)), best].astype(np.float32)

    def close(self) -> None:
        """Free the policy; the imagining simulator is not its own."""
        self._policy.close()


def shown_to(policy: PolicySpec, observed: PolicyInput, own: PolicySpec) -> PolicyInput:
    """The part of what a planner is shown that the policy behind it is shown."""
    columns = [own.state_names.index(name) for name in policy.state_names]
    newest = slice(-policy.frames, None)
    return PolicyInput(
        rgb={name: observed.rgb[name][:, newest] for name in policy.cameras},
        depth_m={name: observed.depth_m[name][:, newest] for name in policy.depth_cameras},
        state=observed.state[:, newest, columns],
        task=observed.task,
    )


def repeated(observed: PolicyInput, count: int) -> PolicyInput:
    """The same for `count` copies of every world, next to each other."""
    return PolicyInput(
        rgb={name: np.repeat(images, count, axis=0) for name, images in observed.rgb.items()},
        depth_m={name: np.repeat(depth, count, axis=0) for name, depth in observed.depth_m.items()},
        state=np.repeat(observed.state, count, axis=0),
        task=observed.task,
    )
