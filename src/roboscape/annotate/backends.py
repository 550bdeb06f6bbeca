"""What an annotator is: pixels in, physical priors out."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from numpy import ndarray

from roboscape.dataset.annotations import SIMULATOR
from roboscape.dataset.records import Tracks

RECORDED = SIMULATOR
"""Not an estimate: what the recording itself brought along. It is checked, never copied."""


@runtime_checkable
class DepthAnnotator(Protocol):
    """Estimates depth from video."""

    @property
    def name(self) -> str:
        """Name of the annotation folder: `depth_<name>`."""
        ...

    @property
    def version(self) -> str:
        """Version of the method or revision of its weights."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """All that is needed to make the same annotation again, as JSON."""
        ...

    def annotate(self, frames: UInt8[ndarray, "t h w 3"]) -> Float[ndarray, "t h w"]:
        """Depth along the optical axis in metres."""
        ...


@runtime_checkable
class TrackAnnotator(Protocol):
    """Follows points through video."""

    @property
    def name(self) -> str:
        """Name of the annotation folder: `tracks_<name>`."""
        ...

    @property
    def version(self) -> str:
        """Version of the method or revision of its weights."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """All that is needed to make the same annotation again, as JSON."""
        ...

    def annotate(self, frames: UInt8[ndarray, "t h w 3"]) -> Tracks:
        """Sample points in the first frame and follow them."""
        ...

    def follow(
        self, frames: UInt8[ndarray, "t h w 3"], *, points_px: Float[ndarray, "k 2"]
    ) -> Tracks:
        """Follow given points of the first frame, pixels (x, y)."""
        ...
