"""Augmented copies of episodes: the same motion in other crops and colours."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from roboscape.clips.reader import Clip
from roboscape.core.seeding import numpy_generator_for
from roboscape.dataset.records import Tracks

LEAST_SIDE = 0.75
"""Side of the smallest crop, as a share of the image's."""
CONTRAST, TINT, BRIGHTNESS = 0.1, 0.05, 12.0
"""Largest change: of all levels, of each colour's beside it (both as shares), and levels added."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """A square crop that fills the square image, and other colours; alike in all frames.

    What the arm does stays as it was, so actions and states are the recording's.
    """

    side: float
    """Of the square crop, as a share of the image's."""
    left: float
    top: float
    """Of the crop, as shares of the room that it has."""
    gain: tuple[float, float, float]
    """By which red, green and blue levels are multiplied."""
    offset: float
    """Levels added then."""

    @classmethod
    def draw(cls, *place: int) -> "Augmentation":
        """That of one place, for example (dataset, episode, copy, view)."""
        generator = numpy_generator_for(*place)
        contrast = 1 + CONTRAST * generator.uniform(-1, 1)

        def tinted() -> float:
            return contrast * (1 + TINT * generator.uniform(-1, 1))

        return cls(
            side=generator.uniform(LEAST_SIDE, 1),
            left=generator.uniform(),
            top=generator.uniform(),
            gain=(tinted(), tinted(), tinted()),
            offset=BRIGHTNESS * generator.uniform(-1, 1),
        )

    def apply(self, clip: Clip, camera: str) -> Clip:
        """The clip with one camera's frames, depth and tracks altered.

        Depth in metres stays that of the scene: only its pixels move, none is mixed with another.
        """
        depth_m = clip.depth_m[camera]
        altered = replace(
            clip,
            frames={**clip.frames, camera: self.frames(clip.frames[camera])},
            depth_m={**clip.depth_m, camera: None if depth_m is None else self.depth(depth_m)},
        )
        if camera not in clip.tracks:
            return altered
        size = clip.frames[camera].shape[1]
        tracks = self.tracks(clip.tracks[camera], size=size)
        return replace(altered, tracks={**clip.tracks, camera: tracks})

    def frames(self, frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
        """Cropped, enlarged, in other colours."""
        cropped = self._cropped(frames, interpolation=cv2.INTER_LINEAR)
        return np.clip(cropped * np.array(self.gain, np.float32) + self.offset, 0, 255).astype(
            np.uint8
        )

    def depth(self, depth_m: Float32[np.ndarray, "t h w"]) -> Float32[np.ndarray, "t h w"]:
        """Cropped and enlarged."""
        return self._cropped(depth_m, interpolation=cv2.INTER_NEAREST)

    def tracks(self, tracks: Tracks, *, size: int) -> Tracks:
        """Moved with their pixels; those that leave the image are not seen there."""
        # Pixel centres are integers: the image begins half a pixel before the first one.
        corner = self._corner(size)
        xy = (tracks.xy_px + 0.5 - corner) / self.side - 0.5
        inside = ((xy > -0.5) & (xy < size - 0.5)).all(axis=-1)
        return replace(tracks, xy_px=xy.astype(np.float32), visible=tracks.visible & inside)

    def _corner(self, size: int) -> Float32[np.ndarray, " 2"]:
        """Left and upper edge of the crop, px."""
        return np.array([self.left, self.top], np.float32) * np.float32(size * (1 - self.side))

    def _cropped(self, images: np.ndarray, *, interpolation: int) -> np.ndarray:
        """Every image's crop, as large as the image."""
        size = images.shape[1]
        # From a pixel's centre in the crop to its place in the image.
        move = self._corner(size) + 0.5 * (self.side - 1)
        matrix = np.array([[self.side, 0, move[0]], [0, self.side, move[1]]], np.float32)
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return np.stack(
            [
                cv2.warpAffine(
                    image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE
                )
                for image in images
            ]
        )
