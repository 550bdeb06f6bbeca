"""Categories of clips: how hard, and where (RoboScape, section 2.2, clip categorisation).

Pure functions of measured quantities, so that a category can be explained and computed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

DIFFICULTIES = ("easy", "medium", "hard")
"""Thirds of the kept clips by `difficulty_scores`."""
SIGNATURE_SIDE = 8
"""A scene's signature is a picture this small: what stays when everything that moves is blurred."""


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """The measured reasons why a clip is hard to foresee."""

    motion_px: float
    """Mean path of its active points: what moves farther is harder."""
    disorder: float
    """How often they turn: what turns is harder than what goes straight on."""
    hidden: float
    """Share of its points that cannot be seen, on average: what is hidden must be remembered."""
    gripper_events: int
    """How often the gripper closes or opens: contact is harder than free motion."""


def difficulty_scores(challenges: Sequence[Challenge]) -> Float[np.ndarray, " n"]:
    """The difficulty of each clip among the others, in [0, 1].

    The mean, over the four quantities, of a clip's rank in it: 0 for the least, 1 for the most,
    ties in the middle. Ranks need no units and no weights, and a quantity that is the same
    everywhere (a gripper that never moves) says nothing.
    """
    names = [field.name for field in fields(Challenge)]
    ranks = [ranks_of([getattr(one, name) for one in challenges]) for name in names]
    return np.mean(ranks, axis=0)


def ranks_of(values: Sequence[int | float]) -> Float[np.ndarray, " n"]:
    """Rank of every value in [0, 1], the mean rank where several are equal."""
    if len(values) < 2:
        return np.full(len(values), 0.5)
    _, which, count = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    middles = (ends - count + ends - 1) / 2
    return middles[which] / (len(values) - 1)


def difficulties(challenges: Sequence[Challenge]) -> list[str]:
    """`easy`, `medium` or `hard`: thirds by `difficulty_scores`."""
    if not challenges:
        return []
    scores = difficulty_scores(challenges)
    borders = np.quantile(scores, [1 / 3, 2 / 3])
    return [DIFFICULTIES[int(third)] for third in np.searchsorted(borders, scores)]


def scene_signature(frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, " v"]:
    """A coarse picture of a camera's scene: 8 x 8 in CIELAB, whose distances match the eye's."""
    small = cv2.resize(frame, (SIGNATURE_SIDE, SIGNATURE_SIDE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).ravel()


def group_scenes(
    signatures: Sequence[Float[np.ndarray, " v"]], *, largest_difference: float
) -> Int[np.ndarray, " n"]:
    """Number of each signature's scene, counted from 0 in the order of first appearance.

    A signature joins the nearest scene whose first signature is within `largest_difference` (mean
    distance of the small pictures' colours in CIELAB; 2.3 is just noticeable), else it begins one.
    """
    leaders: list[np.ndarray] = []
    scenes = np.zeros(len(signatures), np.int64)
    for index, signature in enumerate(signatures):
        pixels = signature.reshape(-1, 3)
        distances = [np.linalg.norm(pixels - leader, axis=1).mean() for leader in leaders]
        if not distances or min(distances) > largest_difference:
            leaders.append(pixels)
            scenes[index] = len(leaders) - 1
        else:
            scenes[index] = int(np.argmin(distances))
    return scenes
