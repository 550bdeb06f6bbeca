"""The success classifier: a small convolutional network over the last frames of a clip."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from roboscape.core.errors import UserError
from roboscape.core.pretrained import CONFIG, load_model, resolve, save_weights

DEPTH_LEVELS = 255
SUCCESS, SEEN = 0, 1
"""The network's outputs: logits of "the task is solved" and of "the object is to be seen"."""
SEEN_FROM = 0.5
"""Probability of a visible object below which a verdict is unknown."""


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """The images that a classifier reads, and the calibration of its outputs."""

    camera: str
    """Name of the camera that it was trained on."""
    image_size: int
    """Height and width of that camera's images in pixels."""
    input_size: int = 64
    """Height and width that images are shrunk to."""
    frames: int = 2
    """Last frames that are read; the oldest one is repeated where there are fewer."""
    reads_first: bool = False
    """Whether the episode's first frame is read beside them, so that it is to be seen what has
    moved since."""
    frame_hz: float = 5.0
    """Frames a second."""
    task: str = ""
    """What is to be done, in words."""
    depth_min_m: float = 0.1
    """Depth is read as its logarithm between these two, in 256 levels."""
    depth_max_m: float = 4.0
    """See `depth_min_m`."""
    width: int = 24
    """Channels of the first layer; later ones have twice and thrice as many."""
    temperature: float = 1.0
    """The success logit is divided by it, so that probabilities are frequencies."""
    threshold: float = 0.5
    """Probability from which a frame counts as success."""
    finds_object: bool = True
    """Whether the second output was trained; without it no frame is unknown."""

    @property
    def images_read(self) -> int:
        """Number of images that a verdict is found from."""
        return self.frames + self.reads_first

    def __post_init__(self) -> None:
        """Refuse a classifier of nothing."""
        sizes = (self.image_size, self.input_size, self.frames, self.width)
        if min(sizes) < 1 or self.temperature <= 0 or not 0 < self.threshold < 1:
            raise UserError(
                f"expected sizes of 1 or more, a positive temperature and a threshold between 0 "
                f"and 1, got {self}"
            )


class SuccessNetwork(nn.Module):
    """From RGB-D images and pixel coordinates to the logits of success and of a visible object.

    Coordinates are input channels (CoordConv, Liu et al. 2018): the camera does not move, and where
    the object is says how far it must be from the table behind it.
    """

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        width, read = config.width, 4 * config.images_read + 2
        layers: list[nn.Module] = []
        for before, after, stride in (
            (read, width, 2),
            (width, 2 * width, 2),
            (2 * width, 3 * width, 2),
            (3 * width, 3 * width, 1),
        ):
            layers += [
                nn.Conv2d(before, after, 3, stride=stride, padding=1),
                nn.GroupNorm(4, after),
                nn.GELU(),
            ]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(6 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, 2)
        )

    def forward(self, images: UInt8[Tensor, "b k c h w"]) -> Float[Tensor, "b 2"]:
        """Logits of success and of a visible object, not yet calibrated.

        Args:
            images: `shrunk` frames, the newest last, the episode's first one before them where that
                is read; channels red, green, blue, depth.
        """
        values = rearrange(images, "b k c h w -> b (k c) h w").float() / 127.5 - 1
        height, width = values.shape[-2:]
        row = torch.linspace(-1, 1, height, device=values.device)
        column = torch.linspace(-1, 1, width, device=values.device)
        grid = torch.stack(torch.meshgrid(row, column, indexing="ij"))
        found = self.layers(torch.cat([values, grid.expand(len(values), -1, -1, -1)], dim=1))
        return self.head(torch.cat([found.amax(dim=(-2, -1)), found.mean(dim=(-2, -1))], dim=-1))

    @torch.no_grad()
    def probabilities(
        self, images: UInt8[np.ndarray, "b k c h w"], *, at_once: int = 256
    ) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
        """Calibrated probability of success, and of a visible object."""
        device = next(self.parameters()).device
        found = [
            self(torch.from_numpy(images[first : first + at_once]).to(device)).cpu()
            for first in range(0, len(images), at_once)
        ]
        logits = torch.cat(found) if found else torch.zeros(0, 2)
        success = (logits[:, SUCCESS] / self.config.temperature).sigmoid().numpy()
        seen = logits[:, SEEN].sigmoid().numpy()
        return success, seen if self.config.finds_object else np.ones_like(seen)

    def save_pretrained(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`."""
        save_weights(self, self.config, folder)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> "SuccessNetwork":
        """Load from a bundled name, a folder or a hub repository.

        Raises:
            ValueError: no weights there, or those of something else.
        """
        folder = resolve(name)
        if not (folder / CONFIG).is_file():
            raise UserError(
                f"{folder} holds no judge ({CONFIG} is missing); train one with `roboscape train "
                "judge`, or use the bundled `lift-judge` or a judge by rule"
            )
        return load_model(cls, JudgeConfig, folder)


def shrunk(
    rgb: UInt8[np.ndarray, "t h w 3"],
    depth_m: Float[np.ndarray, "t h w"],
    *,
    config: JudgeConfig,
) -> UInt8[np.ndarray, "t 4 s s"]:
    """Frames as the network reads them: pixel areas averaged, depth in levels of its logarithm.

    Raises:
        ValueError: images of another size than the judge's.
    """
    side = config.image_size
    if rgb.shape[1:3] != (side, side) or depth_m.shape[1:] != (side, side):
        raise UserError(
            f"this judge reads images of {side} x {side} pixels of camera {config.camera!r}, got "
            f"RGB {rgb.shape[1:3]} and depth {depth_m.shape[1:]}; train one at that size "
            "(`roboscape train judge`)"
        )
    unit = np.log(np.clip(depth_m, config.depth_min_m, config.depth_max_m) / config.depth_min_m)
    unit = unit / math.log(config.depth_max_m / config.depth_min_m)
    levels = (unit * DEPTH_LEVELS).astype(np.float32)
    size = (config.input_size, config.input_size)
    frames = [
        np.concatenate(
            [
                cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32),
                cv2.resize(level, size, interpolation=cv2.INTER_AREA)[..., None],
            ],
            axis=-1,
        )
        for image, level in zip(rgb, levels, strict=True)
    ]
    return rearrange(np.stack(frames).round().astype(np.uint8), "t h w c -> t c h w")


def frames_read(length: int, *, config: JudgeConfig, spacing: int = 1) -> Int[np.ndarray, "t k"]:
    """Numbers of the frames that the verdict about each frame of an episode is found from.

    Args:
        length: Frames of the episode.
        config: How many are read.
        spacing: Frames from one that is read to the next.

    Returns:
        The newest last, the episode's first one before them where it is read; the first stands for
        those before the episode.
    """
    recent = np.arange(length)[:, None] + np.arange(1 - config.frames, 1) * spacing
    first = np.zeros((length, int(config.reads_first)), int)
    return np.concatenate([first, np.maximum(recent, 0)], axis=1)
