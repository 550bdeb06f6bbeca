"""Dense inverse search of OpenCV: flow without weights."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from roboscape.annotate.pretrained import provenance_settings

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


@dataclass(frozen=True, kw_only=True)
class DenseInverseSearch:
    """Dense inverse search: patches are matched from coarse to fine, then smoothed."""

    preset: Literal["ultrafast", "fast", "medium"] = "medium"
    """OpenCV's own settings."""

    @property
    def name(self) -> str:
        """Name of the annotation folder."""
        return "dis"

    @property
    def version(self) -> str:
        """OpenCV's version."""
        return f"opencv {cv2.__version__}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return provenance_settings(self)

    def flow(
        self, earlier: UInt8[np.ndarray, "b h w 3"], later: UInt8[np.ndarray, "b h w 3"]
    ) -> Float32[np.ndarray, "b h w 2"]:
        """The path (x, y) of every pixel of the earlier frames to the later ones, in pixels."""
        search = cv2.DISOpticalFlow.create(PRESETS[self.preset])
        start = np.zeros((*earlier.shape[1:3], 2), np.float32)
        pairs = zip(earlier, later, strict=True)
        return np.stack(
            [search.calc(_grey(before), _grey(after), start.copy()) for before, after in pairs]
        )


def _grey(frame: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
