"""The rows of the table: every metric under its protocol's name, alike for all subjects."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from roboscape.dataset.depth_choice import NONE, RECORDED
from roboscape.evaluate.appearance import Lpips, psnr_db, psnr_ivideogpt_db, ssim
from roboscape.evaluate.geometry import (
    DepthScores,
    aether_depth_scores,
    metric_depth_scores,
    valid_at_aether,
    valid_in_range,
)
from roboscape.evaluate.physics import physics_iq
from roboscape.evaluate.regions import (
    BLUR_PX,
    CHANGE_LEVELS,
    moving_regions,
    region_psnr_db,
)
from roboscape.evaluate.views import EVERY_PX, TOLERANCE_M
from roboscape.rollout.videos import Videos

MOVING_PSNR, STILL_PSNR = "psnr@moving", "psnr@still"
Better = Literal["higher", "lower"]
Reference = Literal["raw", "decoded"]
"""What is compared with: the recorded frames, or the same frames through the tokenizer."""

Scores = Float[np.ndarray, "b"] | Float[np.ndarray, "b t"]
"""One number a clip, or one a clip and predicted frame; NaN where there is none."""


@dataclass(frozen=True, kw_only=True)
class MetricName:
    """The name and the reading of one row of the table."""

    key: str
    """Name with its protocol, e.g. `abs_rel@metric`."""
    title: str
    protocol: str
    """How it is measured."""
    common: str = ""
    """The part of the protocol that it shares with its neighbours in the table."""
    unit: str = ""
    better: Better = "higher"
    digits: int = 3
    """Decimals that are shown."""
    missing: str = ""
    """Why the row is empty, where it is."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Rows that are computed together."""

    names: tuple[MetricName, ...]
    measure: Callable[[Videos, Videos], tuple[Scores, ...]]
    """(truth, predicted) to the scores of every name."""
    references: tuple[Reference, ...] = ("raw", "decoded")
    needs_depth: bool = False
    counts_given_frame: bool = False
    """Whether the given frame is scored too, as the tokenizer reconstructs it. A raw copy of it
    would score itself, so the raw static floor is left out."""
    weigh: Callable[[Videos], Float[np.ndarray, " b"]] | None = None
    """How much each clip counts; equally where there is none."""


def all_metrics(
    *, lpips: Lpips, nearest_m: float, farthest_m: float, depth_source: str
) -> tuple[Metric, ...]:
    """Every metric that compares two videos.

    Args:
        lpips: LPIPS, or why there is none.
        nearest_m: the dataset's depth range.
        farthest_m: its other end.
        depth_source: `recorded`, or the annotator that estimated what counts as true depth.
    """
    truth = "" if depth_source in (NONE, RECORDED) else f"; truth is estimated by {depth_source}"
    return (
        _psnr(),
        _psnr_regions(),
        _psnr_ivideogpt(),
        _ssim(),
        _lpips(lpips),
        _metric_depth(nearest_m=nearest_m, farthest_m=farthest_m, truth=truth),
        _aether_depth(with_shift=False, truth=truth),
        _aether_depth(with_shift=True, truth=truth),
        _physics_iq(),
    )


IMAGINED_ACTIONS = {
    "shuffled": (
        "the actions of another episode of the set (from the clip's own first frame and state); "
        "mean over frames"
    ),
    "genie_random": (
        "random actions: for every model frame one action of the set, held until the next frame; "
        "at the 4th predicted frame (Genie's t = 4)"
    ),
}
"""The protocols of Delta PSNR, by where the other actions come from."""


def delta_psnr_name(protocol: str, *, missing: str = "") -> MetricName:
    """The row of Delta PSNR under one protocol."""
    return MetricName(
        key=f"delta_psnr@{protocol}",
        title=f"ΔPSNR @ {protocol.replace('_', ' ')}",
        protocol=f"PSNR with the true actions − PSNR with {IMAGINED_ACTIONS[protocol]}",
        unit="dB",
        digits=2,
        missing=missing,
    )


def token_accuracy_name(modality: str) -> MetricName:
    """The row of token accuracy in one modality."""
    return MetricName(
        key=f"token_accuracy_{modality}",
        title=f"Token accuracy, {modality if modality == 'depth' else modality.upper()}",
        protocol="share of tokens with all bits right, mean over predicted frames",
    )


