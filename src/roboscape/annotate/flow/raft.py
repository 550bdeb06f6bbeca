"""RAFT of torchvision: learned flow, in the place of the paper's FlowNet (section 2.2)."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float32, UInt8

from roboscape.annotate.pretrained import choose_device, provenance_settings, require
from roboscape.core.errors import UserError

INSTALL = "pip install torchvision, of the release that belongs to the installed torch"
WEIGHTS = "raft_large_C_T_SKHT_V2-ff5fadd5.pth"
FETCH = (
    'python -c "from torchvision.models.optical_flow import *; '
    'raft_large(weights=Raft_Large_Weights.C_T_SKHT_V2)"'
)
_MULTIPLE, _SMALLEST = 8, 128


@dataclass(frozen=True, kw_only=True)
class Raft:
    """RAFT (large) with torchvision's weights `C_T_SKHT_V2`."""

    updates: int = 12
    """Refinements of the flow."""
    batch_size: int = 8
    """Pairs of frames that the model sees at once."""
    device: str = "auto"
    """`cuda`, `cpu`, or `auto`."""

    def __post_init__(self) -> None:
        """Raise `UserError` for a missing package or weights before any work is done."""
        require("torchvision.models.optical_flow", command=INSTALL, what="RAFT")
        self._weights  # noqa: B018 - raises with the command that fetches them

    @property
    def name(self) -> str:
        """Name of the annotation folder."""
        return "raft"

    @property
    def version(self) -> str:
        """The weights, whose name ends in the first digits of their SHA-256."""
        return f"torchvision {WEIGHTS}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return provenance_settings(self)

    @torch.no_grad()
    def flow(
        self, earlier: UInt8[np.ndarray, "b h w 3"], later: UInt8[np.ndarray, "b h w 3"]
    ) -> Float32[np.ndarray, "b h w 2"]:
        """The path (x, y) of every pixel of the earlier frames to the later ones, in pixels."""
        _, height, width, _ = earlier.shape
        found = []
        for start in range(0, len(earlier), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            pair = [self._prepare(frames[chosen]) for frames in (earlier, later)]
            flow = self._model(*pair, num_flow_updates=self.updates)[-1]
            found.append(rearrange(flow[..., :height, :width], "b c h w -> b h w c").cpu().numpy())
        return np.concatenate(found)

    def _prepare(self, frames: np.ndarray) -> torch.Tensor:
        """Colours in [-1, 1], sides filled up to what the model can take."""
        image = rearrange(torch.from_numpy(frames).float() / 127.5 - 1, "b h w c -> b c h w")
        missing = [
            max(_SMALLEST, -(-side // _MULTIPLE) * _MULTIPLE) - side for side in image.shape[2:]
        ]
        filled = F.pad(image, (0, missing[1], 0, missing[0]), mode="replicate")
        return filled.to(choose_device(self.device))

    @cached_property
    def _weights(self) -> Path:
        path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
        if not path.is_file():
            raise UserError(f"expected RAFT's weights at {path}, found none; fetch them: {FETCH}")
        return path

    @cached_property
    def _model(self) -> Any:
        package = require("torchvision.models.optical_flow", command=INSTALL, what="RAFT")
        model = package.raft_large(weights=None)
        model.load_state_dict(torch.load(self._weights, map_location="cpu", weights_only=True))
        return model.eval().to(choose_device(self.device))
