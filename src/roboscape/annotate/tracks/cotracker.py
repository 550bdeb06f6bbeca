"""CoTracker3: a learned tracker that follows points together and through occlusion.

The authors publish a repository that installs as the package `cotracker`; it is used as it is, at a
pinned commit.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32, UInt8
from torch import Tensor

from roboscape.annotate.pretrained import (
    HubWeights,
    check_commit,
    choose_device,
    provenance_settings,
    require,
)
from roboscape.annotate.tracks.protocol import follow_grids
from roboscape.dataset.records import Tracks

COMMIT = "82e02e8029753ad4ef13cf06be7f4fc5facdda4d"
INSTALL = f'pip install "cotracker @ git+https://github.com/facebookresearch/co-tracker@{COMMIT}"'
_REVISION = "bf55ea50d4390e1820a267f131cd6587240fb2c5"
CHECKPOINTS: dict[str, HubWeights] = {
    "offline": HubWeights(
        repository="facebook/cotracker3",
        revision=_REVISION,
        files=("scaled_offline.pth",),
        licence="CC-BY-NC-4.0",
        sha256="2670d4562ed69326dda775a26e54883925cd11b6fc9b24cb7aa9f8078bce7834",
    ),
    "online": HubWeights(
        repository="facebook/cotracker3",
        revision=_REVISION,
        files=("scaled_online.pth",),
        licence="CC-BY-NC-4.0",
        sha256="205d34789f19699d64b22cf93f9b697f15f28d4025240e31532e504109837218",
    ),
}
_WINDOWS = {"offline": 60, "online": 16}
"""Rows that the authors' models see at once."""


@dataclass(frozen=True, kw_only=True)
class CoTracker:
    """CoTracker3, scaled weights; the offline variant sees the whole episode at once."""

    variant: Literal["offline", "online"] = "offline"
    """`offline` is the more accurate; `online` works through windows and needs less memory."""
    points_per_side: int = 24
    """Points are sampled on a grid: N0 is its square."""
    sample_every: int = 30
    """Rows after which the whole grid is sampled anew, so that late clips have points too."""
    follow_rows: int = 90
    """Rows that a point is followed for: `sample_every`, and a clip of 61 rows."""
    device: str = "auto"
    """`cuda`, `cpu`, or `auto`."""
    folder: Path | None = None
    """A folder that holds the checkpoint, in the place of the hub's cache."""

    def __post_init__(self) -> None:
        """Raise `UserError` for missing code or weights before any work is done."""
        self._code  # noqa: B018 - raises with the command that installs it
        self._checkpoint  # noqa: B018 - raises with the command that fetches the weights

    @property
    def name(self) -> str:
        """Name of the annotation folder."""
        return "cotracker3"

    @property
    def version(self) -> str:
        """Commit of the code and revision of the weights."""
        return f"facebookresearch/co-tracker@{COMMIT}, {CHECKPOINTS[self.variant].version}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return provenance_settings(self)

    def annotate(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Tracks:
        """Follow a grid of points of the first frame, and of every `sample_every`th after it."""
        return follow_grids(self, frames)

    @torch.no_grad()
    def follow(
        self, frames: UInt8[np.ndarray, "t h w 3"], *, points_px: Float32[np.ndarray, "k 2"]
    ) -> Tracks:
        """Follow given points of the first frame, pixels (x, y)."""
        device = choose_device(self.device)
        video = rearrange(torch.from_numpy(frames).float(), "t h w c -> 1 t c h w").to(device)
        queries = queries_at_start(points_px).to(device)
        found = self._whole if self.variant == "offline" else self._windows
        xy_px, visible = found(video, queries)
        return Tracks(
            xy_px=rearrange(xy_px, "1 t k c -> t k c").cpu().numpy(),
            visible=rearrange(visible, "1 t k -> t k").cpu().numpy().astype(bool),
        )

    def _whole(self, video: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        return self._predictor(video, queries=queries)

    def _windows(self, video: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """The online predictor is shown windows that overlap by half; the last has all tracks."""
        step = self._predictor.step
        rows = video.shape[1]
        # The predictor looks at whole windows; the last frame stands still until one is full.
        missing = max(2 * step, -(-rows // step) * step) - rows
        filled = torch.cat([video, video[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
        self._predictor(filled[:, : 2 * step], is_first_step=True, queries=queries)
        xy_px, visible = video.new_zeros(0), video.new_zeros(0)
        for start in range(0, filled.shape[1] - step, step):
            xy_px, visible = self._predictor(filled[:, start : start + 2 * step])
        return xy_px[:, :rows], visible[:, :rows]

    @cached_property
    def _code(self) -> Any:
        code = require("cotracker.predictor", command=INSTALL, what="CoTracker3")
        check_commit("cotracker", COMMIT, command=INSTALL)
        return code

    @cached_property
    def _checkpoint(self) -> Path:
        weights = CHECKPOINTS[self.variant]
        return weights.locate(self.folder) / weights.files[-1]

    @cached_property
    def _predictor(self) -> Any:
        kind = {
            "offline": self._code.CoTrackerPredictor,
            "online": self._code.CoTrackerOnlinePredictor,
        }[self.variant]
        predictor = kind(
            checkpoint=str(self._checkpoint),
            offline=self.variant == "offline",
            v2=False,
            window_len=_WINDOWS[self.variant],
        )
        return predictor.to(choose_device(self.device))


def queries_at_start(points_px: Float32[np.ndarray, "k 2"]) -> Tensor:
    """Points of the first frame as the family of CoTracker asks for them: (row, x, y)."""
    rows = np.zeros((len(points_px), 1), np.float32)
    return torch.from_numpy(np.concatenate([rows, points_px], axis=1))[None]
