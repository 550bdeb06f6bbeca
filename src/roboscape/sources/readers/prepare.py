"""From what a reader gives to what a dataset keeps: cameras, image size, split."""

import hashlib
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Shaped

from roboscape.dataset.records import (
    FIRST_TEST_SEED,
    FIRST_VALIDATION_SEED,
    CameraSpec,
    DatasetSpec,
    Episode,
)
from roboscape.sources.readers.protocol import SPLIT_UNSAID


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is changed in every episode on its way into the dataset."""

    camera: tuple[str, ...]
    """Cameras to keep; all where empty."""
    image_size: int | None
    """Side of the square images to keep; as recorded where there is none."""
    validation: float
    """Share of the episodes kept for validation."""
    test: float
    """Share of the episodes kept for tests."""

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing to train on, and sizes that no video has."""
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise ValueError(
                "expected validation and test to be shares that leave something for training, got "
                f"{self.validation} and {self.test}"
            )
        if self.image_size is not None and (self.image_size < 2 or self.image_size % 2):
            raise ValueError(f"expected an even image size, got {self.image_size}")


def prepared_spec(spec: DatasetSpec, how: Preparation) -> DatasetSpec:
    """The spec of the dataset that the prepared episodes make."""
    known = {camera.name: camera for camera in spec.cameras}
    if unknown := [name for name in how.camera if name not in known]:
        raise ValueError(
            f"the recordings have no camera {', '.join(unknown)}; they have: {', '.join(known)}"
        )
    kept = [camera for camera in spec.cameras if not how.camera or camera.name in how.camera]
    return replace(spec, cameras=tuple(_resized_camera(camera, how.image_size) for camera in kept))


def prepared_episode(episode: Episode, key: str, how: Preparation) -> Episode:
    """The episode as the dataset keeps it; its seed follows from its key."""
    frames, depth_m = (
        {
            name: _resized(images, how.image_size)
            for name, images in by_camera.items()
            if not how.camera or name in how.camera
        }
        for by_camera in (episode.frames, episode.depth_m)
    )
    seed = seed_of_key(key, said=episode.seed, validation=how.validation, test=how.test)
    return replace(episode, frames=frames, depth_m=depth_m, seed=seed)


def seed_of_key(key: str, *, said: int, validation: float, test: float) -> int:
    """A stable seed in the range of a split.

    Args:
        key: the episode's name; its SHA-256 draws the split and the place in the split's range.
        said: the first seed of the split that the recording names, or `SPLIT_UNSAID`.
        validation: share of the episodes for validation.
        test: share of the episodes for tests.
    """
    digest = hashlib.sha256(key.encode()).digest()
    draw = int.from_bytes(digest[:8]) / 2**64
    if said == SPLIT_UNSAID:
        in_validation = draw < test + validation
        said = FIRST_TEST_SEED if draw < test else FIRST_VALIDATION_SEED if in_validation else 0
    ends = {0: FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED: FIRST_TEST_SEED}
    return said + int.from_bytes(digest[8:16]) % (ends.get(said, said + 2**31) - said)


def _resized_camera(camera: CameraSpec, size: int | None) -> CameraSpec:
    """The camera with the size that its images will have."""
    if size is not None:
        return replace(camera, height=size, width=size)
    if camera.height % 2 or camera.width % 2:
        raise ValueError(
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
