"""SpatialTracker, the paper's point tracker (RoboScape, section 2.2): tracks in space.

It lifts points into space by depth, follows them there, and projects them back. The authors publish
a repository that is not a package, so their code is used from a clone on the Python path; depth is
any of the depth annotators' here, in the place of the ZoeDepth that their demonstration runs.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32, UInt8

from roboscape.annotate.backends import DepthAnnotator
from roboscape.annotate.depth.protocol import DEPTH_ANNOTATORS
from roboscape.annotate.pretrained import choose_device, provenance_settings, require
from roboscape.annotate.tracks.cotracker import queries_at_start
from roboscape.annotate.tracks.protocol import follow_grids
from roboscape.core.errors import UserError
from roboscape.dataset.records import Tracks

COMMIT = "77f1fec6ff8a2464882f8207e0a090fee5c22644"
INSTALL = (
    "git clone https://github.com/henry123-boy/SpaTracker && "
    f"git -C SpaTracker checkout {COMMIT} && pip install -r SpaTracker/requirements.txt && "
    "export PYTHONPATH=$PWD/SpaTracker"
)
CHECKPOINT = "spaT_final.pth"
FETCH = (
    "pip install gdown && gdown --folder "
    "https://drive.google.com/drive/folders/1UtzUJLPhJdUg2XvemXXz1oe6KUQKVjsZ"
)


@dataclass(frozen=True, kw_only=True)
class SpatialTracker:
    """SpatialTracker (CVPR 2024) on the depth of another annotator."""

    checkpoint: Path = Path("checkpoints") / CHECKPOINT
    """The authors' weights; they publish them on a drive, without a revision."""
    depth: str = "depth_anything_v2_metric"
    """The depth annotator that lifts the points."""
    depth_settings: dict[str, Any] = field(default_factory=dict)
    """Settings of that annotator."""
    points_per_side: int = 24
    """Points are sampled on a grid: N0 is its square."""
    sample_every: int = 30
    """Rows after which the whole grid is sampled anew, so that late clips have points too."""
    follow_rows: int = 90
    """Rows that a point is followed for: `sample_every`, and a clip of 61 rows."""
    window_rows: int = 12
    """Rows that the model sees at once: 8, 12 or 16."""
    height: int = 384
    """Frames are resized to this height ..."""
    width: int = 512
    """... and this width before the model sees them."""
    device: str = "auto"
    """`cuda`, `cpu`, or `auto`."""

    def __post_init__(self) -> None:
        """Raise `UserError` for missing code or weights before any work is done."""
        self._code  # noqa: B018 - raises with the command that installs it
        if not self.checkpoint.is_file():
            raise UserError(
                f"expected SpatialTracker's weights at {self.checkpoint}, found none; fetch "
                f"{CHECKPOINT} with `{FETCH}` and give its path as `checkpoint`"
            )
        self._depth  # noqa: B018 - raises with what the depth annotator lacks

    @property
    def name(self) -> str:
        """Name of the annotation folder."""
        return "spatial_tracker"

    @property
    def version(self) -> str:
        """Commit of the code; the weights have a name and no revision."""
        return f"henry123-boy/SpaTracker@{COMMIT}, {CHECKPOINT}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result, that of the depth included."""
        depth = {"version": self._depth.version, **self._depth.settings}
        return {**provenance_settings(self), "depth_settings": depth}

    def annotate(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Tracks:
        """Follow a grid of points of the first frame, and of every `sample_every`th after it."""
        return follow_grids(self, frames)

    @torch.no_grad()
    def follow(
        self, frames: UInt8[np.ndarray, "t h w 3"], *, points_px: Float32[np.ndarray, "k 2"]
    ) -> Tracks:
        """Follow given points of the first frame, pixels (x, y)."""
        device = choose_device(self.device)
        video = rearrange(torch.from_numpy(frames).float(), "t h w c -> 1 t c h w")
        depth_m = rearrange(torch.from_numpy(self._depth.annotate(frames)), "t h w -> t 1 h w")
        tracks, visible, _ = self._predictor(
            video.to(device),
            video_depth=depth_m.float().to(device),
            queries=queries_at_start(points_px).to(device),
            wind_length=self.window_rows,
        )
        return Tracks(
            xy_px=rearrange(tracks[..., :2], "1 t k c -> t k c").cpu().numpy(),
            visible=rearrange(visible, "1 t k -> t k").cpu().numpy().astype(bool),
        )

    @cached_property
    def _code(self) -> Any:
        return require("models.spatracker.predictor", command=INSTALL, what="SpatialTracker")

    @cached_property
    def _depth(self) -> DepthAnnotator:
        return DEPTH_ANNOTATORS[self.depth](**self.depth_settings)

    @cached_property
    def _predictor(self) -> Any:
        predictor = self._code.SpaTrackerPredictor(
            checkpoint=str(self.checkpoint),
            interp_shape=(self.height, self.width),
            seq_length=self.window_rows,
        )
        return predictor.to(choose_device(self.device))
