"""The pixels of imagined worlds: given ones as they are, imagined ones decoded when asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from roboscape.tokenizer.model import SoftCodes, Tokenizer

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


def decode_frames(
    tokenizer: Tokenizer,
    kind: Kind,
    codes: Int[Tensor, "b n"],
    *,
    soft: SoftCodes,
    given: GivenFrames,
) -> np.ndarray:
    """Pixels of imagined frames: RGB b h w 3 uint8, or depth b h w in metres."""
    true, known = torch.from_numpy(given.pixels), torch.from_numpy(given.codes)
    if kind == "rgb":
        pixels = tokenizer.decode_rgb(codes, tokenizer.given_rgb(true, known), soft)
    else:
        pixels = tokenizer.decode_depth(codes, tokenizer.given_depth(true, known), soft)
    return pixels.cpu().numpy()


def merged(
    old: np.ndarray, worlds: Sequence[int] | np.ndarray | None, new: np.ndarray
) -> np.ndarray:
    """A copy of `old` with some worlds replaced, all where not given; snapshots keep `old`."""
    if worlds is None:
        return new
    changed = old.copy()
    changed[list(worlds)] = new
    return changed
