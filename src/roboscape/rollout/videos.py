"""RGB-D videos in batches, and their way through the tokenizer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from roboscape.clips.reader import Clip
from roboscape.core.errors import UserError
from roboscape.dataset.reader import LeRobotDataset
from roboscape.rollout.bundle import Bundle
from roboscape.tokenizer.model import GivenFrame, SoftCodes, Tokenizer
from roboscape.tokenizer.passes import through


@dataclass(frozen=True, kw_only=True)
class Videos:
    """A batch of RGB-D videos at the model's rate. Frame 0 is the one that was given.

    Axes: b clip, t frame, h height (of all views of a frame, which lie below each other), w width.
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

    def views(self, count: int) -> list["Videos"]:
        """Every camera's part of frames that show so many, from top to bottom."""
        rgb = np.split(self.rgb, count, axis=2)
        depth_m = [None] * count if self.depth_m is None else np.split(self.depth_m, count, axis=2)
        return [Videos(rgb=one, depth_m=other) for one, other in zip(rgb, depth_m, strict=True)]

    def frozen(self) -> "Videos":
        """The static floor: every frame is a copy of frame 0."""
        num_frames = self.rgb.shape[1]
        return self.map(lambda array: np.repeat(array[:, :1], num_frames, axis=1))


@dataclass(frozen=True, kw_only=True)
class VideoCodes:
    """A batch of RGB-D videos as tokens, int32."""

    rgb: Int[Tensor, "b t n"]
    depth: Int[Tensor, "b t n"] | None
    rgb_soft: SoftCodes | None = None
    """What a model believed of imagined tokens; None of true ones."""
    depth_soft: SoftCodes | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "VideoCodes":
        """The same change of the first two axes made to all."""
        return VideoCodes(
            rgb=change(self.rgb),
            depth=None if self.depth is None else change(self.depth),
            rgb_soft=None if self.rgb_soft is None else self.rgb_soft.map(change),
            depth_soft=None if self.depth_soft is None else self.depth_soft.map(change),
        )


def stack_clips(clips: Sequence[Clip], cameras: Sequence[str]) -> Videos:
    """The images of some cameras in some clips of equal length, as a batch.

    Depth is missing where one of the cameras has none.
    """
    rgb = [[clip.frames[name] for name in cameras] for clip in clips]
    depth_m = [
        [found for name in cameras if (found := clip.depth_m[name]) is not None] for clip in clips
    ]
    depths = [stack_views(views) for views in depth_m if len(views) == len(cameras)]
    return Videos(
        rgb=np.stack([stack_views(views) for views in rgb]),
        depth_m=np.stack(depths) if depths else None,
    )


def stack_views(views: Sequence[np.ndarray]) -> np.ndarray:
    """Images of several cameras (t h w ...) below each other, as one image a frame."""
    return views[0] if len(views) == 1 else np.concatenate(views, axis=1)


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


def cameras_of(
    bundle: Bundle, dataset: LeRobotDataset, *, asked: Sequence[str] = ()
) -> tuple[str, ...]:
    """The cameras of a dataset that are a bundle's views, in its order.

    Those of the bundle's training where none is asked for; a bundle of one view sees the dataset's
    first camera where there is none of its name.

    Raises:
        ValueError: the dataset lacks one, or they are more or fewer than the bundle's views.
    """
    return chosen_views(bundle.world_model.config.views, dataset, asked=asked)


def chosen_views(
    views: tuple[str, ...], dataset: LeRobotDataset, *, asked: Sequence[str] = ()
) -> tuple[str, ...]:
    """`cameras_of` by the names of a model's views, none of a model of one camera of any name."""
    known, count = [one.name for one in dataset.spec.cameras], max(1, len(views))
    chosen = tuple(asked) or views
    if not asked and count == 1 and not set(views) & set(known):
        chosen = tuple(known[:1])
    if len(chosen) != count or not set(chosen) <= set(known):
        plural = "s" if count > 1 else ""
        raise UserError(
            f"this model sees {count} view{plural} ({', '.join(views) or 'a camera of any name'}), "
            f"and {dataset.root} has the cameras {', '.join(known)}"
            f"{'; asked for ' + ', '.join(asked) if asked else ''}. Name {count} of them, in the "
            "model's order"
        )
    return chosen


