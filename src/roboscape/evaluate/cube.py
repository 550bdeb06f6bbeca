"""The Lift test: does the imagined cube rise when, and only when, the true one does?

`roboscape.simulators.lift_cube` finds the cube, by the same rule in true and imagined video. Where
that rule and the simulator's own reward disagree on the *true* video, the clip is left out as
undecided. That is 2.8 % of 360 Lift recordings that the rule was not set on, all of them lifts that
begin in the last frame or happen out of sight.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from roboscape.simulators.lift_cube import CubeSighting


@dataclass(frozen=True, kw_only=True)
class CubeTest:
    """Counts of clips: did the cube rise in truth, did it rise in the imagined video?"""

    rose_in_both: int
    rose_only_in_truth: int
    """Missed lifts."""
    rose_only_in_imagination: int
    """Hallucinated lifts."""
    rose_in_neither: int
    agreement: float
    """Share of decided clips where truth and imagination agree."""
    undecided: int
    """Clips left out, because the rule and the simulator disagree on the true video."""
    detector_agreement: float | None
    """The rule on raw true video against the simulator's own reward; None where it gave none."""
    ceiling_agreement: float
    """The rule on decoded true video (tokenizer only) against raw true video."""
    seen: float
    """Of the frames that show the true cube, the share that also shows the imagined one."""


def cube_test(
    *,
    true: list[CubeSighting],
    imagined: list[CubeSighting],
    decoded: list[CubeSighting],
    rewarded: Bool[np.ndarray, " b"] | None,
) -> CubeTest:
    """Compare all clips.

    Args:
        true: raw true video.
        imagined: imagined video of the same clips, any number of seeds one after the other.
        decoded: decode(encode(truth)).
        rewarded: whether the simulator counted a lift in any frame of the clip.
    """
    num_seeds = len(imagined) // len(true)
    truth = np.array([clip.rose for clip in true])
    decided = decided_clips(true, rewarded)
    repeated, counted = np.tile(truth, num_seeds), np.tile(decided, num_seeds)
    guess = np.array([clip.rose for clip in imagined])
    shown = [
        (a.seen.sum(), (a.seen & b.seen).sum())
        for a, b in zip(true * num_seeds, imagined, strict=True)
    ]
    total, kept = np.sum(shown, axis=0)
    through_tokenizer = truth == np.array([clip.rose for clip in decoded])
    return CubeTest(
        rose_in_both=int((repeated & guess & counted).sum()),
        rose_only_in_truth=int((repeated & ~guess & counted).sum()),
        rose_only_in_imagination=int((~repeated & guess & counted).sum()),
        rose_in_neither=int((~repeated & ~guess & counted).sum()),
        agreement=share(repeated == guess, counted),
        undecided=int((~decided).sum()),
        detector_agreement=None if rewarded is None else float(decided.mean()),
        ceiling_agreement=share(through_tokenizer, decided),
        seen=float(kept / total) if total else 0.0,
    )


def decided_clips(
    true: list[CubeSighting], rewarded: Bool[np.ndarray, " b"] | None
) -> Bool[np.ndarray, " b"]:
    """Clips whose outcome can be read off the true video; all of them without rewards."""
    truth = np.array([clip.rose for clip in true])
    return np.ones_like(truth) if rewarded is None else truth == rewarded


def share(hits: Bool[np.ndarray, " b"], among: Bool[np.ndarray, " b"]) -> float:
    """The share of hits among some clips; 0 where there are none."""
    return float(hits[among].mean()) if among.any() else 0.0
