"""Appearance: PSNR, SSIM and LPIPS of imagined frames against true ones, on 8-bit RGB."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

IDENTICAL_DB = 100.0
"""What equal images score, whose PSNR is infinite; no other pair may score more."""
IVIDEOGPT_SIDE_PX = 64


def psnr_db(
    truth: UInt8[np.ndarray, "*b h w 3"], predicted: UInt8[np.ndarray, "*b h w 3"]
) -> Float[np.ndarray, "*b"]:
    """Peak signal-to-noise ratio of each frame in dB, data range 255."""
    difference = truth.astype(np.float32) - predicted.astype(np.float32)
    mean_square = np.mean(np.square(difference), axis=(-3, -2, -1), dtype=np.float64)
    smallest = 255**2 / 10 ** (IDENTICAL_DB / 10)
    return 10 * np.log10(255**2 / np.maximum(mean_square, smallest))


def psnr_ivideogpt_db(
    truth: UInt8[np.ndarray, "b t h w 3"], samples: UInt8[np.ndarray, "s b t h w 3"]
) -> Float[np.ndarray, " b"]:
    """PSNR as iVideoGPT counts it: 64 x 64, the context frame's reconstruction included, best sample.

    Args:
        truth: raw frames.
        samples: imagined videos of the same clips, frame 0 being the decoded context frame.
    """
    small_truth = shrink(truth, side_px=IVIDEOGPT_SIDE_PX)
    per_sample = [
        psnr_db(small_truth, shrink(sample, side_px=IVIDEOGPT_SIDE_PX)).mean(axis=1)
        for sample in samples
    ]
    return np.max(per_sample, axis=0)


def shrink(
    frames: UInt8[np.ndarray, "b t h w 3"], *, side_px: int
) -> UInt8[np.ndarray, "b t side side 3"]:
    """Frames at `side_px` x `side_px`, each new pixel the mean of the area that it covers."""
    flat = rearrange(frames, "b t h w c -> (b t) h w c")
    size = (side_px, side_px)
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in flat])
    return rearrange(small, "(b t) h w c -> b t h w c", b=len(frames))


def ssim(
    truth: UInt8[np.ndarray, "b t h w 3"], predicted: UInt8[np.ndarray, "b t h w 3"]
) -> Float[np.ndarray, "b t"]:
    """Structural similarity of each frame (Wang et al. 2004): Gaussian 11 x 11 window, range 255."""
    similarity = structural_similarity_index_measure(
        _channels_first(predicted), _channels_first(truth), data_range=255.0, reduction="none"
    )
    assert isinstance(similarity, Tensor)
    return rearrange(similarity.double().numpy(), "(b t) -> b t", b=len(truth))


@dataclass(frozen=True, kw_only=True)
class Lpips:
    """LPIPS, or the reason why it can't be computed here."""

    measure: Callable[[Tensor, Tensor], Tensor] | None
    """Two batches of images in [0, 1] to one distance an image."""
    missing: str = ""
    """Why `measure` is None, and what to do about it."""

    def __call__(
        self, truth: UInt8[np.ndarray, "b t h w 3"], predicted: UInt8[np.ndarray, "b t h w 3"]
    ) -> Float[np.ndarray, "b t"]:
        """Perceptual distance of each frame; NaN throughout where LPIPS is missing."""
        if self.measure is None:
            return np.full(truth.shape[:2], np.nan)
        with torch.inference_mode():
            distance = self.measure(_channels_first(predicted) / 255, _channels_first(truth) / 255)
        return rearrange(distance.double().numpy(), "(b t) -> b t", b=len(truth))


def load_lpips(network: Literal["alex", "vgg"] = "alex") -> Lpips:
    """LPIPS with its pretrained network; without torchvision or its weights, an empty row."""
    try:
        net = LearnedPerceptualImagePatchSimilarity(net_type=network).net
    except (ImportError, OSError, RuntimeError) as error:
        return Lpips(measure=None, missing=_how_to_fetch(network, error))

    def measure(first: Tensor, second: Tensor) -> Tensor:
        return rearrange(net(first, second, normalize=True), "b 1 1 1 -> b")

    return Lpips(measure=measure)


def _how_to_fetch(network: str, error: Exception) -> str:
    """The reason for an empty LPIPS row, and what fills it."""
    kind = type(error).__name__
    reason = " ".join(str(error).split())
    torchvision_network = {"alex": "alexnet", "vgg": "vgg16"}[network]
    return (
        f"not computed: {kind}: {reason} To fill this row: `pip install torchvision` (the version "
        f"that matches your torch), then run once with network access: `python -c 'import "
        f'torchvision.models as m; m.{torchvision_network}(weights="DEFAULT")\'`'
    )


def _channels_first(frames: UInt8[np.ndarray, "b t h w 3"]) -> Float[Tensor, "bt 3 h w"]:
    """All frames of all clips as float images, levels 0 to 255."""
    return torch.from_numpy(rearrange(frames, "b t h w c -> (b t) c h w").astype(np.float32))
