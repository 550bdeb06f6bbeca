"""Messages of a page, as typed records: what is malformed is refused before anything uses it."""

import base64
import binascii
import json
import math
from dataclasses import dataclass, field
from typing import Any

import dacite
import numpy as np
from jaxtyping import Float, UInt8

from roboscape.core.errors import UserError

LARGEST = 2**53
"""Largest whole number that JSON and JavaScript agree on."""


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The first message: a new world, or the one that this page had before it was loaded again."""

    session: str | None = None


@dataclass(frozen=True, kw_only=True)
class StartSeed:
    """Begin with the scene that the true simulator places for a seed."""

    seed: int


@dataclass(frozen=True, kw_only=True)
class StartEpisode:
    """Begin with a frame of a recorded episode."""

    episode: int
    row: int = 0


@dataclass(frozen=True, kw_only=True)
class StartImage:
    """Begin with an image of one's own."""

    rgb: dict[str, str]
    """By camera: bytes of an RGB image of the model's size, row by row, in base64."""
    state: tuple[float, ...] | None = None
    """Proprioception; that of the nearest known start where none is given."""

    def images(self, *, side_px: int) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
        """The images.

        Raises:
            ValueError: no image, or bytes that are no image of this size.
        """
        if not self.rgb:
            raise UserError("expected an image of at least one camera, got none")
        return {name: _image(text, side_px=side_px) for name, text in self.rgb.items()}


@dataclass(frozen=True, kw_only=True)
class Command:
    """A person's command, from now on."""

    values: tuple[float, ...]
    """Stored units, -1 to 1, one a dimension of the action."""
    sequence: int = 0
    """Number of this command; the frames that follow it carry it."""

    def array(self) -> Float[np.ndarray, " a"]:
        """The values."""
        return np.array(self.values, np.float32)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Let time pass."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Let time stand still."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Take one frame, and pause; under the given values where there are any."""

    values: tuple[float, ...] | None = None
    sequence: int = 0


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The speed of time: 1 is real time; 0 as fast as can be computed."""

    value: float


@dataclass(frozen=True, kw_only=True)
class Seek:
    """Look at a frame of the past, or of another future, and pause there."""

    frame: int
    future: int | None = None
    """The present one where none is given."""


@dataclass(frozen=True, kw_only=True)
class CompareWith:
    """Show another future beside the present one; none: stop that."""

    future: int | None = None


@dataclass(frozen=True, kw_only=True)
class Drive:
    """The choice of a driver: `hands`, or one of `DRIVERS`."""

    by: str
    settings: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The choice of the true simulator beside the imagined world, from the next start on."""

    shown: bool


@dataclass(frozen=True, kw_only=True)
class Restart:
    """Put the imagined world to the true one's present frame."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The choice of tokens from here on."""

    temperature: float
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Record:
    """Write the present future as an episode of a dataset."""


@dataclass(frozen=True, kw_only=True)
class Ping:
    """Ask for an answer, to measure how long one takes."""

    number: int


Message = (
    Hello
    | StartSeed
    | StartEpisode
    | StartImage
    | Command
    | Run
    | Pause
    | Step
    | Speed
    | Seek
    | CompareWith
    | Drive
    | Truth
    | Restart
    | Sample
    | Record
    | Ping
)

KINDS: dict[str, type] = {
    "hello": Hello,
    "start_seed": StartSeed,
    "start_episode": StartEpisode,
    "start_image": StartImage,
    "command": Command,
    "run": Run,
    "pause": Pause,
    "step": Step,
    "speed": Speed,
    "seek": Seek,
    "compare": CompareWith,
    "drive": Drive,
    "truth": Truth,
    "restart": Restart,
    "sample": Sample,
    "record": Record,
    "ping": Ping,
}
"""Messages by the word that stands in their `type`."""


def parse(text: str | bytes) -> Message:
    """Read a message: a JSON object with a `type` and that type's fields, nothing else.

    Raises:
        ValueError: anything else; the text says what.
    """
    if isinstance(text, bytes):
        raise UserError("expected messages of JSON text, got bytes")
    try:
        content = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"this message is no JSON: {shortened(str(error))}") from error
    if not isinstance(content, dict):
        raise UserError(f"expected a JSON object, got {type(content).__name__}")
    kind = content.pop("type", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(
            f"expected a message of type {', '.join(KINDS)}, got {shortened(repr(kind))}"
        )
    hooks = {float: _number, int: _whole}
    try:
        return dacite.from_dict(
            KINDS[kind], content, dacite.Config(strict=True, cast=[tuple], type_hooks=hooks)
        )
    except UserError:
        raise
    except (dacite.DaciteError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"not a message `{kind}`: {shortened(str(error))}") from error


def shortened(text: str, *, most: int = 200) -> str:
    """A text that is safe to send back: not too long, and without half characters."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= most else text[:most] + " …"


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"expected a number, got {shortened(repr(value))}")
    if abs(value) > LARGEST or not math.isfinite(value):
        raise UserError("expected a number of ordinary size")
    return float(value)


def _whole(value: Any) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST:
        raise UserError(f"expected a whole number, got {shortened(repr(value))}")
    return value


def _image(text: str, *, side_px: int) -> UInt8[np.ndarray, "h w 3"]:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError("an image must be bytes in base64") from error
    if len(data) != side_px * side_px * 3:
        raise UserError(
            f"expected an RGB image of {side_px} × {side_px} pixels, {side_px * side_px * 3} "
            f"bytes, got {len(data)}"
        )
    return np.frombuffer(data, np.uint8).reshape(side_px, side_px, 3)
