"""Ways to imagine long episodes: how tokens are chosen, and when a rollout begins anew."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from long_horizon_pose import pose_reader
from roboscape.core.seeding import generator_for
from roboscape.evaluate.clips import ClipSet
from roboscape.rollout.videos import (
    GREEDY,
    Sampling,
    VideoCodes,
    Videos,
    decode_videos,
    encode_videos,
    imagine_codes,
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to imagine."""

    sampling: Sampling = GREEDY
    frames_a_start: int | None = None
    """Begin anew after so many frames, from the last imagined one, as every training clip began;
    None: one rollout with a sliding window."""
    arm: Literal["recorded", "read"] = "recorded"
    """Where its state at a new beginning is from: the recording, or read off the imagined frame."""
    largest_control: float | None = None
    """Normalised control signals are cut at this many standard deviations; None: as they are."""


VARIANTS = {
    "greedy": Variant(),
    "greedy, 2 passes": Variant(sampling=Sampling(refinement_steps=2)),
    "drawn": Variant(sampling=Sampling(temperature=1.0)),
    "controls cut at 3 σ": Variant(largest_control=3.0),
    "begun anew, recorded arm": Variant(frames_a_start=15),
    "begun anew, arm read off": Variant(frames_a_start=15, arm="read"),
}


@dataclass(frozen=True)
class Batch:
    """Some clips, read and encoded when first asked for."""

    clips: ClipSet
    numbers: range
    poses: Path

    @cached_property
    def truth(self) -> Videos:
        """As recorded."""
        return self.clips.videos(self.numbers)

    @cached_property
    def codes(self) -> VideoCodes:
        """The recording's tokens."""
        return encode_videos(self.clips.bundle.tokenizer, self.truth)


def imagine_variant(batch: Batch, *, variant: Variant, seed: int) -> VideoCodes:
    """The first frame's tokens followed by imagined ones, up to the end of the clips."""
    clips = batch.clips
    horizon = clips.num_frames - 1
    codes = batch.codes.map(lambda c: c[:, :1])
    generator = generator_for(seed, batch.numbers.start)
    step = variant.frames_a_start or horizon
    limit = variant.largest_control or float("inf")
    for start in range(0, horizon, step):
        if start == 0 or variant.arm == "recorded":
            states = recorded_states(clips, batch.numbers, row=start * clips.stride)
        else:
            states = read_states(batch, codes)
        signals = controls_from(
            clips, batch.numbers, states, start=start, frames=min(step, horizon - start)
        )
        piece = imagine_codes(
            clips.bundle,
            prompt=codes.map(lambda c: c[:, -1:]),
            controls=signals.clamp(-limit, limit),
            sampling=variant.sampling,
            generator=generator,
        )
        codes = append(codes, piece.map(lambda c: c[:, 1:]))
    return codes


def append(before: VideoCodes, after: VideoCodes) -> VideoCodes:
    """Frames followed by further ones."""
    depth = None
    if before.depth is not None and after.depth is not None:
        depth = torch.cat([before.depth, after.depth], dim=1)
    return VideoCodes(rgb=torch.cat([before.rgb, after.rgb], dim=1), depth=depth)


def recorded_states(clips: ClipSet, numbers: range, *, row: int) -> Float[np.ndarray, "b s"]:
    """Proprioception of some clips at a row."""
    return np.stack([clips.dataset.state(clips.episodes[clip])[row] for clip in numbers])


def read_states(batch: Batch, codes: VideoCodes) -> Float[np.ndarray, "b s"]:
    """Proprioception as the last imagined frame shows it."""
    clips = batch.clips
    last = decode_videos(clips.bundle.tokenizer, codes.map(lambda c: c[:, -1:]))
    return pose_reader(batch.poses, clips.camera).read(last)


def controls_from(
    clips: ClipSet,
    numbers: range,
    states: Float[np.ndarray, "b s"],
    *,
    start: int,
    frames: int,
) -> Float[Tensor, "b t c"]:
    """Normalised control signals of rollouts that begin at frame `start` in these states."""
    rows = slice(start * clips.stride, (start + frames) * clips.stride)
    actions = np.stack([clips.actions[clip][rows] for clip in numbers])
    return clips.bundle.controls.encode(actions, states)
