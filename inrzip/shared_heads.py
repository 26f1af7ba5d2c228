"""What members of a collection begin with alike, so that it is written once: see docs/format.md, "Shared heads".

A head is a number of bytes that several files of one segment begin with: their header, and mostly the configuration of
their network. A member that has one is stored without it and without its checksum, of which two bytes are kept in the
index.
"""

from __future__ import annotations

from collections.abc import Sequence

from .checks import CRC_BYTES, check_of, checksum
from .container import MAX_PLAIN_BYTES
from .errors import CorruptFile
from .header import FIXED_BYTES, INDEXED, decode_header


def whole(head: bytes, own: bytes, check: bytes) -> bytes:
    """The file. Raises CorruptFile if it is not what it was."""
    body = head + own
    if check_of(body) != check:
        raise CorruptFile("is damaged (checksum mismatch); get the file again")
    return body + checksum(body)


def choose_heads(files: Sequence[bytes]) -> list[bytes]:
    """What files of the same header begin with, where there are several. The empty head, of whole files, comes last."""
    groups: dict[bytes, list[bytes]] = {}
    for data in files:
        header = _header(data)
        if header:
            groups.setdefault(header, []).append(data[:-CRC_BYTES])
    heads = [_alike(group) for group in groups.values() if len(group) > 1]
    if not heads:
        return []
    return heads if all(fitting_head(data, heads) is not None for data in files) else [*heads, b""]


def _alike(files: Sequence[bytes]) -> bytes:
    """What all begin with."""
    first, last = min(files), max(files)
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:n]


def fitting_head(data: bytes, heads: Sequence[bytes]) -> int | None:
    """The number of the longest head that a file can do without. None if it is better whole."""
    body = data[:-CRC_BYTES]
    fitting = [i for i, head in enumerate(heads) if head and _header(data) and body.startswith(head)]
    return max(fitting, key=lambda i: len(heads[i])) if fitting else None


def _header(data: bytes) -> bytes:
    """The bytes before the payload of a file of one segment; nothing for other files."""
    if (
        len(data) > MAX_PLAIN_BYTES
        or data[FIXED_BYTES - 1] & INDEXED
        or checksum(data[:-CRC_BYTES]) != data[-CRC_BYTES:]
    ):
        return b""
    _, _, end = decode_header(data[:-CRC_BYTES])
    return data[:end]