def consistency_names(*, missing: str = "") -> tuple[MetricName, MetricName]:
    """The rows of the consistency of views, whose ceiling is the reference itself."""
    common = (
        f"Consistency of views: every {EVERY_PX}nd pixel of one view, at the depth shown, becomes "
        "a point that is looked for in the other view (inverse depth between pixels); points that "
        "fall outside, or behind something nearer by more than "
        f"{100 * TOLERANCE_M:g} cm, do not count; cameras on the hand are where the recorded state "
        "says; mean over predicted frames and both directions. Ceiling: the recording's own views"
    )
    return (
        MetricName(
            key="view_agreement",
            title="Agreement of views",
            protocol=f"share of points within {100 * TOLERANCE_M:g} cm of the other's surface",
            common=common,
            missing=missing,
        ),
        MetricName(
            key="view_distance",
            title="Distance of views",
            protocol="median distance of points from the other's surface, along its axis",
            common=common,
            unit="m",
            better="lower",
            digits=4,
            missing=missing,
        ),
    )


def _psnr() -> Metric:
    return Metric(
        names=(
            MetricName(
                key="psnr",
                title="PSNR",
                protocol="8-bit RGB, range 255, mean over predicted frames, then over clips",
                unit="dB",
                digits=2,
            ),
        ),
        measure=lambda truth, predicted: (psnr_db(truth.rgb[:, 1:], predicted.rgb[:, 1:]),),
    )


def _psnr_regions() -> Metric:
    rule = (
        f"the {BLUR_PX[0]} × {BLUR_PX[1]} mean of the recorded frame differs by more than "
        f"{CHANGE_LEVELS} levels from that of the given frame or of the frame before"
    )
    names = (
        MetricName(
            key=MOVING_PSNR,
            title="PSNR, moving regions",
            protocol=f"over the pixels where {rule}; mean over predicted frames that have any",
            unit="dB",
            digits=2,
        ),
        MetricName(
            key=STILL_PSNR,
            title="PSNR, still regions",
            protocol="over all other pixels",
            unit="dB",
            digits=2,
        ),
    )

    def measure(truth: Videos, predicted: Videos) -> tuple[Scores, ...]:
        moving = moving_regions(truth.rgb)
        return tuple(
            region_psnr_db(truth.rgb[:, 1:], predicted.rgb[:, 1:], region=region)
            for region in (moving, ~moving)
        )

    # Decoded frames flicker: what moves is decided by the recorded ones.
    return Metric(names=names, measure=measure, references=("raw",))


def _psnr_ivideogpt() -> Metric:
    name = MetricName(
        key="psnr@ivideogpt, best of 1",
        title="PSNR @ iVideoGPT, best of 1",
        protocol=(
            "64 × 64 by area averaging, the reconstructed context frame included, raw truth; "
            "iVideoGPT itself takes the best of 100 samples, this the first"
        ),
        unit="dB",
        digits=2,
    )
    return Metric(
        names=(name,),
        measure=lambda truth, predicted: (psnr_ivideogpt_db(truth.rgb, predicted.rgb[None]),),
        references=("raw",),
        counts_given_frame=True,
    )


def _ssim() -> Metric:
    name = MetricName(
        key="ssim",
        title="SSIM",
        protocol="RGB, Gaussian 11 × 11 window (σ 1.5), range 255, mean over predicted frames",
    )
    return Metric(
        names=(name,),
        measure=lambda truth, predicted: (ssim(truth.rgb[:, 1:], predicted.rgb[:, 1:]),),
    )


def _lpips(lpips: Lpips) -> Metric:
    name = MetricName(
        key="lpips",
        title="LPIPS",
        protocol="AlexNet, mean over predicted frames (1xgpt's is the one against decoded truth)",
        better="lower",
        digits=4,
        missing=lpips.missing,
    )
    return Metric(
        names=(name,),
        measure=lambda truth, predicted: (lpips(truth.rgb[:, 1:], predicted.rgb[:, 1:]),),
    )


