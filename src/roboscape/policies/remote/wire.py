"""Messages of openpi's protocol: msgpack maps whose arrays are maps of bytes, type and shape.

An array is `{b"__ndarray__": True, b"data", b"dtype", b"shape"}`, a NumPy number
`{b"__npgeneric__": True, b"data", b"dtype"}` (`openpi_client.msgpack_numpy`).

This file is imported by lerobot's environment too, so it needs NumPy and msgpack alone.
"""

import math
from typing import Any

import numpy as np

from roboscape.core.errors import UserError

NUMBERS = "biuf"
"""Kinds of NumPy types that may travel: booleans, integers and floating-point numbers."""


def pack(content: Any) -> bytes:
    """A message of nested maps, lists, texts, numbers and arrays.

    Raises:
        ValueError: an array of objects or of structures.
    """
    return msgpack().packb(content, default=_encoded)


def unpack(message: bytes | str) -> Any:
    """The content of a message; arrays are copies that may be written to.

    Raises:
        ValueError: it is no such message, or an array has not the bytes that its shape needs.
    """
    if isinstance(message, str):
        raise UserError(f"expected a binary msgpack message, got the text {message[:200]!r}")
    library = msgpack()
    try:
        return library.unpackb(message, object_hook=_decoded)
    except (ValueError, TypeError, KeyError, library.exceptions.UnpackException) as error:
        raise UserError(
            f"expected a msgpack message with arrays as openpi writes them, got {len(message)} "
            f"bytes that are none ({type(error).__name__}: {error})"
        ) from error


def msgpack() -> Any:
    """The library.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import msgpack
    except ImportError as error:
        raise UserError(
            "policy servers need msgpack and websockets: pip install 'roboscape[policies]'"
        ) from error
    return msgpack


def _encoded(value: Any) -> Any:
    """A NumPy array or number as a map."""
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"{type(value).__name__} cannot travel in a message")
    if value.dtype.kind not in NUMBERS:
        raise UserError(f"arrays of type {value.dtype} cannot travel; expected numbers")
    if isinstance(value, np.ndarray):
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


def _decoded(content: dict[Any, Any]) -> Any:
    """The array or number that a map stands for; other maps as they are."""
    if b"__ndarray__" in content:
        kind, shape = _number_type(content[b"dtype"]), tuple(content[b"shape"])
        if any(not isinstance(size, int) or size < 0 for size in shape):
            raise UserError(f"an array has the shape {shape}")
        needed = math.prod(shape) * kind.itemsize
        if len(content[b"data"]) != needed:
            raise UserError(
                f"an array of shape {shape} and type {kind} needs {needed} bytes, got "
                f"{len(content[b'data'])}"
            )
        return np.frombuffer(content[b"data"], kind).reshape(shape).copy()
    if b"__npgeneric__" in content:
        return _number_type(content[b"dtype"]).type(content[b"data"])
    return content


def _number_type(name: Any) -> np.dtype:
    """A NumPy type by name, if it is one of numbers."""
    kind = np.dtype(name)
    if kind.kind not in NUMBERS:
        raise UserError(f"an array has the type {kind}; expected numbers")
    return kind
