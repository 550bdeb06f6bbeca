"""RGB-D videos in batches, and their way through the tokenizer and the world model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from roboscape.core.errors import UserError
from roboscape.dataset.depth_choice import NONE, depth_from, depth_source
from roboscape.dataset.reader import LeRobotDataset
from roboscape.rollout.bundle import Bundle
from roboscape.rollout.imagine import imagine
from roboscape.rollout.sampling import GREEDY, Sampling
from roboscape.tokenizer.model import Tokenizer
from roboscape.tokenizer.passes import through


@dataclass(frozen=True, kw_only=True)
class Videos:
    """A batch of RGB-D videos at the model's rate. Frame 0 is the one that was given.

    Axes: b clip, t frame, h height, w width.
    """

    rgb: UInt8[np.ndarray, "b t h w 3"]
    depth_m: Float[np.ndarray, "b t h w"] | None
    """None where a recording has no depth or a model imagines none."""

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.rgb)

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "Videos":
        """The same change of the first two axes made to RGB and depth."""
        depth_m = None if self.depth_m is None else change(self.depth_m)
        return Videos(rgb=change(self.rgb), depth_m=depth_m)

    def frozen(self) -> "Videos":
        """The static floor: every frame is a copy of frame 0."""
        num_frames = self.rgb.shape[1]
        return self.map(lambda array: np.repeat(array[:, :1], num_frames, axis=1))


@dataclass(frozen=True, kw_only=True)
class VideoCodes:
    """A batch of RGB-D videos as tokens, int32."""

    rgb: Int[Tensor, "b t n"]
    depth: Int[Tensor, "b t n"] | None

    def map(self, change: Callable[[Tensor], Tensor]) -> "VideoCodes":
        """The same change of the first two axes made to RGB and depth."""
        depth = None if self.depth is None else change(self.depth)
        return VideoCodes(rgb=change(self.rgb), depth=depth)


def read_videos(
    dataset: LeRobotDataset, *, camera: str, episodes: list[int], rows: slice
) -> Videos:
    """The same rows of some episodes, with recorded depth or, failing that, estimated depth."""
    rgb = np.stack([dataset.frames(episode, camera, rows) for episode in episodes])
    source = depth_source(dataset, camera)
    depths = [
        depth_from(dataset, episode, camera=camera, depth=source, rows=rows) for episode in episodes
    ]
    depth_m = None if source == NONE else np.stack([one for one in depths if one is not None])
    return Videos(rgb=rgb, depth_m=depth_m)


def check_convention(bundle: Bundle, dataset: LeRobotDataset) -> None:
    """Refuse recordings whose actions mean something else than those of the training."""
    if bundle.controls.proprioception:
        bundle.controls.proprioception.check(dataset)
    expected, found = bundle.controls.convention, dataset.spec.action
    if expected != found:
        raise UserError(
            f"the checkpoint was trained with the action convention\n  {expected}\nand "
            f"{dataset.root} is recorded in\n  {found}\nUse a checkpoint of this robot, or correct "
            "`meta/roboscape.json` where it is wrong (`roboscape inspect` shows what looks wrong)"
        )


@torch.inference_mode()
def encode_videos(tokenizer: Tokenizer, videos: Videos) -> VideoCodes:
    """Every frame's tokens."""
    depth = None
    if videos.depth_m is not None:
        depth = _through(tokenizer.encode_depth, torch.from_numpy(videos.depth_m), tokenizer)
    return VideoCodes(
        rgb=_through(tokenizer.encode_rgb, torch.from_numpy(videos.rgb), tokenizer), depth=depth
    )


@torch.inference_mode()
def decode_videos(tokenizer: Tokenizer, codes: VideoCodes) -> Videos:
    """Every token's pixels; inverse of `encode_videos` up to the tokenizer's loss."""
    depth_m = None
    if codes.depth is not None:
        depth_m = _through(tokenizer.decode_depth, codes.depth, tokenizer).numpy()
    return Videos(rgb=_through(tokenizer.decode_rgb, codes.rgb, tokenizer).numpy(), depth_m=depth_m)


@torch.inference_mode()
def imagine_codes(
    bundle: Bundle,
    *,
    prompt: VideoCodes,
    controls: Float[Tensor, "b t c"],
    sampling: Sampling = GREEDY,
    generator: torch.Generator | None = None,
) -> VideoCodes:
    """The prompt's frames followed by imagined ones, up to the length of `controls`.

    Args:
        bundle: tokenizer and world model.
        prompt: the given frames, at least one.
        controls: normalised control signal that led into each frame; that of frame 0 is ignored.
        sampling: how tokens are chosen.
        generator: gives the seed of what is drawn where the temperature is above 0; the same
            generator gives another at the next call.
    """
    seed = 0
    if generator is not None:
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    device = next(bundle.world_model.parameters()).device
    frames = list(
        imagine(
            bundle.world_model,
            rgb=prompt.rgb.to(device),
            depth=None if prompt.depth is None else prompt.depth.to(device),
            controls=controls.to(device),
            sampling=sampling,
            seed=seed,
        )
    )
    rgb = torch.stack([frame.rgb_codes for frame in frames], dim=1).cpu()
    depths = [frame.depth_codes.cpu() for frame in frames if frame.depth_codes is not None]
    depth = None
    if depths and prompt.depth is not None:
        depth = torch.cat([prompt.depth, torch.stack(depths, dim=1)], dim=1)
    return VideoCodes(rgb=torch.cat([prompt.rgb, rgb], dim=1), depth=depth)


def _through(change: Callable[[Any], Tensor], clips: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Apply a per-frame map of the tokenizer to all frames of all clips, some at a time."""
    flat = through(change, rearrange(clips, "b t ... -> (b t) ..."), tokenizer)
    return rearrange(flat, "(b t) ... -> b t ...", b=len(clips))