def _metric_depth(*, nearest_m: float, farthest_m: float, truth: str) -> Metric:
    protocol = (
        "metric: metres as they are, no alignment; pixels whose true depth is finite and within "
        f"{nearest_m:g} to {farthest_m:g} m; mean over predicted frames{truth}"
    )

    def measure(truth: Videos, predicted: Videos) -> tuple[Scores, ...]:
        truth_m, predicted_m = imagined_depth(truth), imagined_depth(predicted)
        valid = valid_in_range(truth_m, nearest_m=nearest_m, farthest_m=farthest_m)
        return _as_tuple(metric_depth_scores(truth_m, predicted_m, valid=valid))

    names = _depth_names("metric", "metric", protocol)
    return Metric(names=names, measure=measure, needs_depth=True)


def _aether_depth(*, with_shift: bool, truth: str) -> Metric:
    fitted = "one scale and one shift" if with_shift else "one scale"
    protocol = (
        f"depth@aether: {fitted} a clip, of least absolute error; pixels with 0 < true depth < 70 "
        f"m; predictions cut at 70 m; clips weighted by valid pixels (CUT3R, Aether){truth}"
    )

    def measure(truth: Videos, predicted: Videos) -> tuple[Scores, ...]:
        scores = aether_depth_scores(
            imagined_depth(truth), imagined_depth(predicted), with_shift=with_shift
        )
        return _as_tuple(scores)

    def weigh(truth: Videos) -> Float[np.ndarray, " b"]:
        return valid_at_aether(imagined_depth(truth)).sum(axis=(1, 2, 3)).astype(np.float64)

    key = "aether_scale_shift" if with_shift else "aether_scale"
    title = "Aether, scale & shift" if with_shift else "Aether, scale"
    return Metric(
        names=_depth_names(key, title, protocol), measure=measure, needs_depth=True, weigh=weigh
    )


def _depth_names(key: str, title: str, common: str) -> tuple[MetricName, ...]:
    """AbsRel, delta 1 and delta 2 under one protocol."""
    return (
        MetricName(
            key=f"abs_rel@{key}",
            title=f"AbsRel @ {title}",
            protocol="mean of |predicted − true| / true",
            common=common,
            better="lower",
            digits=4,
        ),
        MetricName(
            key=f"delta1@{key}",
            title=f"δ₁ @ {title}",
            protocol="share of pixels within a factor of 1.25",
            common=common,
        ),
        MetricName(
            key=f"delta2@{key}",
            title=f"δ₂ @ {title}",
            protocol="share of pixels within a factor of 1.25²",
            common=common,
        ),
    )


def imagined_depth(videos: Videos) -> Float[np.ndarray, "b t h w"]:
    """Depth of the frames after the given one."""
    assert videos.depth_m is not None
    return videos.depth_m[:, 1:]


def _as_tuple(scores: DepthScores) -> tuple[Scores, ...]:
    """In the order of `_depth_names`."""
    return scores.abs_rel, scores.delta1, scores.delta2


def _physics_iq() -> Metric:
    common = (
        "Physics-IQ: motion masks from grey frames (5 × 5 blur, running average 0.3, threshold 10, "
        "opening and closing 5 × 5) at a quarter of the size, the given frame included"
    )
    names = (
        MetricName(
            key="spatial_iou@physics_iq",
            title="Spatial IoU",
            protocol="where anything moves",
            common=common,
        ),
        MetricName(
            key="spatiotemporal_iou@physics_iq",
            title="Spatiotemporal IoU",
            protocol="where and when, frame by frame; two empty masks count as 1",
            common=common,
        ),
        MetricName(
            key="weighted_spatial_iou@physics_iq",
            title="Weighted spatial IoU",
            protocol="where and how much",
            common=common,
        ),
        MetricName(
            key="mse@physics_iq",
            title="MSE",
            protocol="squared error of RGB in [0, 1] at a quarter of the size",
            common=common,
            better="lower",
            digits=4,
        ),
    )

    def measure(truth: Videos, predicted: Videos) -> tuple[Scores, ...]:
        clips = [physics_iq(a, b) for a, b in zip(truth.rgb, predicted.rgb, strict=True)]
        return (
            np.array([clip.spatial_iou for clip in clips]),
            np.array([clip.spatiotemporal_iou for clip in clips]),
            np.array([clip.weighted_spatial_iou for clip in clips]),
            np.array([clip.mse for clip in clips]),
        )

    return Metric(names=names, measure=measure)
