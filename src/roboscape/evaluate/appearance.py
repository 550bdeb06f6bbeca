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
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

IDENTICAL_DB = 100.0
"""Score of equal images, whose PSNR is infinite; no other pair may score more."""
IVIDEOGPT_SIDE_PX = 64
SSIM_WINDOW_PX, SSIM_SIGMA_PX = 11, 1.5
FLAT = "b t h w c -> (b t) h w c"


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
    """PSNR as iVideoGPT counts it: 64 x 64, reconstructed context frame included, best sample.

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
    flat = rearrange(frames, FLAT)
    size = (side_px, side_px)
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in flat])
    return rearrange(small, "(b t) h w c -> b t h w c", b=len(frames))


def ssim(
    truth: UInt8[np.ndarray, "b t h w 3"], predicted: UInt8[np.ndarray, "b t h w 3"]
) -> Float[np.ndarray, "b t"]:
    """Structural similarity of each frame (Wang et al. 2004): Gaussian 11 x 11 window, range 255.

    The numbers are those of torchmetrics (a test holds them to it), whose dense windows take a
    hundred times as long on a CPU as these separable ones.
    """
    pairs = zip(rearrange(truth, FLAT), rearrange(predicted, FLAT), strict=True)
    return rearrange(
        np.array([_ssim_of_frame(*pair) for pair in pairs]), "(b t) -> b t", b=len(truth)
    )


def _ssim_of_frame(first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"]) -> float:
    """SSIM of one pair of images."""
    x, y = first.astype(np.float64), second.astype(np.float64)
    mean_x, mean_y, xx, yy, xy = (_windowed(image) for image in (x, y, x * x, y * y, x * y))
    low, high = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    covariance = xy - mean_x * mean_y
    variances = (xx - mean_x**2) + (yy - mean_y**2)
    luminance = (2 * mean_x * mean_y + low) / (mean_x**2 + mean_y**2 + low)
    return float((luminance * (2 * covariance + high) / (variances + high)).mean())


def _windowed(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """Gaussian means; the image is mirrored at its border."""
    window = (SSIM_WINDOW_PX, SSIM_WINDOW_PX)
    return np.asarray(
        cv2.GaussianBlur(image, window, SSIM_SIGMA_PX, borderType=cv2.BORDER_REFLECT_101)
    )


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
