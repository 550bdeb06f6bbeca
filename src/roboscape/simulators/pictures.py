"""The pixels of imagined worlds: given ones as they are, imagined ones decoded when asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from roboscape.tokenizer.model import GivenFrame, SoftCodes, Tokenizer, image_to_rgb

Kind = Literal["rgb", "depth"]
KINDS: tuple[Kind, ...] = ("rgb", "depth")
"""In the order of the model's modalities."""


@dataclass(frozen=True)
class GivenFrames:
    """Each world's last given frame, of one kind: a decoder takes over what has not changed."""

    pixels: np.ndarray
    codes: Int[np.ndarray, "b n"]
    """Its tokens, kept so that no later step encodes it again."""

    def take(self, worlds: Sequence[int] | np.ndarray) -> "GivenFrames":
        """Those of some worlds."""
        return GivenFrames(self.pixels[worlds], self.codes[worlds])

    def merged(self, worlds: Sequence[int] | None, new: "GivenFrames") -> "GivenFrames":
        """A copy with some worlds replaced."""
        return GivenFrames(
            merged(self.pixels, worlds, new.pixels), merged(self.codes, worlds, new.codes)
        )


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Every world's present frame, of one kind; never changed in place, as snapshots share it."""

    pixels: np.ndarray
    """RGB b h w 3 uint8, or depth b h w in metres; of several cameras below each other."""
    decoded: Bool[np.ndarray, " b"]
    """False where `pixels` still show an earlier frame."""
    given: GivenFrames

    def take(self, worlds: Sequence[int]) -> "Picture":
        """Those of some worlds."""
        return Picture(
            pixels=self.pixels[worlds],
            decoded=self.decoded[worlds],
            given=self.given.take(worlds),
        )

    def merged(self, worlds: Sequence[int] | None, new: "Picture") -> "Picture":
        """A copy with some worlds replaced."""
        return Picture(
            pixels=merged(self.pixels, worlds, new.pixels),
            decoded=merged(self.decoded, worlds, new.decoded),
            given=self.given.merged(worlds, new.given),
        )

    def outdated(self) -> "Picture":
        """The same pixels when all worlds have gone on to another frame."""
        return replace(self, decoded=np.zeros(len(self.decoded), bool))

    def updated(self, worlds: Int[np.ndarray, " n"], pixels: np.ndarray) -> "Picture":
        """A copy that shows the present frame of all worlds, decoded for some just now."""
        changed = None if len(worlds) == len(self.pixels) else worlds
        return replace(
            self,
            pixels=merged(self.pixels, changed, pixels),
            decoded=np.ones(len(self.decoded), bool),
        )


def black(kind: Kind, *, worlds: int, size: tuple[int, int], tokens: int) -> Picture:
    """The frames of worlds that were never reset, of a height and width and so many tokens."""
    if kind == "rgb":
        pixels = np.zeros((worlds, *size, 3), np.uint8)
    else:
        pixels = np.zeros((worlds, *size), np.float32)
    nothing = np.zeros((worlds, tokens), np.int32)
    return Picture(pixels=pixels, decoded=np.ones(worlds, bool), given=GivenFrames(pixels, nothing))


@dataclass(frozen=True, kw_only=True)
class ImaginedFrames:
    """A decoder's inputs for frames of one kind."""

    codes: Int[Tensor, "b n"]
    soft: SoftCodes
    given: GivenFrames


def decode_frames(
    tokenizer: Tokenizer, frames: Mapping[Kind, ImaginedFrames]
) -> dict[Kind, np.ndarray]:
    """Pixels of imagined frames: RGB b h w 3 uint8, depth b h w in metres.

    All kinds go through the decoder together: of a single world, two passes cost far more than one
    that is twice as wide.
    """
    parts = list(frames.values())
    codes = torch.cat([one.codes for one in parts])
    soft = SoftCodes(
        vectors=torch.cat([one.soft.vectors for one in parts]),
        unchanged=torch.cat([one.soft.unchanged for one in parts]),
    )
    given = [_given_frame(tokenizer, kind, one.given) for kind, one in frames.items()]
    known = [one for one in given if one is not None]
    together = None
    if known:
        together = GivenFrame(
            images=torch.cat([one.images for one in known]),
            codes=torch.cat([one.codes for one in known]),
        )
    images = tokenizer.decode(codes, together, soft).split([len(one.codes) for one in parts])
    change = {"rgb": image_to_rgb, "depth": tokenizer.image_to_depth}
    return {
        kind: change[kind](image).cpu().numpy() for kind, image in zip(frames, images, strict=True)
    }


def _given_frame(tokenizer: Tokenizer, kind: Kind, given: GivenFrames) -> GivenFrame | None:
    """The given frames as the tokenizer takes them; None of all kinds where it takes none."""
    pixels, codes = torch.from_numpy(given.pixels), torch.from_numpy(given.codes)
    if kind == "rgb":
        return tokenizer.given_rgb(pixels, codes)
    return tokenizer.given_depth(pixels, codes)


def merged(
    old: np.ndarray, worlds: Sequence[int] | np.ndarray | None, new: np.ndarray
) -> np.ndarray:
    """A copy of `old` with some worlds replaced, all where not given; snapshots keep `old`."""
    if worlds is None:
        return new
    changed = old.copy()
    changed[list(worlds)] = new
    return changed
