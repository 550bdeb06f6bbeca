"""What is scored in every frame of a long rollout, and how frames are averaged."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, UInt8

from roboscape.core.seeding import numpy_generator_for
from roboscape.evaluate.appearance import psnr_db, ssim
from roboscape.evaluate.geometry import metric_depth_scores, valid_in_range
from roboscape.evaluate.statistics import CONFIDENCE, NUM_RESAMPLES
from roboscape.rollout.videos import Videos
from roboscape.simulators.lift_cube import cube_patch

WINDOW = 8
"""Frames that `at frame t` averages over: t - 7 to t."""
STILL_LEVELS = 12
"""A pixel is still if the recording never leaves its first frame's levels by more than this."""
BOOTSTRAP_SEED = 200
FLOOR, CEILING, RECORDED = "still first frame", "tokenizer ceiling", "recorded"
"""Subjects beside the ways to imagine."""

Scores = dict[str, np.ndarray]
"""By measure, shape (clip, frame), frames 1, 2, ...; NaN where there is no value."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How one measure is called in tables."""

    title: str
    digits: int
    scale: float = 1.0
    unit: str = ""


MEASURES = {
    "psnr": Measure(title="PSNR, dB ↑", digits=1),
    "ssim": Measure(title="SSIM ↑", digits=3),
    "abs_rel": Measure(title="depth AbsRel ↓", digits=3),
    "background": Measure(title="still pixels off by, levels ↓", digits=1),
    "cast": Measure(title="colour cast, levels ↓", digits=2),
    "motion": Measure(title="motion, levels a frame", digits=2),
    "cube_seen": Measure(title="cube seen ↑", digits=0, scale=100, unit=" %"),
    "cube_distance_px": Measure(title="cube off by, px ↓", digits=1),
}


def score(truth: Videos, shown: Videos, *, nearest_m: float, farthest_m: float) -> Scores:
    """Every measure in every frame after the given one.

    Args:
        truth: as recorded.
        shown: what is compared with it.
        nearest_m: the dataset's depth range.
        farthest_m: its other end.
    """
    still = still_pixels(truth.rgb)
    difference = [
        still_difference(true, rgb, mask)
        for true, rgb, mask in zip(truth.rgb, shown.rgb, still, strict=True)
    ]
    cubes = [follow_cube(true, rgb) for true, rgb in zip(truth.rgb, shown.rgb, strict=True)]
    scores: Scores = {
        "psnr": psnr_db(truth.rgb[:, 1:], shown.rgb[:, 1:]),
        "ssim": ssim(truth.rgb[:, 1:], shown.rgb[:, 1:]),
        "background": np.stack([absolute for absolute, _ in difference]),
        "cast": np.stack([cast for _, cast in difference]),
        "motion": np.stack([motion(rgb) for rgb in shown.rgb]),
        "cube_seen": np.stack([seen for seen, _ in cubes]),
        "cube_distance_px": np.stack([distance_px for _, distance_px in cubes]),
    }
    if truth.depth_m is not None and shown.depth_m is not None:
        true_m = truth.depth_m[:, 1:]
        valid = valid_in_range(true_m, nearest_m=nearest_m, farthest_m=farthest_m)
        scores["abs_rel"] = metric_depth_scores(true_m, shown.depth_m[:, 1:], valid=valid).abs_rel
    return scores


def still_pixels(rgb: UInt8[np.ndarray, "b t h w 3"]) -> Bool[np.ndarray, "b h w"]:
    """Where a recording looks as in its first frame throughout."""
    first = rgb[:, 0].astype(np.int16)
    farthest = np.zeros(first.shape, np.int16)
    for t in range(1, rgb.shape[1]):
        np.maximum(farthest, np.abs(rgb[:, t].astype(np.int16) - first), out=farthest)
    return farthest.max(axis=-1) <= STILL_LEVELS


def still_difference(
    truth: UInt8[np.ndarray, "t h w 3"],
    shown: UInt8[np.ndarray, "t h w 3"],
    still: Bool[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """In levels of 255, by frame after the first: how far still pixels are off, and their cast.

    The first is the mean absolute difference of the levels. The second is the absolute difference
    of each channel's median pixel, averaged over the channels: a change of all colours counts, an
    arm drawn over less than half of the background does not.
    """
    if not still.any():
        nothing = np.full(len(truth) - 1, np.nan)
        return nothing, nothing
    difference = shown[1:, still].astype(np.float32) - truth[1:, still]
    return np.abs(difference).mean(axis=(1, 2)), np.abs(np.median(difference, axis=1)).mean(axis=1)


def motion(rgb: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, " n"]:
    """Mean absolute change of the levels since the frame before: 0 is a picture that froze."""
    return np.array([np.abs(b.astype(np.int16) - a).mean() for a, b in pairwise(rgb)])


def follow_cube(
    truth: UInt8[np.ndarray, "t h w 3"], shown: UInt8[np.ndarray, "t h w 3"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """By frame: whether the cube that the truth shows is shown, and how far from its true place.

    NaN where the truth shows none; the distance also where `shown` has none.
    """
    true_px, shown_px = cube_centres_px(truth[1:]), cube_centres_px(shown[1:])
    visible = np.isfinite(true_px[:, 0])
    seen = np.where(visible, np.isfinite(shown_px[:, 0]), np.nan)
    return seen, np.linalg.norm(shown_px - true_px, axis=1)


def cube_centres_px(rgb: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t 2"]:
    """Centre of the cube's patch in every frame, x right, y down; NaN where there is none."""
    centres = np.full((len(rgb), 2), np.nan)
    for t, frame in enumerate(rgb):
        patch = cube_patch(frame)
        if patch is not None:
            centres[t] = np.argwhere(patch).mean(axis=0)[::-1]
    return centres


def join(parts: list[Scores]) -> Scores:
    """Scores of several batches of clips."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def at_frame(scores: Float[np.ndarray, "b t"], frame: int) -> Float[np.ndarray, " b"]:
    """Each clip's mean over the `WINDOW` frames up to one; NaN where none has a value."""
    return known_mean(scores[:, max(0, frame - WINDOW) : frame])


def up_to_frame(scores: Float[np.ndarray, "b t"], frame: int) -> Float[np.ndarray, " b"]:
    """Each clip's mean over frames 1 to `frame`; NaN where none has a value."""
    return known_mean(scores[:, :frame])


def known_mean(values: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    """Each row's mean over its known values, NaN without any."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def curve(scores: Float[np.ndarray, "b t"]) -> list[float]:
    """`at_frame` of every frame, averaged over the clips."""
    means = [at_frame(scores, frame) for frame in range(1, scores.shape[1] + 1)]
    return [float(known_mean(values[None])[0]) for values in means]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is left of a margin over the floor, as a share."""

    share: float
    low: float
    """Lower end of the 95 % interval, clips resampled with replacement."""
    high: float
    """Upper end."""


def margin_kept(early: Float[np.ndarray, " b"], late: Float[np.ndarray, " b"]) -> Kept:
    """Mean late margin over mean early margin.

    Args:
        early: each clip's PSNR above the static floor's, early in the rollout.
        late: the same, later.
    """
    chosen = numpy_generator_for(BOOTSTRAP_SEED, len(early)).integers(
        len(early), size=(NUM_RESAMPLES, len(early))
    )
    tail = (1 - CONFIDENCE) / 2
    ratios = late[chosen].mean(axis=1) / early[chosen].mean(axis=1)
    low, high = np.quantile(ratios, (tail, 1 - tail))
    return Kept(share=float(late.mean() / early.mean()), low=float(low), high=float(high))
