"""Ways to imagine long episodes: how tokens are chosen, and when a rollout begins anew."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from roboscape.core.seeding import generator_for
from roboscape.evaluate.clips import ClipSet
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imagine import ImaginedFrame, imagine
from roboscape.rollout.sampling import GREEDY, Sampling
from roboscape.rollout.videos import VideoCodes, Videos, encode_videos


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to imagine."""

    sampling: Sampling = GREEDY
    frames_a_start: int | None = None
    """Begin anew after so many frames, from the last imagined one and the arm's recorded state, as
    every training clip began; None: one rollout with a sliding window."""


VARIANTS = {
    "greedy": Variant(),
    "greedy, 2 passes": Variant(sampling=Sampling(refinement_steps=2)),
    "drawn": Variant(sampling=Sampling(temperature=1.0)),
    "begun anew, recorded arm": Variant(frames_a_start=15),
}


@dataclass(frozen=True)
class Batch:
    """Some clips, read and encoded when first asked for."""

    bundle: Bundle
    clips: ClipSet
    numbers: range

    @cached_property
    def truth(self) -> Videos:
        """As recorded."""
        return self.clips.videos(self.numbers)

    @cached_property
    def codes(self) -> VideoCodes:
        """The recording's tokens."""
        return encode_videos(self.bundle.tokenizer, self.truth)


def imagine_variant(batch: Batch, *, variant: Variant, seed: int) -> VideoCodes:
    """The first frame's tokens followed by imagined ones, up to the end of the clips."""
    clips = batch.clips
    horizon = clips.num_frames - 1
    model = batch.bundle.world_model
    device = next(model.parameters()).device
    codes = batch.codes.map(lambda c: c[:, :1])
    generator = generator_for(seed, batch.numbers.start)
    step = variant.frames_a_start or horizon
    for start in range(0, horizon, step):
        signals = controls_from(batch, start=start, frames=min(step, horizon - start))
        last = codes.map(lambda c: c[:, -1:])
        for frame in imagine(
            model,
            rgb=last.rgb.to(device),
            depth=None if last.depth is None else last.depth.to(device),
            controls=signals.to(device),
            sampling=variant.sampling,
            seed=int(torch.randint(2**62, (), generator=generator)),
        ):
            codes = append(codes, frame)
    return codes


def append(before: VideoCodes, after: ImaginedFrame) -> VideoCodes:
    """Frames followed by another one."""
    depth = None
    if before.depth is not None and after.depth_codes is not None:
        depth = torch.cat([before.depth, after.depth_codes[:, None].cpu()], dim=1)
    return VideoCodes(
        rgb=torch.cat([before.rgb, after.rgb_codes[:, None].cpu()], dim=1), depth=depth
    )


def controls_from(batch: Batch, *, start: int, frames: int) -> Float[Tensor, "b t c"]:
    """Normalised control signals of rollouts that begin at frame `start`, where the arm was."""
    clips, numbers = batch.clips, batch.numbers
    row = start * clips.stride
    actions = [clips.actions[clip][row : row + frames * clips.stride] for clip in numbers]
    states = [clips.dataset.state(clips.episodes[clip]) for clip in numbers]
    return batch.bundle.controls.encode(
        np.stack(actions),
        np.stack([state[row] for state in states]),
        state_before=np.stack([state[max(row - 1, 0)] for state in states]),
        task=[clips.info(clip).task for clip in numbers],
    )
