"""The tokenizer's ceiling: what is left of true frames after encoding and decoding."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from roboscape.core.files import atomic_path
from roboscape.tokenizer.frames import Frames
from roboscape.tokenizer.losses import code_usage, psnr
from roboscape.tokenizer.model import Tokenizer, rgb_to_image
from roboscape.tokenizer.passes import through


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The fidelity of frames after `decode(encode(...))`."""

    frames: int
    psnr: float
    """RGB, mean over frames, dB."""
    given_psnr: float | None
    """The same with the first frame of each frame's episode given to the decoder; None where the
    decoder takes none."""
    depth_psnr: float | None
    """The depth image (normalised log depth), mean over frames, dB; None without depth."""
    absrel: float | None
    """Mean over pixels of the depth's relative error."""
    unchanged_rgb: float
    """Share of RGB tokens that equal those of the frame before."""
    unchanged_depth: float | None
    """The same for depth."""
    lowest_bit_entropy: float
    """Of the bit that changes least over all tokens, in bits."""
    mean_bit_entropy: float
    """Mean over the bits."""
    distinct_codes: int
    """Codes in use."""


@torch.inference_mode()
def measure_ceiling(tokenizer: Tokenizer, frames: Frames, *, batch_size: int = 64) -> Ceiling:
    """Encode and decode frames, and compare."""
    rgb_codes, depth_codes, rgb_scores, depth_scores, given_scores = [], [], [], [], []
    device = next(tokenizer.parameters()).device
    for start in range(0, len(frames), batch_size):
        indices = np.arange(start, min(start + batch_size, len(frames)))
        rgb = rgb_to_image(frames.rgb_at(indices).to(device))
        rgb_codes.append(tokenizer.encode(rgb))
        rgb_scores.append(psnr(tokenizer.decode(rgb_codes[-1]), rgb))
        if tokenizer.config.given_frame:
            first = frames.rgb_at(frames.first_of(indices)).to(device)
            given = tokenizer.given_frame(rgb_to_image(first))
            given_scores.append(psnr(tokenizer.decode(rgb_codes[-1], given), rgb))
        with_depth = indices[indices < frames.num_with_depth]
        if len(with_depth):
            codes, scores = score_depth(tokenizer, frames.depth_at(with_depth).to(device))
            depth_codes.append(codes)
            depth_scores.append(scores)
    codes = torch.cat([*rgb_codes, *depth_codes])
    usage = code_usage(codes, code_bits=tokenizer.config.code_bits)
    depth_psnr = absrel = unchanged_depth = None
    if depth_codes:
        depth_psnr, absrel = torch.cat(depth_scores, dim=1).mean(dim=1).tolist()
        unchanged_depth = unchanged(
            torch.cat(depth_codes), episode=frames.episode[: frames.num_with_depth]
        )
    return Ceiling(
        frames=len(frames),
        psnr=torch.cat(rgb_scores).mean().item(),
        given_psnr=torch.cat(given_scores).mean().item() if given_scores else None,
        depth_psnr=depth_psnr,
        absrel=absrel,
        unchanged_rgb=unchanged(torch.cat(rgb_codes), episode=frames.episode),
        unchanged_depth=unchanged_depth,
        lowest_bit_entropy=usage.lowest_bit_entropy,
        mean_bit_entropy=usage.mean_bit_entropy,
        distinct_codes=codes.unique().numel(),
    )


def score_depth(
    tokenizer: Tokenizer, depth_m: Float[Tensor, "b h w"]
) -> tuple[Int[Tensor, "b n"], Float[Tensor, "2 b"]]:
    """Codes of depth, and how well it survives: PSNR of its image, relative error."""
    image = tokenizer.depth_to_image(depth_m)
    codes = tokenizer.encode(image)
    decoded = tokenizer.decode(codes)
    relative = (tokenizer.image_to_depth(decoded) - depth_m).abs() / depth_m
    return codes, torch.stack([psnr(decoded, image), relative.mean(dim=(1, 2))])


def unchanged(codes: Int[Tensor, "t n"], *, episode: Int[np.ndarray, " t"]) -> float:
    """Share of tokens equal to those of the frame before in the same episode."""
    same_episode = torch.from_numpy(episode[1:] == episode[:-1])
    return (codes[1:] == codes[:-1]).cpu()[same_episode].float().mean().item()


@torch.inference_mode()
def comparison_picture(
    tokenizer: Tokenizer, frames: Frames, *, indices: Int[np.ndarray, " b"]
) -> UInt8[np.ndarray, "h w 3"]:
    """RGB, its reconstruction, and where all have depth it and its own (near is bright)."""
    rgb = frames.rgb_at(indices)
    rows = [
        rgb.numpy(),
        through(lambda x: tokenizer.decode_rgb(tokenizer.encode_rgb(x)), rgb, tokenizer).numpy(),
    ]
    if indices.max(initial=0) < frames.num_with_depth:
        depth_m = frames.depth_at(indices)
        decoded = through(
            lambda x: tokenizer.decode_depth(tokenizer.encode_depth(x)), depth_m, tokenizer
        )
        rows += [depth_picture(tokenizer, depth_m), depth_picture(tokenizer, decoded)]
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)


def depth_picture(
    tokenizer: Tokenizer, depth_m: Float[Tensor, "b h w"]
) -> UInt8[np.ndarray, "b h w 3"]:
    """Depth in false colours."""
    gray = ((1 - tokenizer.depth_to_image(depth_m)[:, 0]) * 127.5).round().to(torch.uint8)
    return np.stack(
        [cv2.applyColorMap(one, cv2.COLORMAP_INFERNO)[..., ::-1] for one in gray.numpy()]
    )


def save_picture(picture: UInt8[np.ndarray, "h w 3"], path: Path) -> None:
    """Write a PNG."""
    with atomic_path(path) as temporary:
        if not cv2.imwrite(str(temporary), np.ascontiguousarray(picture[..., ::-1])):
            raise OSError(f"could not write a picture to {temporary}")
