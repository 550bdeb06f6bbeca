"""TFRecord files: records found by their headers, read one at a time, checksums compared."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from roboscape.core.errors import UserError
from roboscape.core.files import atomic_path
from roboscape.sources.readers.crc32c import masked_crc32c

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


@dataclass(frozen=True, kw_only=True)
class Record:
    """The place of a record, or the place where a file is damaged."""

    path: Path
    number: int
    """In its file, from 0."""
    offset: int
    """Byte at which its header begins."""
    length: int
    """Bytes of its content."""
    damage: str = ""
    """What is wrong with its header; such a record is the last that can be found in its file."""


def index_records(path: Path) -> list[Record]:
    """Every record of a file, by reading the headers alone.

    A damaged header or a truncated end is a record too, the last: reading it raises the error,
    the records before it can be read.
    """
    records: list[Record] = []
    size = path.stat().st_size
    offset = 0
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            length, damage = _read_header(file.read(_HEADER.size))
            end = offset + _HEADER.size + length + _FOOTER.size
            if not damage and end > size:
                damage = f"the file ends at byte {size}, the record would end at byte {end}"
            records.append(
                Record(path=path, number=len(records), offset=offset, length=length, damage=damage)
            )
            if damage:
                break
            offset = end
    return records


def read_record(record: Record) -> memoryview:
    """The content of one record.

    Raises:
        ValueError: it is damaged; the message names file, record and byte.
    """
    damage = record.damage
    if not damage:
        with record.path.open("rb") as file:
            file.seek(record.offset + _HEADER.size)
            content = memoryview(file.read(record.length))
            footer = file.read(_FOOTER.size)
        if len(content) == record.length and len(footer) == _FOOTER.size:
            if _FOOTER.unpack(footer)[0] == masked_crc32c(content):
                return content
            damage = f"the checksum of its {record.length} bytes is wrong"
        else:
            damage = "the file became shorter since it was opened"
    raise UserError(
        f"{record.path}, record {record.number}, byte {record.offset}: {damage}; copy the file "
        "again, or leave the episode out (the others can be read)"
    )


def write_records(path: Path, contents: Iterable[bytes]) -> None:
    """Write a TFRecord file."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for content in contents:
            length = struct.pack("<Q", len(content))
            file.write(length + _FOOTER.pack(masked_crc32c(length)))
            file.write(content + _FOOTER.pack(masked_crc32c(content)))


def _read_header(header: bytes) -> tuple[int, str]:
    """The length that a header gives, and what is wrong with the header."""
    if len(header) < _HEADER.size:
        return 0, f"the file ends in the middle of a header ({len(header)} of {_HEADER.size} bytes)"
    length, checksum = _HEADER.unpack(header)
    if checksum != masked_crc32c(header[:8]):
        return 0, "the checksum of its length is wrong, so what follows cannot be found"
    return length, ""
