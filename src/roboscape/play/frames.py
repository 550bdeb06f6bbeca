"""One frame of a played world, as it is kept, compared and sent."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from roboscape.dataset.depth_codec import DepthCodec
from roboscape.evaluate.appearance import psnr_db
from roboscape.simulators.protocol import Observation


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The cameras' images in one frame of one world, imagined or true."""

    rgb: dict[str, UInt8[np.ndarray, "h w 3"]]
    """By camera name."""
    depth_codes: dict[str, UInt16[np.ndarray, "h w"]]
    """12-bit codes (`DepthCodec`); empty where there is no depth."""
    state: Float[np.ndarray, " s"]
    """Proprioception; of size 0 where nothing says where the robot is."""
    confidence: dict[str, UInt8[np.ndarray, "y x"]]
    """Probability of every chosen token, 255 for 1; empty of a true world."""

    @classmethod
    def of(cls, seen: Observation, codec: DepthCodec) -> "Pictures":
        """The only world of an observation."""
        return cls(
            rgb={name: pixels[0] for name, pixels in seen.rgb.items()},
            depth_codes={name: codec.encode(depth_m[0]) for name, depth_m in seen.depth_m.items()},
            state=seen.state[0],
            confidence={
                name: np.rint(grid[0] * 255).astype(np.uint8)
                for name, grid in seen.confidence.items()
            },
        )


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame of a player's world."""

    imagined: Pictures
    truth: Pictures | None = None
    """The true world after the same actions; None without one."""
    actions: Float[np.ndarray, "stride a"] | None = None
    """Native actions that led here; None in a first frame."""
    temperature: float = 0.0
    """At which it was imagined."""
    restarted: bool = False
    """Whether the imagined world was put to the true one's frame here."""
    resampled: bool = False
    """Whether later frames are drawn otherwise than those before."""
    psnr_db: float | None = None
    """Of the imagined RGB against the true one, mean over cameras; None without a truth."""

    @property
    def needs_copy(self) -> bool:
        """True if no way leads from earlier copies of the world past this frame."""
        return self.restarted or self.resampled


def compare(imagined: Pictures, truth: Pictures | None) -> float | None:
    """PSNR in dB of RGB, mean over the cameras that both have; None where there is no other."""
    if truth is None:
        return None
    cameras = sorted(imagined.rgb.keys() & truth.rgb.keys())
    images = [np.stack([one.rgb[name] for name in cameras]) for one in (truth, imagined)]
    return float(psnr_db(*images).mean())


def pack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """A binary message: a length (4 bytes, little-endian), JSON, then arrays after each other.

    The JSON is the header with `arrays`: of each its name, type, shape and first byte behind the
    JSON, at multiples of 8, so that a page can look at it without copying it.
    """
    described, parts, position = [], [], 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        data = data.tobytes()
        described.append(
            {"name": name, "type": str(array.dtype), "shape": array.shape, "start": position}
        )
        padding = -len(data) % 8
        parts += [data, bytes(padding)]
        position += len(data) + padding
    text = json.dumps({**header, "arrays": described}, allow_nan=False).encode()
    text += b" " * (-(len(text) + 4) % 8)
    return b"".join([struct.pack("<I", len(text)), text, *parts])


def unpack(message: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Inverse of `pack`: the header without `arrays`, and the arrays by name."""
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    arrays = {
        one["name"]: np.frombuffer(
            message,
            one["type"],
            count=int(np.prod(one["shape"])),
            offset=4 + length + one["start"],
        ).reshape(one["shape"])
        for one in header.pop("arrays")
    }
    return header, arrays


def arrays_of(frame: Frame, other: Frame | None = None) -> dict[str, np.ndarray]:
    """The arrays of a frame by name: kind, then camera; `other_rgb` is another future's frame."""
    arrays: dict[str, np.ndarray] = {}
    for prefix, pictures in (("", frame.imagined), ("true_", frame.truth)):
        if pictures is None:
            continue
        arrays |= {f"{prefix}rgb/{name}": rgb for name, rgb in pictures.rgb.items()}
        arrays |= {f"{prefix}depth/{name}": code for name, code in pictures.depth_codes.items()}
        arrays |= {f"{prefix}confidence/{name}": one for name, one in pictures.confidence.items()}
    if other is not None:
        arrays |= {f"other_rgb/{name}": rgb for name, rgb in other.imagined.rgb.items()}
    return arrays
