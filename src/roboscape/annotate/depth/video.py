"""Video Depth Anything, the paper's depth annotator (RoboScape, section 2.2).

The authors publish a repository and not a package, and transformers does not have the model. So
their code is used as they published it, at a pinned commit, from a clone on the Python path.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from roboscape.annotate.pretrained import (
    HubWeights,
    choose_device,
    provenance_settings,
    require,
)

COMMIT = "4f5ae23172ba60fd7bc11ef671cca678842c7072"
INSTALL = (
    "git clone https://github.com/DepthAnything/Video-Depth-Anything && "
    f"git -C Video-Depth-Anything checkout {COMMIT} && "
    "pip install -r Video-Depth-Anything/requirements.txt && "
    "export PYTHONPATH=$PWD/Video-Depth-Anything"
)
CHECKPOINTS: dict[str, HubWeights] = {
    "metric_small": HubWeights(
        repository="depth-anything/Metric-Video-Depth-Anything-Small",
        revision="273d090f2ce17df50c2872d82c8322c45da5b4dd",
        files=("metric_video_depth_anything_vits.pth",),
        licence="Apache-2.0",
        sha256="3c28432b4e1f0d7bb31cad5151b6313b49457db5aa58d82e85bfb0f8b1311b33",
    ),
}
SMALL = {"encoder": "vits", "features": 64, "out_channels": [48, 96, 192, 384]}
"""The authors' shape of the small model."""


@dataclass(frozen=True, kw_only=True)
class VideoDepthAnything:
    """Video Depth Anything in metres; consistent over time by itself."""

    checkpoint: Literal["metric_small"] = "metric_small"
    """Which weights."""
    side_px: int = 518
    """Frames are enlarged to this before the model sees them."""
    half_precision: bool = True
    """Whether the model computes in 16 bits on an accelerator."""
    device: str = "auto"
    """`cuda`, `cpu`, or `auto`."""
    folder: Path | None = None
    """A folder that holds the checkpoint, in the place of the hub's cache."""

    def __post_init__(self) -> None:
        """Raise `UserError` for missing code or weights before any work is done."""
        self._code  # noqa: B018 - raises with the command that installs it
        self._folder  # noqa: B018 - raises with the command that fetches the weights

    @property
    def name(self) -> str:
        """Name of the annotation folder."""
        return "video_depth_anything"

    @property
    def version(self) -> str:
        """Commit of the code and revision of the weights."""
        return f"DepthAnything/Video-Depth-Anything@{COMMIT}, {self._weights.version}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result, and where the metres come from."""
        return {**provenance_settings(self), "metres": "metric checkpoint"}

    def annotate(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, "t h w"]:
        """Depth along the optical axis in metres."""
        device = choose_device(self.device).type
        # The frame rate is handed through to the videos that the authors' command writes.
        depth_m, _ = self._model.infer_video_depth(
            frames,
            target_fps=1,
            input_size=self.side_px,
            device=device,
            fp32=device == "cpu" or not self.half_precision,
        )
        return np.asarray(depth_m, np.float32)

    @property
    def _weights(self) -> HubWeights:
        return CHECKPOINTS[self.checkpoint]

    @cached_property
    def _code(self) -> Any:
        return require(
            "video_depth_anything.video_depth", command=INSTALL, what="Video Depth Anything"
        )

    @cached_property
    def _folder(self) -> Path:
        return self._weights.locate(self.folder)

    @cached_property
    def _model(self) -> Any:
        model = self._code.VideoDepthAnything(**SMALL, metric=True)
        path = self._folder / self._weights.files[-1]
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
        return model.eval().to(choose_device(self.device))
