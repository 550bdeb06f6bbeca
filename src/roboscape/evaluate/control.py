"""Control: how much worse the imagined video gets under actions that were not taken.

Delta PSNR = PSNR(truth, imagined with the true actions) - PSNR(truth, imagined with other actions).
A model that ignores its actions scores 0. Two protocols, by where the other actions come from:

- `shuffled`: those of another episode of the same set; mean over all imagined frames.
- `genie_random` (Bruce et al. 2024, Delta_t PSNR): drawn at random for every model frame from the
  actions of the set and held until the next one; at the fourth imagined frame.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8

from roboscape.core.errors import UserError
from roboscape.core.seeding import numpy_generator_for
from roboscape.evaluate.appearance import psnr_db

GENIE_FRAME = 4
"""The imagined frame that Genie's Delta PSNR is taken at."""
SHUFFLED_STREAM, RANDOM_STREAM = 1, 2


def delta_psnr_db(
    truth: UInt8[np.ndarray, "b t h w 3"],
    *,
    with_true_actions: UInt8[np.ndarray, "b t h w 3"],
    with_other_actions: UInt8[np.ndarray, "b t h w 3"],
) -> Float[np.ndarray, "b t"]:
    """Delta PSNR of each frame, in dB."""
    return psnr_db(truth, with_true_actions) - psnr_db(truth, with_other_actions)


def partners(num_clips: int, *, seed: int) -> Int[np.ndarray, " b"]:
    """For each clip the one whose actions it gets: never its own, each used once."""
    if num_clips < 2:
        raise UserError(
            f"delta_psnr@shuffled needs the actions of another episode; the set has {num_clips}. "
            "Evaluate at least 2 clips"
        )
    order = numpy_generator_for(seed, SHUFFLED_STREAM).permutation(num_clips)
    partner = np.empty(num_clips, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    return partner


def partner_clips(episodes: Sequence[int], *, seed: int) -> Int[np.ndarray, " b"]:
    """For each clip one of another episode, whose actions it gets.

    Clip k of an episode gets those of clip k of its partner, counted around where that has fewer.

    Args:
        episodes: The episode that each clip is of.
        seed: Of the choice.
    """
    known = sorted(set(episodes))
    clips = [np.flatnonzero(np.equal(episodes, episode)) for episode in known]
    partner = np.empty(len(episodes), dtype=np.int64)
    for number, other in enumerate(partners(len(known), seed=seed)):
        mine, theirs = clips[number], clips[other]
        partner[mine] = theirs[np.arange(len(mine)) % len(theirs)]
    return partner


def random_actions(
    pool: Float[np.ndarray, "n a"], *, num_frames: int, stride: int, seed: int, clip: int
) -> Float[np.ndarray, "rows a"]:
    """Actions for `num_frames` model frames: one row of `pool` each, held for `stride` rows."""
    generator = numpy_generator_for(seed, RANDOM_STREAM, clip)
    return np.repeat(pool[generator.integers(len(pool), size=num_frames)], stride, axis=0)
