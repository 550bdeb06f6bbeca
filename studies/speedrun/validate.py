"""How good a world model of the speed-run is, on validation episodes and never on test ones.

The same functions as in `roboscape evaluate`, without what a report needs beyond these figures.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from roboscape.core.pretrained import resolve
from roboscape.dataset.reader import LeRobotDataset
from roboscape.evaluate.appearance import psnr_db
from roboscape.evaluate.clips import ClipSet, choose_clips
from roboscape.evaluate.control import delta_psnr_db, partners
from roboscape.evaluate.geometry import metric_depth_scores, valid_in_range
from roboscape.evaluate.protocol import some_clips
from roboscape.evaluate.scores import known_mean
from roboscape.evaluate.subjects import BundlePredictor
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imagine import Imagination
from roboscape.rollout.videos import VideoCodes, Videos, decode_videos, encode_videos
from roboscape.tokenizer.codes import split_factors
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokens.store import TokenClip, TokenStore
from roboscape.tokens.weights import weights_sha256
from roboscape.world_model.batches import tokens_of
from roboscape.world_model.config import DEPTH, RGB
from roboscape.world_model.losses import factor_losses
from roboscape.world_model.model import WorldModel

HORIZON, BATCH = 15, 8


@dataclass(frozen=True)
class Batch:
    """Some validation clips: recorded, as tokens, and as the tokenizer gives them back."""

    clips: range
    truth: Videos
    codes: VideoCodes
    decoded: Videos


class Validation:
    """The first clips of a dataset's validation episodes, read and encoded once."""

    def __init__(self, *, tokens: Path, dataset: Path, tokenizer: Path, clips: int) -> None:
        """Read the clips.

        Raises:
            ValueError: the dataset has no validation episode, or the tokenizer is not the one that
                made the tokens.
        """
        self.store = TokenStore(tokens)
        self.dataset = LeRobotDataset(dataset)
        self.tokenizer = Tokenizer.from_pretrained(tokenizer)
        if weights_sha256(resolve(tokenizer)) != self.store.config.tokenizer_sha256:
            raise ValueError(f"{tokens} was not made by the tokenizer in {tokenizer}")
        self.count = clips
        self.batches: list[Batch] = []

    def figures(self, model: WorldModel) -> dict[str, float]:
        """Validation losses of the next frame, and how good and how controllable rollouts are."""
        return self.losses(model) | self.rollout(model)

    def losses(self, model: WorldModel) -> dict[str, float]:
        """Cross-entropy of the next frame, nothing of it shown, after true frames alone.

        That is the same question to every objective, so the figures can be compared.
        """
        shape = {"length": model.config.max_frames, "stride": self.store.controls.stride}
        starts = self.store.clips("validation", **shape).first_of_episodes()[: self.count]
        parts = [
            next_frame_losses(model, self.store.batch(some, split="validation", **shape))
            for some in np.array_split(starts, max(1, len(starts) // BATCH))
        ]
        names = ("rgb_loss", "depth_loss")[: model.config.modalities]
        means = torch.cat(parts, dim=1).mean(dim=(1, 2)).tolist()
        return dict(zip(names, means, strict=True))

    def rollout(self, model: WorldModel) -> dict[str, float]:
        """PSNR, AbsRel and Delta PSNR (shuffled actions) of greedy rollouts, against raw truth."""
        bundle = Bundle(tokenizer=self.tokenizer, world_model=model, controls=self.store.controls)
        clips = choose_clips(
            BundlePredictor(bundle).spec,
            self.dataset,
            horizon=HORIZON,
            split="validation",
            num_clips=self.count,
        )
        if not self.batches:
            self.batches = [read_batch(bundle, clips, some) for some in clips.batches(BATCH)]
        scores = [self.score(bundle, clips, batch) for batch in self.batches]
        return {
            name: float(known_mean(np.concatenate([part[name] for part in scores]), axis=(0, 1)))
            for name in scores[0]
        }

    def score(self, bundle: Bundle, clips: ClipSet, batch: Batch) -> dict[str, np.ndarray]:
        """Every score of every imagined frame, `b t`."""
        imagined, other = imagine_both(bundle, clips, batch)
        truth, spec = batch.truth, self.dataset.spec
        true_rgb = truth.rgb[:, 1:]
        scores = {
            "psnr": psnr_db(true_rgb, imagined.rgb[:, 1:]),
            "static_psnr": psnr_db(true_rgb, truth.frozen().rgb[:, 1:]),
            "ceiling_psnr": psnr_db(true_rgb, batch.decoded.rgb[:, 1:]),
            "delta_psnr": delta_psnr_db(
                true_rgb,
                with_true_actions=imagined.rgb[:, 1:],
                with_other_actions=other.rgb[:, 1:],
            ),
        }
        if truth.depth_m is not None and imagined.depth_m is not None:
            true_m = truth.depth_m[:, 1:]
            near, far = spec.depth_min_m, spec.depth_max_m
            valid = valid_in_range(true_m, nearest_m=near, farthest_m=far)
            found = metric_depth_scores(true_m, imagined.depth_m[:, 1:], valid=valid)
            scores["abs_rel"] = found.abs_rel
        return scores


def read_batch(bundle: Bundle, clips: ClipSet, some: range) -> Batch:
    """Read, encode and decode some clips."""
    truth = clips.videos(some)
    codes = encode_videos(bundle.tokenizer, truth)
    return Batch(some, truth, codes, decode_videos(bundle.tokenizer, codes))


def imagine_both(bundle: Bundle, clips: ClipSet, batch: Batch) -> tuple[Videos, Videos]:
    """Rollouts under the true actions, and under those of another episode."""
    partner = partners(len(clips), seed=0)
    taken = [
        [clips.actions[clip] for clip in batch.clips],
        [clips.actions[partner[clip]] for clip in batch.clips],
    ]
    states = clips.states(batch.clips)
    found = BundlePredictor(bundle).predict(
        batch.truth.map(lambda array: np.concatenate([array[:, :1]] * 2)),
        np.concatenate([states] * 2),
        np.concatenate([np.stack(actions) for actions in taken]),
    )
    size = len(batch.clips)
    return some_clips(found, slice(size)), some_clips(found, slice(size, None))


@torch.no_grad()
def next_frame_losses(model: WorldModel, clip: TokenClip) -> torch.Tensor:
    """Cross-entropy a token, in nats, `m b t`: each frame from the true ones before it."""
    config = model.config
    tokens = tokens_of(clip, modalities=config.modalities)
    depth = tokens[DEPTH, :, :1] if config.modalities > 1 else None
    forced = Imagination(model, batch=tokens.shape[1])
    forced.reset(rgb=tokens[RGB, :, :1], depth=depth, controls=clip.controls[:, :1])
    hidden = torch.ones_like(tokens[:, :, 0], dtype=torch.bool)
    losses = []
    for frame, control in zip(
        tokens[:, :, 1:].unbind(dim=2), clip.controls[:, 1:].unbind(dim=1), strict=True
    ):
        inputs = forced.inputs(torch.zeros_like(frame), hidden, control=control)
        features = forced.features(inputs, turn="next")
        losses.append(
            torch.stack(
                [
                    frame_losses(model, x, frame[modality], modality=modality)
                    for modality, x in enumerate(features)
                ]
            )
        )
        forced.newest = replace(forced.newest, codes=frame)
        if config.objective == "masked":
            forced.features(forced.inputs(frame, ~hidden, control=control), turn="replace")
    return torch.stack(losses, dim=2)


def frame_losses(
    model: WorldModel, features: torch.Tensor, codes: torch.Tensor, *, modality: int
) -> torch.Tensor:
    """Mean loss a token of one frame of each clip."""
    logits = rearrange(model.frame_logits(features, modality=modality), "b 1 n f s -> b n f s")
    groups = split_factors(codes, code_bits=model.config.code_bits, factors=model.config.factors)
    return factor_losses(logits, groups).sum(dim=-1).mean(dim=-1)
