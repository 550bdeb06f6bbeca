"""Scores of a tokenizer of the speed run, on validation episodes."""

from dataclasses import dataclass

import numpy as np
import torch
from einops import reduce
from jaxtyping import Bool, Float, Int
from torch import Tensor

from roboscape.tokenizer.frames import FrameCache
from roboscape.tokenizer.losses import psnr
from roboscape.tokenizer.model import Tokenizer, rgb_to_image
from studies.tokenizer_speedrun.terms import dilated, moved_pixels, still_tokens, with_grain

EDGE = 20 / 127.5
"""Neighbouring pixels that differ by more than this, of a range of two, are an edge: 20 levels."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well frames survive, and how steady their tokens are."""

    psnr: float
    """RGB, mean over frames, dB."""
    depth_psnr: float
    """The depth image, mean over frames, dB."""
    absrel: float
    """Mean over pixels of the depth's relative error."""
    edge_psnr: float
    """RGB over all pixels at most one from an edge, dB."""
    moving_psnr: float
    """RGB over all pixels at most one from where something moved since the frame before, dB."""
    flicker: float
    """Share of RGB tokens that change though none of their pixels does."""
    grain_flicker: float
    """Share of RGB tokens that differ between two copies of a frame, each with its own noise of a
    standard deviation of 2 of 255 levels, as of a real camera."""
    unchanged: float
    """Share of all RGB tokens that equal those of the frame before."""
    distinct_codes: int
    """Codes in use, RGB and depth together."""


@dataclass(frozen=True, kw_only=True)
class Passed:
    """What one batch of frames becomes."""

    signs: Bool[Tensor, "b n v"]
    decoded: Float[Tensor, "b 3 h w"]


def through(tokenizer: Tokenizer, images: Float[Tensor, "b 3 h w"]) -> Passed:
    """Encode and decode; codes stay signs, which may be more than an int32 holds."""
    signs = tokenizer.encoder(images) > 0
    return Passed(signs=signs, decoded=tokenizer.decoder(signs.float() * 2 - 1).clamp(-1, 1))


@torch.inference_mode()
def measure(tokenizer: Tokenizer, frames: FrameCache, *, batch_size: int = 32) -> Scores:
    """Compute all scores."""
    rgb_signs, depth_signs, still, grainy, per_frame = [], [], [], [], []
    masked = torch.zeros(2, 2, dtype=torch.float64)
    patch = tokenizer.config.downsampling
    for start in range(0, len(frames), batch_size):
        indices = np.arange(start, min(start + batch_size, len(frames)))
        rgb = rgb_to_image(frames.rgb_at(indices))
        before = rgb_to_image(frames.rgb_at(previous(indices, episode=frames.episode)))
        passed = through(tokenizer, rgb)
        rgb_signs.append(passed.signs)
        still.append(still_tokens(rgb, before, patch=patch))
        grainy.append(changed_by_grain(tokenizer, rgb, seed=start))
        regions = torch.stack([edges(rgb), moved_pixels(rgb, before)])
        masked += masked_error(passed.decoded - rgb, regions)
        depth_m = frames.depth_at(indices)
        image = tokenizer.depth_to_image(depth_m)
        deep = through(tokenizer, image)
        depth_signs.append(deep.signs)
        relative = (tokenizer.image_to_depth(deep.decoded) - depth_m).abs() / depth_m
        scores = [psnr(passed.decoded, rgb), psnr(deep.decoded, image), relative.mean(dim=(1, 2))]
        per_frame.append(torch.stack(scores))
    rgb_psnr, depth_psnr, absrel = torch.cat(per_frame, dim=1).mean(dim=1).tolist()
    edge_psnr, moving_psnr = (10 * torch.log10(4 * masked[1] / masked[0])).tolist()
    signs = torch.cat(rgb_signs)
    flicker, unchanged = steadiness(signs, torch.cat(still), episode=frames.episode)
    return Scores(
        psnr=rgb_psnr,
        depth_psnr=depth_psnr,
        absrel=absrel,
        edge_psnr=edge_psnr,
        moving_psnr=moving_psnr,
        flicker=flicker,
        grain_flicker=torch.cat(grainy).float().mean().item(),
        unchanged=unchanged,
        distinct_codes=distinct(torch.cat([signs, *depth_signs])),
    )


def previous(
    indices: Int[np.ndarray, "*b"], *, episode: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "*b"]:
    """The frames before these; a frame itself where it is an episode's first."""
    before = np.maximum(indices - 1, 0)
    return np.where(episode[before] == episode[indices], before, indices)


def edges(images: Float[Tensor, "b 3 h w"]) -> Bool[Tensor, "b 1 h w"]:
    """Pixels at most one from where neighbours differ much in brightness."""
    gray = reduce(images, "b c h w -> b 1 h w", "mean")
    found = torch.zeros_like(gray, dtype=torch.bool)
    found[:, :, 1:] |= (gray[:, :, 1:] - gray[:, :, :-1]).abs() > EDGE
    found[..., 1:] |= (gray[..., 1:] - gray[..., :-1]).abs() > EDGE
    return dilated(found, pixels=1)


def masked_error(
    error: Float[Tensor, "b 3 h w"], regions: Bool[Tensor, "r b 1 h w"]
) -> Float[Tensor, "2 r"]:
    """Sum of the squared error (mean over channels) in each region, and its pixels."""
    squared = reduce(error.double().square(), "b c h w -> b 1 h w", "mean")
    return torch.stack(
        [(regions * squared).sum(dim=(1, 2, 3, 4)), regions.double().sum(dim=(1, 2, 3, 4))]
    )


def steadiness(
    signs: Bool[Tensor, "t n v"], still: Bool[Tensor, "t n"], *, episode: Int[np.ndarray, " t"]
) -> tuple[float, float]:
    """Share of tokens at rest that change, and share of all tokens that do not."""
    within = torch.from_numpy(episode[1:] == episode[:-1])
    changed = (signs[1:] != signs[:-1]).any(dim=-1)[within]
    at_rest = changed[still[1:][within]]
    return at_rest.float().mean().item(), 1 - changed.float().mean().item()


def changed_by_grain(
    tokenizer: Tokenizer, images: Float[Tensor, "b 3 h w"], *, seed: int
) -> Bool[Tensor, "b n"]:
    """Tokens that differ between two copies of an image with noise of their own."""
    one, other = (
        tokenizer.encoder(with_grain(images, levels=2.0, seeds=(seed, copy))) > 0 for copy in (0, 1)
    )
    return (one != other).any(dim=-1)


def distinct(signs: Bool[Tensor, "t n v"]) -> int:
    """How many different codes there are, of up to 62 bits."""
    powers = 1 << torch.arange(signs.shape[-1], dtype=torch.int64)
    return (signs.flatten(0, 1).long() @ powers).unique().numel()


def mean_frame_psnr(train: FrameCache, held_out: FrameCache) -> float:
    """RGB of the mean training frame in place of every validation frame, dB: knowing no frame."""
    some = np.linspace(0, len(train) - 1, num=min(256, len(train)), dtype=int)
    mean = rgb_to_image(train.rgb_at(some)).mean(dim=0, keepdim=True)
    truth = rgb_to_image(held_out.rgb_at(np.arange(len(held_out))))
    return psnr(mean.expand_as(truth), truth).mean().item()
