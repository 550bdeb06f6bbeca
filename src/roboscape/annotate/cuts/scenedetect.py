"""PySceneDetect's adaptive detector: cuts by the change of colour against the frames around."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from roboscape.annotate.backends import Cuts
from roboscape.annotate.pretrained import package_version, provenance_settings, require_extra


@dataclass(frozen=True, kw_only=True)
class SceneDetect:
    """Cuts where the picture changes much more than in the frames before and after."""

    ratio: float = 3.0
    """A cut's change is at least so many times that of its neighbours."""
    smallest_change: float = 15.0
    """Mean change of hue, saturation and brightness (of 255) below which there is no cut."""
    shortest_shot: int = 8
    """Rows between two cuts."""
    neighbours: int = 2
    """Frames on either side that a change is compared with."""

    def __post_init__(self) -> None:
        """Raise `UserError` for a missing package before any work is done."""
        require_extra("scenedetect", what="PySceneDetect")

    @property
    def name(self) -> str:
        """Name of the annotation folder."""
        return "scene_detect"

    @property
    def version(self) -> str:
        """Version of the package."""
        return package_version("scenedetect")

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return provenance_settings(self)

    def annotate(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Cuts:
        """Find where shots begin; a probability is the change's share of twice the threshold.

        The last `neighbours` rows cannot be compared with what comes after, so none is a cut.
        """
        package = require_extra("scenedetect", what="PySceneDetect")
        stats = package.StatsManager()
        detector = package.AdaptiveDetector(
            adaptive_threshold=self.ratio,
            min_content_val=self.smallest_change,
            min_scene_len=self.shortest_shot,
            window_width=self.neighbours,
        )
        detector.stats_manager = stats
        stats.register_metrics(detector.get_metrics())
        # Rows are all that matters, and one frame a second counts them.
        times = [package.FrameTimecode(row, fps=1.0) for row in range(len(frames))]
        found = []
        for time, frame in zip(times, frames, strict=True):
            # OpenCV's order of colours is what the detector expects.
            found += detector.process_frame(time, np.ascontiguousarray(frame[..., ::-1]))
        name = next(key for key in detector.get_metrics() if key.startswith("adaptive_ratio"))
        ratios = [stats.get_metrics(time, [name])[0] or 0.0 for time in times]
        return Cuts(
            rows=tuple(time.frame_num for time in found),
            probability=np.clip(np.array(ratios) / (2 * self.ratio), 0.0, 1.0),
        )
