"""The measuring itself: clips in, scores out, one batch of videos in memory at a time."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor

from roboscape.core.progress import progress
from roboscape.core.seeding import generator_for
from roboscape.evaluate.clips import ClipSet
from roboscape.evaluate.control import GENIE_FRAME, delta_psnr_db, partners, random_actions
from roboscape.evaluate.metrics import (
    IMAGINED_ACTIONS,
    Metric,
    delta_psnr_name,
    token_accuracy_name,
)
from roboscape.evaluate.results import Row, Subject
from roboscape.evaluate.scores import ScoreBook, ScoreKey
from roboscape.rollout.videos import (
    Sampling,
    VideoCodes,
    Videos,
    decode_videos,
    encode_videos,
    imagine_codes,
)
from roboscape.simulators.lift_cube import CubeSighting, table_inverse_depth, watch_cube


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is imagined and how it is scored."""

    metrics: tuple[Metric, ...]
    sampling: Sampling
    seeds: tuple[int, ...]
    batch_size: int
    cube: bool
    """Whether the scene has a Lift cube to follow."""


@dataclass
class Measurement:
    """What has been measured so far."""

    clips: ClipSet
    plan: Plan
    book: ScoreBook = field(default_factory=ScoreBook)
    imagined: list[VideoCodes] = field(default_factory=list)
    """The first seed's imagined tokens, one piece a batch: a few kilobytes a clip."""
    cube_true: list[CubeSighting] = field(default_factory=list)
    cube_decoded: list[CubeSighting] = field(default_factory=list)
    cube_imagined: dict[int, list[CubeSighting]] = field(default_factory=dict)
    """By seed."""

    def run(self) -> None:
        """Measure every clip."""
        with progress(len(self.clips), "evaluating", unit="clip") as bar:
            for batch in self.clips.batches(self.plan.batch_size):
                self.measure_batch(batch)
                bar.update(len(batch))

    def measure_batch(self, batch: range) -> None:
        """Floors, ceiling and every seed of the model on some clips."""
        truth = self.clips.videos(batch)
        codes = encode_videos(self.clips.bundle.tokenizer, truth)
        decoded = decode_videos(self.clips.bundle.tokenizer, codes)
        self._score_fixed(truth, decoded, codes)
        tables = []
        if self.plan.cube:
            assert truth.depth_m is not None
            tables = [table_inverse_depth(depth_m) for depth_m in truth.depth_m[:, 0]]
            self.cube_true += watch_cubes(truth, tables)
            self.cube_decoded += watch_cubes(decoded, tables)
        for seed in self.plan.seeds:
            imagined = self._score_model(batch, seed, truth=truth, decoded=decoded, codes=codes)
            if self.plan.cube:
                self.cube_imagined.setdefault(seed, []).extend(watch_cubes(imagined, tables))

    def imagined_codes(self) -> VideoCodes:
        """The first seed's imagined tokens of all clips."""
        depths = [piece.depth for piece in self.imagined if piece.depth is not None]
        return VideoCodes(
            rgb=torch.cat([piece.rgb for piece in self.imagined]),
            depth=torch.cat(depths) if depths else None,
        )

    def rows(self) -> tuple[Row, ...]:
        """The table so far."""
        rows = [
            self.book.row(name, reference=reference)
            for metric in self.plan.metrics
            for name in metric.names
            for reference in metric.references
        ]
        for protocol in IMAGINED_ACTIONS:
            at_frame = GENIE_FRAME if protocol == "genie_random" else None
            name = delta_psnr_name(protocol, missing=self._why_no_delta(protocol))
            for reference in ("raw", "decoded"):
                rows.append(self.book.row(name, reference=reference, at_frame=at_frame))
        for modality in ("rgb", "depth"):
            rows.append(self.book.row(token_accuracy_name(modality), reference="codes"))
        return tuple(row if row.model else explain(row) for row in rows)

    def _score_fixed(self, truth: Videos, decoded: Videos, codes: VideoCodes) -> None:
        """What does not depend on the world model."""
        static_codes = codes.map(lambda c: c[:, :1].expand_as(c))
        self._score("raw", "static", truth, truth.frozen())
        self._score("raw", "static_decoded", truth, decoded.frozen())
        self._score("raw", "ceiling", truth, decoded)
        self._score("decoded", "static_decoded", decoded, decoded.frozen())
        self._score_tokens("static_decoded", codes, static_codes)
        for metric in self.plan.metrics:
            if metric.weigh is not None and truth.depth_m is not None:
                for name in metric.names:
                    self.book.add_weights(name.key, metric.weigh(truth))

    def _score_model(
        self, batch: range, seed: int, *, truth: Videos, decoded: Videos, codes: VideoCodes
    ) -> Videos:
        """Imagine under the true and under other actions; returns the former's video."""
        tokenizer = self.clips.bundle.tokenizer
        found, others = self._imagine(batch, seed, prompt=codes.map(lambda c: c[:, :1]))
        imagined = decode_videos(tokenizer, found)
        if seed == self.plan.seeds[0]:
            self.imagined.append(found)
        self._score("raw", "model", truth, imagined, seed=seed)
        self._score("decoded", "model", decoded, imagined, seed=seed)
        self._score_tokens("model", codes, found, seed=seed)
        for protocol, other_codes in others.items():
            other = decode_videos(tokenizer, replace(other_codes, depth=None))
            for reference, video in (("raw", truth), ("decoded", decoded)):
                delta = delta_psnr_db(
                    video.rgb[:, 1:],
                    with_true_actions=imagined.rgb[:, 1:],
                    with_other_actions=other.rgb[:, 1:],
                )
                key = ScoreKey(f"delta_psnr@{protocol}", reference, "model")
                self.book.add(key, delta, seed=seed)
        return imagined

    def _imagine(
        self, batch: range, seed: int, *, prompt: VideoCodes
    ) -> tuple[VideoCodes, dict[str, VideoCodes]]:
        """Rollouts of some clips under the true actions, and by protocol under other actions.

        They run as one batch; the randomness depends on the seed and the clips alone.
        """
        protocols = [name for name in IMAGINED_ACTIONS if not self._why_no_delta(name)]
        actions = [
            [self.clips.actions[clip] for clip in batch],
            *(self._other_actions(name, batch, seed) for name in protocols),
        ]
        codes = imagine_codes(
            self.clips.bundle,
            prompt=prompt.map(lambda c: c.repeat(len(actions), 1, 1)),
            controls=torch.cat([self.clips.controls(batch, actions=taken) for taken in actions]),
            sampling=self.plan.sampling,
            generator=generator_for(seed, batch.start),
        )
        first, *others = (
            codes.map(lambda c, start=start: c[start : start + len(batch)])
            for start in range(0, len(actions) * len(batch), len(batch))
        )
        return first, dict(zip(protocols, others, strict=True))

    def _other_actions(
        self, protocol: str, batch: range, seed: int
    ) -> list[Float[np.ndarray, "rows a"]]:
        """Actions that were not the ones taken."""
        if protocol == "shuffled":
            partner = partners(len(self.clips), seed=seed)
            return [self.clips.actions[partner[clip]] for clip in batch]
        pool = np.concatenate(self.clips.actions)
        frames, stride = self.clips.num_frames - 1, self.clips.stride
        return [
            random_actions(pool, num_frames=frames, stride=stride, seed=seed, clip=clip)
            for clip in batch
        ]

    def _why_no_delta(self, protocol: str) -> str:
        """Why a protocol of Delta PSNR can't be followed here; empty where it can."""
        if protocol == "shuffled" and len(self.clips) < 2:
            return "not computed: needs the actions of another episode; evaluate 2 clips or more"
        if protocol == "genie_random" and self.clips.num_frames - 1 < GENIE_FRAME:
            return f"not computed: taken at imagined frame {GENIE_FRAME}, beyond this horizon"
        return ""

    def _score(
        self, reference: str, subject: Subject, truth: Videos, predicted: Videos, *, seed: int = 0
    ) -> None:
        """Every metric that compares with this reference."""
        for metric in self.plan.metrics:
            no_depth = truth.depth_m is None or predicted.depth_m is None
            if reference not in metric.references or (metric.needs_depth and no_depth):
                continue
            if metric.counts_given_frame and subject == "static":
                continue
            for name, scores in zip(metric.names, metric.measure(truth, predicted), strict=True):
                self.book.add(ScoreKey(name.key, reference, subject), scores, seed=seed)

    def _score_tokens(
        self, subject: Subject, truth: VideoCodes, predicted: VideoCodes, *, seed: int = 0
    ) -> None:
        """Token accuracy in both modalities."""
        pairs = {"rgb": (truth.rgb, predicted.rgb), "depth": (truth.depth, predicted.depth)}
        for modality, (true_codes, codes) in pairs.items():
            if true_codes is not None and codes is not None:
                key = ScoreKey(token_accuracy_name(modality).key, "codes", subject)
                self.book.add(key, token_accuracy(true_codes, codes), seed=seed)


def token_accuracy(
    truth: Int[Tensor, "b t n"], predicted: Int[Tensor, "b t n"]
) -> Float[np.ndarray, "b h"]:
    """Share of right tokens in each frame after the given one."""
    right = (truth[:, 1:] == predicted[:, 1:]).double()
    return reduce(right, "b t n -> b t", "mean").numpy()


def explain(row: Row) -> Row:
    """A row without a score of the model says why."""
    why = row.name.missing or (
        "not computed: the camera recorded no depth, or the model imagines none"
        if row.ceiling is None
        else "not computed: the model imagines no depth"
    )
    return replace(row, name=replace(row.name, missing=why))


def watch_cubes(videos: Videos, tables: list[Float[np.ndarray, "h w"]]) -> list[CubeSighting]:
    """Follow the cube in every clip."""
    assert videos.depth_m is not None
    return [
        watch_cube(rgb, depth_m, table=table)
        for rgb, depth_m, table in zip(videos.rgb, videos.depth_m, tables, strict=True)
    ]
