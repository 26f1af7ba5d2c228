"""Small images of learned priors as files of their own, with a head of six bytes: see docs/format.md, "Short files".

A plain file of such an image begins with twelve bytes of which only the size differs from one image to the next, and
ends with four of checksum. A short file has a number in place of what is always alike, and two bytes of the checksum;
a reader makes the plain file of it, and reads that.
"""

from __future__ import annotations

from typing import NamedTuple

from . import wire
from .checks import CHECK_BYTES, CRC_BYTES, check_of, checksum
from .errors import CorruptFile
from .header import CHANNEL_CODES, EXTRAS, FIXED_BYTES, MAGIC, USUAL_FORMAT, Header, encode_header
from .signal import Kind

SHORT_MAGIC = b"\x8dS"
VERSION = 8
"""Of the plain files that are meant: for another there would be another magic."""
PRIORS = (
    (27, 0x9064D0C),
    (27, 0x6E9FB74),
    (29, 0xF7FD2A8),
    (29, 0xA672899),
    (28, 0xDE0F53B),
    (27, 0x59F1906),
    (29, 0x46D4F13),
    (29, 0x5C5DAC5),
    (28, 0x17EDB43),
)
"""Numbers of architectures, and names of the priors of the package. Files name them by their place: none may go."""
FORMATS = (b"", *(bytes([0x20, 1, 0x73, len(name)]) + name for name in (b".jpg", b".jpeg", b".webp")))
"""What the extras say: nothing of a PNG image, the format of others."""
AXES = 2
MOST_BYTES = 1 << 20
"""Of a plain file."""
LEAST_BYTES = len(SHORT_MAGIC) + 1 + AXES + CHECK_BYTES


class Alike(NamedTuple):
    """What plain files of one number have before the size, after it in the header, and at the payload's beginning."""

    before: bytes
    after: bytes
    prior: bytes


def _known() -> list[Alike]:
    found = []
    for architecture, prior in PRIORS:
        for code in range(len(CHANNEL_CODES)):
            for extras in FORMATS:
                third = VERSION << 4 | (0 if extras else USUAL_FORMAT) | Kind.IMAGE
                before = MAGIC + bytes([third, (EXTRAS if extras else 0) | code])
                found.append(Alike(before, bytes([architecture]) + extras, wire.varint(prior)))
    return found


KNOWN = _known()


def shortened(data: bytes) -> bytes:
    """A plain file as a short one, if there is one of it; else as it is."""
    for number, alike in enumerate(KNOWN):
        if not data.startswith(alike.before):
            continue
        end, rest = _end_of_size(data, FIXED_BYTES), alike.after + alike.prior
        if data.startswith(rest, end) and end + len(rest) + CRC_BYTES <= len(data):
            size, own = data[FIXED_BYTES:end], data[end + len(rest) : -CRC_BYTES]
            return SHORT_MAGIC + bytes([number]) + size + own + check_of(data[:-CRC_BYTES])
    return data


def lengthened(data: bytes, partial: bool = False) -> tuple[bytes, bool]:
    """The plain file, without its checksum, that a short one stands for, and whether it is known to be cut short, which
    only `partial` allows. Raises CorruptFile.
    """
    if len(data) < LEAST_BYTES:
        raise CorruptFile(f"is cut short: only {len(data)} bytes are there; get the file again")
    start = len(SHORT_MAGIC)
    if data[start] >= len(KNOWN):
        raise CorruptFile("is of a form that this version does not know, or damaged; update inrzip, or get it again")
    alike, end = KNOWN[data[start]], _end_of_size(data, start + 1)
    head = alike.before + data[start + 1 : end] + alike.after + alike.prior
    if len(head) + len(data) - end - CHECK_BYTES + CRC_BYTES > MOST_BYTES:
        raise CorruptFile(f"is {len(data)} bytes long, too long for a short file: it is damaged")
    body = head + data[end:-CHECK_BYTES]
    if len(data) >= end + CHECK_BYTES and check_of(body) == data[-CHECK_BYTES:]:
        return body, False
    if not partial:
        raise CorruptFile("is damaged or cut short (checksum mismatch); get the file again")
    return head + data[end:], True


def whole(data: bytes) -> bytes:
    """A file as it is, but a short one as a plain one."""
    if not data.startswith(SHORT_MAGIC):
        return data
    body, _ = lengthened(data)
    return body + checksum(body)


def implied_bytes(body: bytes) -> int:
    """How many bytes of the payload of a plain file are not in the short one."""
    end = _end_of_size(body, FIXED_BYTES)
    alike = next(a for a in KNOWN if body.startswith(a.before) and body.startswith(a.after + a.prior, end))
    return len(alike.prior)


def saved_bytes(header: Header) -> int:
    """By how much a file of this head and a prior of the package will be shorter."""
    head = encode_header(header, None)
    shorter = len(SHORT_MAGIC) + 1 + CHECK_BYTES - CRC_BYTES
    savings = [
        sum(map(len, alike)) - shorter
        for alike in KNOWN
        if head.startswith(alike.before) and head.endswith(alike.after)
    ]
    return min(savings, default=0)


def _end_of_size(data: bytes, start: int) -> int:
    """Where the two sides of the image, which begin at `start`, end."""
    cursor = wire.Cursor(data, start)
    for _ in range(AXES):
        cursor.varint()
    return cursor.position
