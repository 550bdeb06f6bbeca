"""From what a reader gives to what a dataset keeps: cameras, image size, split, seed."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Shaped

from roboscape.core.errors import UserError
from roboscape.dataset.records import (
    FIRST_TEST_SEED,
    FIRST_VALIDATION_SEED,
    CameraSpec,
    DatasetSpec,
    Episode,
    Split,
)
from roboscape.dataset.splits import SplitShares

SEEDS: dict[Split, tuple[int, int]] = {
    "train": (0, FIRST_VALIDATION_SEED),
    "validation": (FIRST_VALIDATION_SEED, FIRST_TEST_SEED),
    "test": (FIRST_TEST_SEED, FIRST_TEST_SEED + 2**31),
}
"""First seed and end of the range of every split."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The changes in every episode on its way into the dataset."""

    camera: tuple[str, ...]
    """Cameras to keep; all where empty."""
    image_size: int | None
    """Side of the square images to keep; as recorded where there is none."""

    def __post_init__(self) -> None:
        """Refuse sizes that no video has."""
        if self.image_size is not None and (self.image_size < 2 or self.image_size % 2):
            raise UserError(f"expected an even image size, got {self.image_size}")


def prepared_spec(spec: DatasetSpec, how: Preparation) -> DatasetSpec:
    """The spec of the dataset that the prepared episodes make."""
    known = {camera.name: camera for camera in spec.cameras}
    if unknown := [name for name in how.camera if name not in known]:
        raise UserError(
            f"the recordings have no camera {', '.join(unknown)}; they have: {', '.join(known)}"
        )
    kept = [camera for camera in spec.cameras if not how.camera or camera.name in how.camera]
    return replace(spec, cameras=tuple(_resized_camera(camera, how.image_size) for camera in kept))


def prepared_episode(episode: Episode, key: str, how: Preparation) -> Episode:
    """The episode as the dataset keeps it, but for its split and seed (`Splitter`).

    Its seed is a number that follows from the SHA-256 of its key alone.
    """
    frames, depth_m = (
        {
            name: _resized(images, how.image_size)
            for name, images in by_camera.items()
            if not how.camera or name in how.camera
        }
        for by_camera in (episode.frames, episode.depth_m)
    )
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[8:16])
    return replace(episode, frames=frames, depth_m=depth_m, seed=seed)


class Splitter:
    """Gives prepared episodes their split, in the order in which a dataset takes them in.

    The split that a recording names counts; the others follow `SplitShares`. The seed is brought
    into the range of the split, so that `split_of` agrees.
    """

    def __init__(self, shares: SplitShares, taken: Iterable[Split]) -> None:
        """Start after the episodes that the dataset holds already."""
        self._shares = shares
        self._counts = Counter(taken)

    def __call__(self, episode: Episode) -> Episode:
        """The next episode, with its split and its final seed."""
        split = episode.split or self._shares.next_split(self._counts)
        self._counts[split] += 1
        first, end = SEEDS[split]
        return replace(episode, split=split, seed=first + episode.seed % (end - first))


def _resized_camera(camera: CameraSpec, size: int | None) -> CameraSpec:
    """The camera with the size that its images will have."""
    if size is not None:
        geometry, side = camera.geometry, min(camera.height, camera.width)
        if geometry is not None:
            geometry = replace(geometry, focal_px=geometry.focal_px * size / side)
        return replace(camera, height=size, width=size, geometry=geometry)
    if camera.height % 2 or camera.width % 2:
        raise UserError(
            f"images of camera {camera.name} are {camera.height} x {camera.width}; a video needs "
            "even sides: pass --image-size, which crops and resizes, e.g. --image-size 128"
        )
    return camera


def _resized(images: Shaped[np.ndarray, "t h w ..."], size: int | None) -> np.ndarray:
    """The square in the middle, resized; colours by area, depth by the nearest pixel.

    Depth is not averaged: halfway between a hand and the table behind it there is nothing, and
    0 means that nothing was measured.
    """
    if size is None:
        return images
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    colours = cv2.INTER_AREA if size < side else cv2.INTER_LINEAR
    how = colours if images.ndim == 4 else cv2.INTER_NEAREST_EXACT
    squares = images[:, top : top + side, left : left + side]
    return np.stack([cv2.resize(square, (size, size), interpolation=how) for square in squares])
