"""The checksum of TFRecord files: CRC-32C (Castagnoli), computed many bytes at a time by numpy.

Checksums are linear over GF(2), so a message is cut into lanes that are worked through together;
the lanes' registers are then folded in pairs by moving the left one past the right one's bytes.
"""

from functools import cache

import numpy as np
from jaxtyping import UInt8, UInt32

POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed."""
LANE_BYTES_LOG2 = 8
_FEW_BYTES = 1024
"""Up to here one byte after the other is faster."""
_ALL_ONES = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of some bytes, as in RFC 3720."""
    if len(data) <= _FEW_BYTES:
        register = _ALL_ONES
        for byte in data:
            register = _byte_list()[(register ^ byte) & 0xFF] ^ register >> 8
        return register ^ _ALL_ONES
    content = np.frombuffer(data, np.uint8)
    started = _ALL_ONES
    for bit in range(len(content).bit_length()):
        if len(content) >> bit & 1:
            started = int(_apply(_move(bit), np.array([started], np.uint32))[0])
    return started ^ _register(content) ^ _ALL_ONES


def masked_crc32c(data: bytes | memoryview) -> int:
    """The checksum as TFRecord files keep it: rotated and moved, so that it is no CRC of itself."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _ALL_ONES


def _register(content: UInt8[np.ndarray, " n"]) -> int:
    """The shift register after all bytes, begun at zero."""
    lane_bytes = 1 << LANE_BYTES_LOG2
    lanes = -(-len(content) // lane_bytes)
    # A register of zero stays zero through leading zeros.
    padded = np.zeros(lanes * lane_bytes, np.uint8)
    padded[len(padded) - len(content) :] = content
    registers = np.zeros(lanes, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(lanes, lane_bytes).T):
        registers = _byte_table()[(registers ^ column) & 0xFF] ^ (registers >> 8)
    for level in range(LANE_BYTES_LOG2, 64):
        if len(registers) <= 1:
            break
        if len(registers) % 2:
            registers = np.concatenate([np.zeros(1, np.uint32), registers])
        registers = _apply(_move(level), registers[0::2]) ^ registers[1::2]
    return int(registers[0]) if len(registers) else 0


@cache
def _byte_table() -> UInt32[np.ndarray, "256"]:
    """The register after one byte."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)


@cache
def _byte_list() -> list[int]:
    """The table as plain numbers."""
    return _byte_table().tolist()


@cache
def _move(level: int) -> UInt32[np.ndarray, "32"]:
    """The place of each bit of a register after 2 ** level zero bytes."""
    if level:
        return _apply(_move(level - 1), _move(level - 1))
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    return _byte_table()[bits & 0xFF] ^ (bits >> 8)


def _apply(moved: UInt32[np.ndarray, "32"], registers: UInt32[np.ndarray, " n"]) -> np.ndarray:
    """Registers moved on: the exclusive or of where their bits go."""
    result = np.zeros_like(registers)
    for bit in range(32):
        result ^= np.where(registers >> np.uint32(bit) & 1, moved[bit], np.uint32(0))
    return result
