"""Depth Anything V2 through transformers, aligned over time."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from roboscape.annotate.depth.alignment import align_over_time
from roboscape.annotate.pretrained import (
    HubWeights,
    choose_device,
    provenance_settings,
    require_extra,
)
from roboscape.core.errors import UserError

_FILES = ("config.json", "model.safetensors")
CHECKPOINTS: dict[str, HubWeights] = {
    "small": HubWeights(
        repository="depth-anything/Depth-Anything-V2-Small-hf",
        revision="5426e4f0f36572d16453bbda7a8389317b1bef99",
        files=_FILES,
        licence="Apache-2.0",
    ),
    "metric_indoor_small": HubWeights(
        repository="depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",
        revision="8078d68a9c75a972131914f6afd0c1723be0da7f",
        files=_FILES,
        licence="Apache-2.0",
    ),
}
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PATCH = 14


@dataclass(frozen=True, kw_only=True)
class DepthAnything:
    """Depth Anything V2, frame by frame; scale and shift aligned over the frames of an episode.

    The metric checkpoint gives metres. The relative one gives disparity up to scale and shift, and
    becomes metres where the distances of the nearest and farthest surfaces are known.
    """

    checkpoint: Literal["small", "metric_indoor_small"] = "small"
    """Which weights; `metric_...` were trained on metres."""
    range_m: tuple[float, float] | None = None
    """Distances of the 2nd and 98th percentile of the first frame's depth; relative only."""
    side_px: int = 518
    """Frames are resized to about this before the model sees them; a multiple of 14."""
    aligned: bool = True
    """Whether frames are brought to one scale and shift; False to measure what that gains."""
    batch_size: int = 8
    """Frames that the model sees at once."""
    device: str = "auto"
    """`cuda`, `cpu`, or `auto`."""
    folder: Path | None = None
    """A folder with weights of these classes, in the place of the pinned ones."""

    def __post_init__(self) -> None:
        """Raise `UserError` where metres cannot be had, or weights are missing, before any work."""
        require_extra("transformers", what="Depth Anything V2")
        self._folder  # noqa: B018 - raises with the command that fetches the weights
        if self.side_px % _PATCH:
            raise UserError(f"side_px {self.side_px} is not a multiple of {_PATCH}")
        if self._is_metric and self.range_m is not None:
            raise UserError(f"{self.checkpoint} is in metres already; leave range_m out")
        if not self._is_metric and self.range_m is None:
            raise UserError(
                f"{self.checkpoint} gives depth without a scale: give range_m, the distances in "
                "metres of the nearest and farthest surfaces of the first frame, or choose the "
                "checkpoint metric_indoor_small"
            )
        if self.range_m is not None and not 0 < self.range_m[0] < self.range_m[1]:
            raise UserError(f"range_m needs 0 < nearest < farthest, got {self.range_m}")

    @property
    def name(self) -> str:
        """Name of the annotation folder."""
        return "depth_anything_v2_metric" if self._is_metric else "depth_anything_v2"

    @property
    def version(self) -> str:
        """Repository and revision of the weights; the folder where they are others."""
        return str(self.folder) if self.folder else CHECKPOINTS[self.checkpoint].version

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result, and where the metres come from."""
        metres = "metric checkpoint" if self._is_metric else "range_m of the first frame"
        return {**provenance_settings(self), "metres": metres}

    def annotate(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, "t h w"]:
        """Depth along the optical axis in metres."""
        raw = np.concatenate(
            [
                self._predict(frames[start : start + self.batch_size])
                for start in range(0, len(frames), self.batch_size)
            ]
        )
        if self._is_metric:
            logarithm = np.log(np.maximum(raw, 1e-3))
            if self.aligned:
                logarithm = align_over_time(logarithm, frames, shift_only=True).values
            return np.exp(logarithm).astype(np.float32)
        disparity = align_over_time(raw, frames).values if self.aligned else raw
        assert self.range_m is not None
        return metres_from_disparity(disparity, range_m=self.range_m)

    @torch.no_grad()
    def _predict(self, frames: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b h w"]:
        """The model's output, at the size of the frames."""
        pixels = prepare(torch.from_numpy(frames), side_px=self.side_px)
        device = next(self._model.parameters()).device
        predicted = self._model(pixel_values=pixels.to(device)).predicted_depth
        predicted = rearrange(predicted.float(), "b h w -> b 1 h w")
        sized = F.interpolate(predicted, frames.shape[1:3], mode="bicubic", align_corners=False)
        return rearrange(sized, "b 1 h w -> b h w").cpu().numpy()

    @property
    def _is_metric(self) -> bool:
        return self.checkpoint.startswith("metric")

    @cached_property
    def _folder(self) -> Path:
        return CHECKPOINTS[self.checkpoint].locate(self.folder)

    @cached_property
    def _model(self) -> torch.nn.Module:
        from transformers import DepthAnythingForDepthEstimation

        kind = DepthAnythingForDepthEstimation
        model: Any = kind.from_pretrained(self._folder, local_files_only=True)
        unit = model.config.depth_estimation_type
        if (unit == "metric") != self._is_metric:
            raise UserError(f"{self._folder} holds a {unit} model, {self.checkpoint} means another")
        return model.eval().to(device=choose_device(self.device))


def prepare(frames: UInt8[Tensor, "b h w 3"], *, side_px: int) -> Float[Tensor, "b 3 height width"]:
    """Frames as the published preprocessor makes them: one side resized, ImageNet's colours.

    The side is the one that changes the less; both become multiples of 14.
    """
    _, height, width, _ = frames.shape
    scale = min((side_px / height, side_px / width), key=lambda one: abs(1 - one))
    size = [round(side * scale / _PATCH) * _PATCH for side in (height, width)]
    image = rearrange(frames.float() / 255, "b h w c -> b c h w")
    image = F.interpolate(image, size, mode="bicubic", align_corners=False, antialias=True)
    mean, deviation = (rearrange(torch.tensor(c), "c -> c 1 1") for c in (_MEAN, _DEVIATION))
    return (image.clamp(0, 1) - mean) / deviation


def metres_from_disparity(
    disparity: Float[np.ndarray, "t h w"], *, range_m: tuple[float, float]
) -> Float32[np.ndarray, "t h w"]:
    """Depth from disparity of unknown scale and shift, by two known distances of the first frame.

    The 98th percentile of its disparity lies at `range_m[0]`, the 2nd at `range_m[1]`. Where the
    line leaves the positive numbers depth is held at four times the farthest.
    """
    near_m, far_m = range_m
    low, high = np.percentile(disparity[0], (2, 98))
    if not high > low:
        raise UserError("the model sees no depth in the first frame: its disparity is constant")
    inverse = 1 / far_m + (disparity - low) * (1 / near_m - 1 / far_m) / (high - low)
    return (1 / np.maximum(inverse, 1 / (4 * far_m))).astype(np.float32)
