"""The measures of a study: one number a validation clip and metric, the same clips for all."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float

from roboscape.annotate.perturb.depth import DepthErrors, perturb_depth
from roboscape.core.errors import UserError
from roboscape.evaluate.appearance import psnr_db, ssim
from roboscape.evaluate.clips import ClipSet
from roboscape.evaluate.control import delta_psnr_db, partner_clips
from roboscape.evaluate.geometry import metric_depth_scores, valid_in_range
from roboscape.evaluate.lift import LiftCube
from roboscape.evaluate.metrics import Better
from roboscape.evaluate.physics import physics_iq
from roboscape.evaluate.protocol import some_clips
from roboscape.evaluate.scores import known_mean
from roboscape.evaluate.subjects import (
    BundlePredictor,
    StillPicture,
    TokenizerCodec,
    through_tokenizer,
)
from roboscape.evaluate.tasks import Outcome, decided_clips, unseen
from roboscape.reproduce.motion import TruePoints, follow_moving, keypoint_error
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.videos import Videos

BATCH = 8
"""Clips imagined together, each under true and under other actions."""
Scores = dict[str, Float[np.ndarray, " b"]]
"""By metric; NaN where a clip has none."""


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A measure of imagined video, as the tables show it."""

    key: str
    title: str
    unit: str = ""
    better: Better = "higher"
    digits: int = 3


METRICS = (
    MetricSpec(key="psnr", title="PSNR", unit="dB", digits=2),
    MetricSpec(key="ssim", title="SSIM"),
    MetricSpec(key="abs_rel", title="AbsRel", better="lower", digits=4),
    MetricSpec(key="delta1", title="δ₁", digits=4),
    MetricSpec(key="delta_psnr", title="ΔPSNR", unit="dB", digits=2),
    MetricSpec(key="spatial_iou", title="Spatial IoU"),
    MetricSpec(key="spatiotemporal_iou", title="Spatiotemporal IoU"),
    MetricSpec(key="weighted_spatial_iou", title="Weighted spatial IoU"),
    MetricSpec(key="mse", title="MSE", better="lower", digits=5),
    MetricSpec(key="cube", title="Cube agreement"),
    MetricSpec(key="keypoint_px", title="Keypoint error", unit="px", better="lower", digits=2),
)
"""The family of every comparison: p-values are corrected for so many."""
SECONDARY = (MetricSpec(key="keypoints_lost", title="Keypoints lost", better="lower"),)
"""Reported, not tested."""


@dataclass(frozen=True, kw_only=True)
class TrueBatch:
    """Some clips as recorded, and what is read off them once."""

    clips: range
    videos: Videos
    given: Videos
    """The given frames as a model gets them: their depth may be wrong on purpose."""
    points: tuple[TruePoints, ...]
    cube: list[Outcome] | None
    """None where the cube test does not apply."""


