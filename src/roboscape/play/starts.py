"""Starts of played worlds: a seed's scene, a recorded frame, an image of one's own."""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from roboscape.core.errors import UserError
from roboscape.dataset.depth_codec import DepthCodec
from roboscape.play.frames import Pictures
from roboscape.play.messages import StartImage
from roboscape.simulators.protocol import FrameStart

THUMBNAIL_PX = 16
KNOWN = 64
"""Starts that are remembered, to complete images that come without depth or state."""


@dataclass(frozen=True, kw_only=True)
class KnownStart:
    """A frame that a world began with."""

    name: str
    """In words."""
    pictures: Pictures
    state: Float[np.ndarray, " s"]
    """The robot's, as the model's control signals begin with it."""
    thumbnails: dict[str, Float[np.ndarray, "y x 3"]]


class KnownStarts:
    """Starts that were seen before; the latest ones."""

    def __init__(self) -> None:
        self._starts: deque[KnownStart] = deque(maxlen=KNOWN)

    def __len__(self) -> int:
        """The number of starts."""
        return len(self._starts)

    def add(self, name: str, pictures: Pictures, state: Float[np.ndarray, " s"]) -> None:
        """Remember a start; of one name the first."""
        if all(start.name != name for start in self._starts):
            small = {camera: thumbnail(rgb) for camera, rgb in pictures.rgb.items()}
            self._starts.append(
                KnownStart(name=name, pictures=pictures, state=state, thumbnails=small)
            )

    def nearest(self, images: dict[str, UInt8[np.ndarray, "h w 3"]]) -> KnownStart:
        """The start whose image differs least, in squares of small pictures.

        Raises:
            ValueError: no start is known, or none with these cameras.
        """
        small = {camera: thumbnail(rgb) for camera, rgb in images.items()}
        fitting = [start for start in self._starts if small.keys() <= start.thumbnails.keys()]
        if not fitting:
            raise UserError(
                "an image needs the depth and the robot's state of a start that is known, and "
                f"none with cameras {', '.join(images)} is; begin with a seed or an episode first"
            )

        def distance(start: KnownStart) -> float:
            return sum(
                float(np.square(start.thumbnails[camera] - mine).mean())
                for camera, mine in small.items()
            )

        return min(fitting, key=distance)


def thumbnail(rgb: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "y x 3"]:
    """A small picture, in shares of full brightness."""
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def start_of_image(
    message: StartImage,
    known: KnownStarts,
    *,
    cameras: tuple[str, ...],
    side_px: int,
    state_size: int,
    codec: DepthCodec,
    read_state: Float[np.ndarray, " s"] | None = None,
) -> tuple[FrameStart, list[str]]:
    """An uploaded image as a start, and what had to be taken from elsewhere.

    Args:
        message: The image, and perhaps the state.
        known: Starts that lend depth, and the state where none is given.
        cameras: Those of the model.
        side_px: Height and width of its images.
        state_size: Numbers of the robot's state.
        codec: How the depth of known starts is kept.
        read_state: The state as it was read off the image; None where nothing reads it.

    Raises:
        ValueError: another camera, size or number of states, or no start is known.
    """
    images = message.images(side_px=side_px)
    if unknown := sorted(set(images) - set(cameras)):
        raise UserError(f"expected cameras {', '.join(cameras)}, got {', '.join(unknown)}"[:200])
    nearest = known.nearest(images)
    warnings = [
        f"The depth is that of {nearest.name}, the known start that looks most like the image; "
        "what stands elsewhere in the image will move wrongly."
    ]
    state = nearest.state
    if message.state is not None:
        state = np.array(message.state, np.float32)
        if state.shape != (state_size,):
            raise UserError(f"expected a state of {state_size} numbers, got {len(state)}")
    elif read_state is not None:
        state = read_state
        warnings.append("The robot's state is what was read off the image.")
    else:
        warnings.append(f"The robot's state is that of {nearest.name} too.")
    depth = {
        name: codec.decode(nearest.pictures.depth_codes[name])
        for name in images
        if name in nearest.pictures.depth_codes
    }
    return FrameStart(rgb=images, depth_m=depth, state=state), warnings


def start_at_truth(
    truth: Pictures, before: Pictures | None, *, stride: int, codec: DepthCodec
) -> FrameStart:
    """The true world's present frame as a start of the imagined one.

    The arm's speed is that between the last two frames, for the true world is observed once a
    frame.

    Args:
        truth: Its present frame.
        before: The frame before; without one the arm rests.
        stride: Native rows between two frames.
        codec: How depth is kept.
    """
    earlier = None if before is None else truth.state - (truth.state - before.state) / stride
    return FrameStart(
        rgb=dict(truth.rgb),
        depth_m={name: codec.decode(codes) for name, codes in truth.depth_codes.items()},
        state=truth.state,
        state_before=earlier,
    )
