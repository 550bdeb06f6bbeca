"""`tf.train.Example`, the message in a TFRecord: read and written without protobuf.

The message is a map from names to lists of bytes, floats or integers; of protobuf's wire format it
uses varints and length-delimited fields, which is all that is here.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int64

from roboscape.core.errors import UserError

Values = list[memoryview] | np.ndarray
"""A feature: bytes, or float32 or int64 numbers in a row."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3


def parse_example(message: memoryview) -> dict[str, Values]:
    """The features of an example by name; bytes are views of the message.

    Raises:
        ValueError: this is no such message.
    """
    features: dict[str, Values] = {}
    try:
        for _, entries in _fields(message):
            for _, entry in _fields(entries):
                parts = dict(_fields(entry))
                features[bytes(parts[1]).decode()] = _feature(parts.get(2, memoryview(b"")))
    except (IndexError, KeyError, UnicodeDecodeError, ValueError) as error:
        raise UserError(
            f"expected a tf.train.Example, got something else ({error}); only TFDS / RLDS "
            "TFRecords can be read"
        ) from error
    return features


def encode_example(features: Mapping[str, Sequence[bytes] | np.ndarray]) -> bytes:
    """Inverse of `parse_example`: floats become a float list, integers an integer list."""
    entries = b""
    for name, values in features.items():
        if not isinstance(values, np.ndarray):
            kind, content = _BYTES_LIST, b"".join(_delimited(1, value) for value in values)
        elif values.dtype.kind == "f":
            kind, content = _FLOAT_LIST, _delimited(1, values.astype("<f4").tobytes())
        else:
            packed = b"".join(_varint(int(value) % 2**64) for value in values.ravel())
            kind, content = _INT64_LIST, _delimited(1, packed)
        feature = _delimited(kind, content)
        entries += _delimited(1, _delimited(1, name.encode()) + _delimited(2, feature))
    return _delimited(1, entries)


def _feature(message: memoryview) -> Values:
    """The values of a feature, whichever kind it is."""
    for kind, content in _fields(message):
        values = [value for _, value in _fields(content)]
        if kind == _BYTES_LIST:
            return values
        packed = b"".join(values)
        return np.frombuffer(packed, "<f4") if kind == _FLOAT_LIST else _varints(packed)
    return []


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of every field of a message, in order."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            size, position = _read_varint(message, position)
        elif wire == _VARINT:
            size = _read_varint(message, position)[1] - position
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise UserError(f"unknown wire type {wire} at byte {position} of a message")
        if position + size > len(message):
            raise UserError(f"a field of {size} bytes at {position} of {len(message)} bytes")
        yield number, message[position : position + size]
        position += size


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number, and the position behind it."""
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _varints(packed: bytes) -> Int64[np.ndarray, " n"]:
    """All numbers of a packed list."""
    content = np.frombuffer(packed, np.uint8)
    ends = np.flatnonzero(content < 0x80)
    if not len(ends):
        return np.zeros(0, np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(ends[-1] + 1) - np.repeat(starts, ends + 1 - starts)
    bits = (content[: ends[-1] + 1].astype(np.uint64) & 0x7F) << (7 * place).astype(np.uint64)
    return np.add.reduceat(bits, starts).view(np.int64)


def _varint(value: int) -> bytes:
    """Inverse of `_read_varint`."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _delimited(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content