@dataclass(frozen=True)
class Measure:
    """Scores any bundle on the same clips; pixels are read and followed once."""

    clips: ClipSet
    task: LiftCube = field(default_factory=LiftCube)

    def __post_init__(self) -> None:
        """Refuse clips of several cameras, or of a single episode."""
        if len(self.clips.cameras) != 1:
            raise UserError(f"a study looks at one camera, got {', '.join(self.clips.cameras)}")
        if len(set(self.clips.episodes)) < 2:
            raise UserError("a study needs 2 validation episodes or more, for ΔPSNR")

    def of(self, bundle: Bundle, *, given_errors: DepthErrors | None = None) -> Scores:
        """Imagine every clip from its given frame, and score it.

        Args:
            bundle: Ready to imagine.
            given_errors: Errors of the given frame's depth, as in the labels of its training; none
                where not given.
        """
        parts = [self._of_batch(bundle, batch, given_errors) for batch in self.batches]
        return self._with_cube(parts)

    def still(self) -> Scores:
        """The floor: the given frame repeated."""
        still = StillPicture(self.clips.stride)
        return self._with_cube(
            [
                self._scores(
                    batch,
                    still.predict(
                        batch.given, self.clips.states(batch.clips), self._actions(batch.clips)
                    ),
                )
                for batch in self.batches
            ]
        )

    def ceiling(self, bundle: Bundle) -> Scores:
        """The true videos through a bundle's tokenizer: every token right."""
        codec = TokenizerCodec(bundle.tokenizer)
        return self._with_cube(
            [self._scores(batch, through_tokenizer(codec, batch.videos)) for batch in self.batches]
        )

    @cached_property
    def batches(self) -> list[TrueBatch]:
        """All clips, read."""
        return [self._read(clips) for clips in self.clips.batches(BATCH)]

    def _read(self, clips: range) -> TrueBatch:
        videos = self.clips.videos(clips)
        lift = "Lift" in self.clips.dataset.spec.source and videos.depth_m is not None
        return TrueBatch(
            clips=clips,
            videos=videos,
            given=videos.map(lambda array: array[:, :1]),
            points=tuple(follow_moving(frames) for frames in videos.rgb),
            cube=self.task.read(videos, videos) if lift else None,
        )

    def _of_batch(
        self, bundle: Bundle, batch: TrueBatch, given_errors: DepthErrors | None
    ) -> Scores:
        """Rollouts under the true actions and under those of another episode, as one batch."""
        given = batch.given if given_errors is None else self._wrong(batch, given_errors)
        partner = partner_clips(self.clips.episodes, seed=0)
        others = [int(partner[clip]) for clip in batch.clips]
        tasks = tuple(self.clips.info(clip).task for clip in batch.clips)
        found = BundlePredictor(bundle, tasks=tasks * 2).predict(
            given.map(lambda array: np.concatenate([array] * 2)),
            np.concatenate([self.clips.states(batch.clips)] * 2),
            np.concatenate([self._actions(batch.clips), self._actions(others)]),
        )
        size = len(batch.clips)
        imagined = some_clips(found, slice(size))
        scores = self._scores(batch, imagined)
        scores["delta_psnr"] = delta_psnr_db(
            batch.videos.rgb[:, 1:],
            with_true_actions=imagined.rgb[:, 1:],
            with_other_actions=found.rgb[size:, 1:],
        ).mean(axis=1)
        return scores

    def _wrong(self, batch: TrueBatch, errors: DepthErrors) -> Videos:
        """The given frames with errors of a whole clip's depth, so that their sizes are right."""
        depth_m = batch.videos.depth_m
        assert depth_m is not None
        wrong = [
            perturb_depth(one, errors, place=(clip,))[:1]
            for clip, one in zip(batch.clips, depth_m, strict=True)
        ]
        return Videos(rgb=batch.given.rgb, depth_m=np.stack(wrong))

    def _actions(self, clips: range | list[int]) -> Float[np.ndarray, "b n a"]:
        return np.stack([self.clips.actions[clip] for clip in clips])

    def _scores(self, batch: TrueBatch, shown: Videos) -> Scores:
        """Everything that compares one video with the true one; whether the cube rises as 0 or 1,
        NaN where it was lost."""
        truth = batch.videos
        motion = [physics_iq(a, b) for a, b in zip(truth.rgb, shown.rgb, strict=True)]
        points = [
            keypoint_error(*one) for one in zip(batch.points, truth.rgb, shown.rgb, strict=True)
        ]
        unknown = np.full(len(batch.clips), np.nan)
        scores = {
            "psnr": psnr_db(truth.rgb[:, 1:], shown.rgb[:, 1:]).mean(axis=1),
            "ssim": ssim(truth.rgb[:, 1:], shown.rgb[:, 1:]).mean(axis=1),
            "abs_rel": unknown,
            "delta1": unknown,
            "delta_psnr": unknown,
            "spatial_iou": np.array([one.spatial_iou for one in motion]),
            "spatiotemporal_iou": np.array([one.spatiotemporal_iou for one in motion]),
            "weighted_spatial_iou": np.array([one.weighted_spatial_iou for one in motion]),
            "mse": np.array([one.mse for one in motion]),
            "cube": unknown,
            "keypoint_px": np.array([one.distance_px for one in points]),
            "keypoints_lost": np.array([one.lost for one in points]),
        }
        if truth.depth_m is not None and shown.depth_m is not None:
            scores |= self._depth_scores(truth.depth_m[:, 1:], shown.depth_m[:, 1:])
            if batch.cube is not None:
                seen = self.task.read(truth, shown)
                scores["cube"] = np.array(
                    [
                        float(one.happened == other.happened and not unseen(one, other))
                        for one, other in zip(batch.cube, seen, strict=True)
                    ]
                )
        return scores

    def _depth_scores(
        self, true_m: Float[np.ndarray, "b t h w"], shown_m: Float[np.ndarray, "b t h w"]
    ) -> Scores:
        spec = self.clips.dataset.spec
        valid = valid_in_range(true_m, nearest_m=spec.depth_min_m, farthest_m=spec.depth_max_m)
        found = metric_depth_scores(true_m, shown_m, valid=valid)
        return {
            "abs_rel": known_mean(found.abs_rel, axis=1),
            "delta1": known_mean(found.delta1, axis=1),
        }

    def _with_cube(self, parts: list[Scores]) -> Scores:
        """All batches together; the cube counts where the true video decides."""
        scores = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if all(batch.cube is not None for batch in self.batches):
            true = [one for batch in self.batches if batch.cube for one in batch.cube]
            decided = decided_clips(true, self.task.recorded(self.clips))
            scores["cube"] = np.where(decided, scores["cube"], np.nan)
        return scores


def quiet_threads() -> None:
    """One thread for everything, so that CPU seconds are comparable."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
