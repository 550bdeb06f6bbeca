"""Plans of imagined episodes: where each starts, and which actions it takes."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from roboscape.controls.proprioception import Proprioception
from roboscape.core.errors import UserError
from roboscape.dataset.conventions import gripper_ends, is_gripper
from roboscape.dataset.reader import LeRobotDataset
from roboscape.dataset.records import ActionConvention, Split
from roboscape.simulators.protocol import EpisodeStart, FrameStart


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of one imagined episode. Axes: n native row, a action dimension."""

    seed: int
    """The episode's own, which decides all that is drawn for it."""
    start: EpisodeStart | FrameStart
    actions: Float32[np.ndarray, "n a"] | None
    """Native actions of all frames; None where a policy acts."""
    split: Split
    """The split of the start and of the actions: what comes from validation stays there."""
    task: str
    origin: dict[str, Any] = field(default_factory=dict)
    """How it was made, as JSON: source, demonstration, what was changed and by how much."""


@runtime_checkable
class ActionSource(Protocol):
    """Something that makes plans."""

    def plan(self, seed: int, *, number: int) -> Plan:
        """The plan of a seed, which is the `number`-th of its run; equal arguments, equal plans.

        Raises:
            ValueError: there is none.
        """
        ...


@dataclass(frozen=True)
class Demonstrations:
    """Recorded episodes whose actions are used."""

    dataset: LeRobotDataset
    episodes: list[int]
    """Their numbers in the dataset."""

    @classmethod
    def of(cls, dataset: LeRobotDataset, *, split: Split, successes: bool) -> "Demonstrations":
        """Those of a split.

        Args:
            dataset: At its native rate.
            split: Which episodes.
            successes: Whether only episodes that succeed are taken.

        Raises:
            ValueError: there is none.
        """
        infos = [dataset.episode_info(number) for number in range(dataset.num_episodes)]
        chosen = [
            one.index for one in infos if one.split == split and (one.success or not successes)
        ]
        if not chosen:
            kind = "succeeding " if successes else ""
            raise UserError(
                f"{dataset.root} has no {kind}episode for {split} among its {len(infos)}; give a "
                "dataset of demonstrations (`roboscape collect lift`), another --split, or "
                "--no-successes"
            )
        return cls(dataset, chosen)

    @property
    def convention(self) -> ActionConvention:
        """The meaning of the actions."""
        return self.dataset.spec.action

    @cached_property
    def actions(self) -> list[Float32[np.ndarray, "n a"]]:
        """Native actions, one array an episode."""
        return [self.dataset.actions(episode) for episode in self.episodes]

    @cached_property
    def first_states(self) -> Float32[np.ndarray, "e s"]:
        """Proprioception in the first row of every episode."""
        return np.stack([self.dataset.state(episode)[0] for episode in self.episodes])

    def __len__(self) -> int:
        """Number of demonstrations."""
        return len(self.episodes)


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Demonstrations' own actions from their own starts."""

    demonstrations: Demonstrations
    rows: int
    """Native rows of an imagined episode."""
    repeats: bool
    """Whether one demonstration may be imagined several times: only draws (a temperature above 0)
    make the results differ."""

    def plan(self, seed: int, *, number: int) -> Plan:
        """The demonstration of this number; see the protocol."""
        known = self.demonstrations
        if number >= len(known) and not self.repeats:
            raise UserError(
                f"--actions replay has {len(known)} demonstrations, and more episodes would repeat "
                "them exactly; lower --episodes, draw tokens (--sampling.temperature 0.7), or use "
                "--actions perturb or recombine"
            )
        place = number % len(known)
        return Plan(
            seed=seed,
            start=EpisodeStart(dataset=known.dataset, episode=known.episodes[place]),
            actions=fitted(known.actions[place], rows=self.rows, convention=known.convention),
            split=known.dataset.episode_info(known.episodes[place]).split,
            task=known.dataset.episode_info(known.episodes[place]).task,
            origin={"source": "replay", "demonstration": known.episodes[place]},
        )


def fitted(
    actions: Float[np.ndarray, "n a"], *, rows: int, convention: ActionConvention
) -> Float32[np.ndarray, "rows a"]:
    """Actions of a given length: cut, or followed by rest (no motion, the gripper as it was)."""
    if not len(actions):
        raise UserError("a demonstration without actions cannot be imagined; leave it out")
    rest = actions[-1].copy()
    if convention.mode == "delta":
        moves = np.array([not is_gripper(name) for name in convention.names])
        rest[moves] = 0
    missing = max(0, rows - len(actions))
    return np.concatenate([actions[:rows], np.tile(rest, (missing, 1))]).astype(np.float32)


def start_state(start: EpisodeStart | FrameStart) -> Float32[np.ndarray, " s"]:
    """Proprioception at a start."""
    if isinstance(start, FrameStart):
        return np.asarray(start.state, np.float32)
    return start.dataset.state(start.episode)[start.row]


def grasp_row(actions: Float[np.ndarray, "n a"], convention: ActionConvention) -> int | None:
    """The first row in which an open gripper is commanded to close; None where there is none."""
    ends = gripper_ends(convention)
    places = [i for i, name in enumerate(convention.names) if is_gripper(name)]
    if ends is None or not places:
        return None
    opened, closed = ends
    near_closed = np.abs(actions[:, places[-1]] - closed) < np.abs(actions[:, places[-1]] - opened)
    found = np.flatnonzero(near_closed[1:] & ~near_closed[:-1])
    return int(found[0]) + 1 if len(found) else None


def arm_of(proprioception: Proprioception | None, *, source: str) -> Proprioception:
    """The arm model, which `perturb` and `recombine` need.

    Raises:
        ValueError: the checkpoint has none.
    """
    if proprioception is None:
        raise UserError(
            f"--actions {source} changes actions within what the arm model calls reachable, and "
            "this checkpoint has no arm model; bundle one (`roboscape train proprioception`), or "
            "use --actions replay"
        )
    return proprioception
