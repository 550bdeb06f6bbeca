"""Rollouts broken on purpose, in ways that a world model or a pipeline can really fail.

Each takes proper episodes of equal length and returns broken ones that claim to be proper.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from roboscape.dataset.frame_actions import FrameEpisode

Episodes = Sequence[FrameEpisode]


def frozen(episodes: Episodes) -> list[FrameEpisode]:
    """The given frame repeated, while the arm is said to move."""
    return [with_frames(one, one, np.zeros(len(one), int)) for one in episodes]


def other_actions(episodes: Episodes) -> list[FrameEpisode]:
    """Another episode's actions and states, from this one's first frame and state."""
    broken = []
    for one, other in pairs(episodes):
        state = np.concatenate([one.state[:1], other.state[1:]])
        broken.append(replace(one, actions=other.actions, state=state))
    return broken


def other_depth(episodes: Episodes) -> list[FrameEpisode]:
    """Another episode's depth beside this one's colours, after the first frame."""
    return [
        replace(
            one,
            depth_m={
                name: spliced(one.depth_m[name], other.depth_m[name], 1) for name in one.depth_m
            },
        )
        for one, other in pairs(episodes)
    ]


def teleported(episodes: Episodes) -> list[FrameEpisode]:
    """From the middle on another episode's frames: the arm jumps."""
    return [
        replace(
            one,
            rgb={name: spliced(one.rgb[name], other.rgb[name], len(one) // 2) for name in one.rgb},
            depth_m={
                name: spliced(one.depth_m[name], other.depth_m[name], len(one) // 2)
                for name in one.depth_m
            },
        )
        for one, other in pairs(episodes)
    ]


def reversed_time(episodes: Episodes) -> list[FrameEpisode]:
    """The frames after the first backwards."""
    return [
        with_frames(one, one, np.concatenate([[0], np.arange(1, len(one))[::-1]]))
        for one in episodes
    ]


def shuffled_frames(episodes: Episodes) -> list[FrameEpisode]:
    """The frames after the first in a random order."""
    generator = np.random.default_rng(0)
    return [
        with_frames(one, one, np.concatenate([[0], 1 + generator.permutation(len(one) - 1)]))
        for one in episodes
    ]


def jumping_arm(episodes: Episodes) -> list[FrameEpisode]:
    """The imagined state far outside what was recorded, from the middle on."""
    broken = []
    for one in episodes:
        state = one.state.copy()
        state[len(one) // 2 :] += 6 * np.maximum(one.state.std(axis=0), 0.05)
        broken.append(replace(one, state=state))
    return broken


BREAKING: dict[str, Callable[[Episodes], list[FrameEpisode]]] = {
    "frozen": frozen,
    "other actions": other_actions,
    "other depth": other_depth,
    "teleported": teleported,
    "reversed": reversed_time,
    "shuffled frames": shuffled_frames,
    "arm out of range": jumping_arm,
}
"""Breakages of finished episodes by name; drawing at temperature 3 needs a rollout of its own."""


def pairs(episodes: Episodes) -> list[tuple[FrameEpisode, FrameEpisode]]:
    """Every episode with the one after it."""
    return list(zip(episodes, [*episodes[1:], episodes[0]], strict=True))


def with_frames(one: FrameEpisode, other: FrameEpisode, index: np.ndarray) -> FrameEpisode:
    """An episode with chosen frames of another one, depth too."""
    return replace(
        one,
        rgb={name: frames[index] for name, frames in other.rgb.items()},
        depth_m={name: frames[index] for name, frames in other.depth_m.items()},
    )


def spliced(before: np.ndarray, after: np.ndarray, at: int) -> np.ndarray:
    """The first frames of one video, then the later ones of another."""
    return np.concatenate([before[:at], after[at:]])
