"""Checksums of files and of their parts (docs/format.md, "Numbers")."""

from __future__ import annotations

import zlib

CRC_BYTES = 4
CHECK_BYTES = 2


def checksum(data: bytes) -> bytes:
    """CRC-32 (ISO-HDLC, that of zlib and PNG) of `data`, four bytes, lowest first."""
    return zlib.crc32(data).to_bytes(CRC_BYTES, "little")


def check_of(body: bytes) -> bytes:
    """What small files keep of the checksum of one that is `body` and its checksum."""
    return checksum(body)[:CHECK_BYTES]
