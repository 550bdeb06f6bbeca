"""Annotators, which estimate physical priors from pixels, and their choice by name.

Every stage has a protocol here and, beside its backends, a dictionary from names to `Backend`s:
`DEPTH_ANNOTATORS`, `TRACK_ANNOTATORS`, `CUT_DETECTORS`, `FLOW_ESTIMATORS`. An annotator takes the
frames of one episode at a time, works through them in batches of its own size, and keeps nothing
between episodes; so a run resumes at the first episode without a file.
"""

import importlib
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float, UInt8
from numpy import ndarray

from roboscape.core.config import config_from_dict
from roboscape.core.errors import UserError
from roboscape.dataset.annotations import SIMULATOR
from roboscape.dataset.records import Tracks

RECORDED = SIMULATOR
"""Not an estimate: what the recording itself brought along. It is checked, never copied."""

Kind = TypeVar("Kind", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Backend(Generic[Kind]):
    """One implementation of a stage, imported only when it is called."""

    module: str
    """The file that holds it."""
    kind: str
    """Its class, a frozen dataclass whose fields are its settings."""
    summary: str
    """One line for lists and help."""
    gpu: bool = False
    """Whether it wants an accelerator: such annotators are given workers of their own."""
    pretrained: bool = False
    """Whether it needs weights that must be fetched first."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings that this name stands for; the caller's go before them."""

    def __call__(self, **settings: Any) -> Kind:
        """The annotator, with some of its settings changed.

        Raises:
            ValueError: it has no such setting, or what it needs is not installed or not fetched.
        """
        kind = getattr(importlib.import_module(self.module), self.kind)
        known = kind.__dataclass_fields__
        if unknown := [name for name in settings if name not in known]:
            raise UserError(
                f"{self.kind} has no setting {', '.join(unknown)}; it has {', '.join(known)}"
            )
        # Settings may come from JSON, which has no paths and no tuples.
        return config_from_dict(kind, {**self.settings, **settings}, where="the settings given")


class Annotator(Protocol):
    """Name, version and settings of an annotator: the provenance of what it writes."""

    @property
    def name(self) -> str:
        """Name of the annotation folder: `<kind>_<name>`."""
        ...

    @property
    def version(self) -> str:
        """Version of the method or revision of its weights."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """All that is needed to make the same annotation again, as JSON."""
        ...


@runtime_checkable
class DepthAnnotator(Annotator, Protocol):
    """Estimates depth from video; `depth_confidence` measures its reliability."""

    def annotate(self, frames: UInt8[ndarray, "t h w 3"]) -> Float[ndarray, "t h w"]:
        """Depth along the optical axis in metres."""
        ...


@runtime_checkable
class TrackAnnotator(Annotator, Protocol):
    """Follows points through video; `track_confidence` measures its reliability."""

    def annotate(self, frames: UInt8[ndarray, "t h w 3"]) -> Tracks:
        """Sample points in the first frame and follow them."""
        ...

    def follow(
        self, frames: UInt8[ndarray, "t h w 3"], *, points_px: Float[ndarray, "k 2"]
    ) -> Tracks:
        """Follow given points of the first frame, pixels (x, y)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """The places where a video jumps."""

    rows: tuple[int, ...]
    """The first row of every shot but the first: never 0, ascending."""
    probability: Float[ndarray, " t"]
    """For every row how sure the detector is that a shot begins there, in [0, 1]."""


@runtime_checkable
class CutDetector(Annotator, Protocol):
    """Finds camera boundaries (RoboScape, section 2.2, video slicing)."""

    def annotate(self, frames: UInt8[ndarray, "t h w 3"]) -> Cuts:
        """Find where shots begin."""
        ...


@runtime_checkable
class FlowEstimator(Annotator, Protocol):
    """Estimates dense optical flow (RoboScape, section 2.2, clip filtering)."""

    def flow(
        self, earlier: UInt8[ndarray, "b h w 3"], later: UInt8[ndarray, "b h w 3"]
    ) -> Float[ndarray, "b h w 2"]:
        """The path (x, y) of every pixel of the earlier frames to the later ones, in pixels."""
        ...
