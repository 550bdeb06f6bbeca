"""The features of a TFDS dataset (`features.json`), and arrays made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from roboscape.core.errors import UserError
from roboscape.core.files import read_json
from roboscape.sources.readers.tf_example import Values


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One feature of every step."""

    kind: str
    """TFDS's class: `Image`, `Tensor`, `Scalar`, `Text`."""
    shape: tuple[int, ...]
    """Of one step; -1 where the dataset leaves it open, empty for a scalar or a text."""
    dtype: str

    @property
    def is_camera(self) -> bool:
        """True for a colour image."""
        return self.kind == "Image" and self.dtype == "uint8" and self.shape[-1:] == (3,)

    @property
    def is_number(self) -> bool:
        """True for one number or a row of numbers."""
        return self.kind in ("Tensor", "Scalar") and len(self.shape) < 2 and self.dtype != "string"

    @property
    def width(self) -> int:
        """Numbers a step."""
        return int(np.prod(self.shape))


def read_features(path: Path) -> dict[str, Feature]:
    """The features by name (`steps/observation/image`), as records spell them."""
    features: dict[str, Feature] = {}
    _collect(read_json(path), name="", into=features)
    if not any(name.startswith("steps/") for name in features):
        raise UserError(
            f"{path} describes no `steps`, so this is no RLDS dataset of episodes; it has "
            f"{sorted(features)}"
        )
    return features


def numbers_of(
    example: Mapping[str, Values], name: str, *, width: int, where: str
) -> Float32[np.ndarray, "t n"]:
    """The rows of a feature of numbers."""
    values = example.get(name)
    if not isinstance(values, np.ndarray) or len(values) % width:
        found = "no numbers" if not isinstance(values, np.ndarray) else f"{len(values)} numbers"
        raise UserError(
            f"{where}: expected rows of {width} numbers in `{name}`, found {found}; the record and "
            "features.json disagree: leave the episode out"
        )
    return values.reshape(-1, width).astype(np.float32)


def images_of(
    example: Mapping[str, Values], name: str, *, where: str
) -> UInt8[np.ndarray, "t h w 3"]:
    """The decoded images (JPEG or PNG) of a camera."""
    encoded = example.get(name)
    if not isinstance(encoded, list) or not encoded:
        raise UserError(f"{where}: expected images in `{name}`, found none")
    frames: np.ndarray | None = None
    for step, image in enumerate(encoded):
        content = np.frombuffer(image, np.uint8)
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(content, flags) if len(content) else None
        if pixels is None or (frames is not None and pixels.shape != frames.shape[1:]):
            found = "no JPEG or PNG image" if pixels is None else f"an image of {pixels.shape}"
            raise UserError(
                f"{where}: step {step} of `{name}` holds {found}; leave the episode out"
            )
        if frames is None:
            frames = np.empty((len(encoded), *pixels.shape), np.uint8)
        frames[step] = pixels[..., ::-1]
    assert frames is not None
    return frames


def text_of(example: Mapping[str, Values], name: str) -> str:
    """The first text of a feature that is not empty."""
    values = example.get(name, [])
    texts = [bytes(value).decode(errors="replace") for value in values if len(value)]
    return texts[0] if texts else ""


def _collect(description: Mapping[str, Any], *, name: str, into: dict[str, Feature]) -> None:
    """Walk through nested features."""
    if "featuresDict" in description:
        for key, inner in description["featuresDict"]["features"].items():
            _collect(inner, name=f"{name}/{key}" if name else key, into=into)
    elif "sequence" in description:
        _collect(description["sequence"]["feature"], name=name, into=into)
    elif "pythonClassName" in description:
        about = description.get("image") or description.get("tensor") or {}
        sizes = about.get("shape", {}).get("dimensions", [])
        into[name] = Feature(
            kind=description["pythonClassName"].rpartition(".")[2],
            shape=tuple(int(size) for size in sizes),
            dtype=about.get("dtype", "string"),
        )
