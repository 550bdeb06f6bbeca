"""Imagining a batch of planned episodes, with a verdict on every frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from einops import rearrange
from jaxtyping import Float

from roboscape.core.errors import UserError
from roboscape.dataset.frame_actions import FrameEpisode
from roboscape.judge.protocol import EpisodeVerdict, Judge, all_worlds
from roboscape.simulators.learned import LearnedSimulator
from roboscape.simulators.protocol import Observation
from roboscape.synthesis.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Imagined:
    """One imagined episode."""

    plan: Plan
    episode: FrameEpisode
    verdict: EpisodeVerdict
    log_confidence: float
    """Mean logarithm of the probability that the model gave the RGB tokens that it chose."""


@runtime_checkable
class FrameActions(Protocol):
    """Gives every world the native actions up to the next frame."""

    def reset(self, observation: Observation) -> None:
        """All worlds began, and this is their first frame."""
        ...

    def __call__(self, observation: Observation, frame: int) -> Float[np.ndarray, "b stride a"]:
        """The actions that follow a frame.

        Args:
            observation: The frame of every world.
            frame: Its number, from 0.
        """
        ...


class PlannedActions:
    """Actions that were fixed before; a `FrameActions`."""

    def __init__(self, actions: Float[np.ndarray, "b t stride a"]) -> None:
        self._actions = actions

    def reset(self, observation: Observation) -> None:
        """Nothing to remember."""

    def __call__(self, observation: Observation, frame: int) -> Float[np.ndarray, "b stride a"]:
        """The actions that follow a frame."""
        return self._actions[:, frame]


def imagine_plans(
    simulator: LearnedSimulator,
    plans: Sequence[Plan],
    *,
    judge: Judge | None,
    frames: int,
    policy: FrameActions | None = None,
) -> list[Imagined]:
    """Imagine one episode a plan, all at once.

    Args:
        simulator: Of at least as many worlds as there are plans; the others repeat the last plan.
        plans: At most `simulator.batch`.
        judge: Says in which frames the task is solved; None: none is, and all count as failed.
        frames: Of an episode, the given one included.
        policy: Acts in plans without actions.

    Raises:
        ValueError: more plans than worlds, or plans without actions and no policy.
    """
    if not 0 < len(plans) <= simulator.batch:
        raise UserError(f"expected 1 to {simulator.batch} plans, got {len(plans)}")
    used = [*plans, *[plans[-1]] * (simulator.batch - len(plans))]
    actor = policy or planned_actions(used, stride=simulator.spec.stride)
    first = simulator.reset([plan.start for plan in used])
    seen, actions, verdicts = act_out(simulator, first, actor=actor, judge=judge, frames=frames)
    return [
        Imagined(
            plan=plan,
            episode=episode_of(
                seen, actions[world], world=world, plan=plan, verdict=verdicts[world]
            ),
            verdict=verdicts[world],
            log_confidence=log_confidence(seen, world),
        )
        for world, plan in enumerate(plans)
    ]


def act_out(
    simulator: LearnedSimulator,
    first: Observation,
    *,
    actor: FrameActions,
    judge: Judge | None,
    frames: int,
) -> tuple[list[Observation], Float[np.ndarray, "b t stride a"], list[EpisodeVerdict]]:
    """The frames from the first on, the actions after each and a verdict a world."""
    if judge is not None:
        judge.reset(first, where=all_worlds(simulator.batch))
    actor.reset(first)
    seen, taken = [first], []
    verdicts = [EpisodeVerdict() for _ in range(simulator.batch)]
    for frame in range(frames):
        if judge is not None:
            found = judge.verdict(seen[-1])
            for world, verdict in enumerate(verdicts):
                verdict.add(found, world)
        taken.append(actor(seen[-1], frame))
        if frame + 1 < frames:
            seen.append(simulator.step(taken[-1]))
    return seen, np.stack(taken, axis=1).astype(np.float32), verdicts


def planned_actions(plans: Sequence[Plan], *, stride: int) -> PlannedActions:
    """The plans' own actions.

    Raises:
        ValueError: a plan without actions.
    """
    known = [plan.actions for plan in plans if plan.actions is not None]
    if len(known) < len(plans):
        raise UserError("a plan without actions needs a policy that acts; give --policy")
    return PlannedActions(rearrange(np.stack(known), "b (t k) a -> b t k a", k=stride))


def episode_of(
    seen: Sequence[Observation],
    actions: Float[np.ndarray, "t k a"],
    *,
    world: int,
    plan: Plan,
    verdict: EpisodeVerdict,
) -> FrameEpisode:
    """One world's frames as an episode, rewarded where its verdict is success."""
    return FrameEpisode(
        rgb={name: np.stack([one.rgb[name][world] for one in seen]) for name in seen[0].rgb},
        depth_m={
            name: np.stack([one.depth_m[name][world] for one in seen]) for name in seen[0].depth_m
        },
        state=np.stack([one.state[world] for one in seen]).astype(np.float32),
        actions=actions,
        reward=np.array(verdict.success or [False] * len(seen), np.float32),
        task=plan.task,
        success=bool(verdict.outcome),
        split=plan.split,
        seed=plan.seed,
    )


def log_confidence(seen: Sequence[Observation], world: int) -> float:
    """Mean logarithm of the probability of the chosen RGB tokens; the given frame left out."""
    grids = [grid[world] for one in seen[1:] for grid in one.confidence.values()]
    if not grids:
        return 0.0
    return float(np.log(np.maximum(np.stack(grids), 1e-12)).mean())