@torch.inference_mode()
def encode_videos(tokenizer: Tokenizer, videos: Videos) -> VideoCodes:
    """Every frame's tokens."""
    depth = None
    if videos.depth_m is not None:
        depth = _through(tokenizer.encode_depth, torch.from_numpy(videos.depth_m), tokenizer)
    return VideoCodes(
        rgb=_through(tokenizer.encode_rgb, torch.from_numpy(videos.rgb), tokenizer), depth=depth
    )


def first_objects(bundle: Bundle, codes: VideoCodes) -> Float[np.ndarray, "b o"] | None:
    """Objects' positions in the first frame of every clip; None where the arm model takes none."""
    depth = None if codes.depth is None else codes.depth[:, 0]
    return bundle.read_objects(codes.rgb[:, 0], depth)


@torch.inference_mode()
def decode_videos(tokenizer: Tokenizer, codes: VideoCodes, given: Videos | None = None) -> Videos:
    """Every token's pixels; inverse of `encode_videos` up to the tokenizer's loss.

    Args:
        tokenizer: With `given_frame` in its configuration, or it takes no notice of `given`.
        codes: Tokens.
        given: A true frame of every clip, its first where there are more, whose pixels the decoder
            may take over where nothing has changed.
    """
    clips = [
        decode_clip(
            tokenizer,
            codes.map(lambda x, i=clip: x[i : i + 1]),
            given=None if given is None else given.map(lambda x, i=clip: x[i : i + 1]),
        )
        for clip in range(len(codes.rgb))
    ]
    depths = [depth_m for _, depth_m in clips if depth_m is not None]
    return Videos(
        rgb=torch.stack([rgb for rgb, _ in clips]).numpy(),
        depth_m=torch.stack(depths).numpy() if depths else None,
    )


def decode_clip(
    tokenizer: Tokenizer, codes: VideoCodes, *, given: Videos | None
) -> tuple[UInt8[Tensor, "t h w 3"], Float[Tensor, "t h w"] | None]:
    """One clip's RGB and depth in metres.

    Args:
        tokenizer: Any.
        codes: The clip's, a batch of one.
        given: Its given frame, the first of a batch of one.
    """
    rgb_given = depth_given = depth_m = None
    if given is not None:
        rgb_given = tokenizer.given_rgb(torch.from_numpy(given.rgb[:, 0]))
        if given.depth_m is not None:
            depth_given = tokenizer.given_depth(torch.from_numpy(given.depth_m[:, 0]))
    rgb = _decoded(tokenizer.decode_rgb, codes.rgb, codes.rgb_soft, rgb_given, tokenizer)
    if codes.depth is not None:
        depth_m = _decoded(
            tokenizer.decode_depth, codes.depth, codes.depth_soft, depth_given, tokenizer
        )
    return rgb, depth_m


def _decoded(
    decode: Callable[..., Tensor],
    codes: Int[Tensor, "1 t n"],
    soft: SoftCodes | None,
    given: GivenFrame | None,
    tokenizer: Tokenizer,
) -> Tensor:
    """All frames of a clip, from tokens or from what was believed of them."""
    if soft is None:
        return through(lambda some: decode(some, given), codes[0], tokenizer)
    return through(
        lambda some, vectors, unchanged: decode(
            some, given, SoftCodes(vectors=vectors, unchanged=unchanged)
        ),
        codes[0],
        tokenizer,
        soft.vectors[0],
        soft.unchanged[0],
    )


def _through(change: Callable[[Any], Tensor], clips: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Apply a per-frame map of the tokenizer to all frames of all clips, some at a time."""
    flat = through(change, rearrange(clips, "b t ... -> (b t) ..."), tokenizer)
    return rearrange(flat, "(b t) ... -> b t ...", b=len(clips))
