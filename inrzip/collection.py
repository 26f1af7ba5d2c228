"""A file of several signals: an index of names and lengths, then files of one signal each. See docs/format.md,
"Collections".

Nothing here looks into a member, but that those of the same header may share it: see `inrzip.shared_heads`. A file of
one signal is read as a collection of one, named after the file.
"""

from __future__ import annotations

import dataclasses
import io
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Self, cast

from . import short_files, wire
from .checks import CHECK_BYTES, CRC_BYTES, check_of, checksum
from .container import MAX_HEAD_BYTES, check_start, naming
from .errors import CorruptFile, InrzipError
from .header import COLLECTION, FIXED_BYTES, KIND_MASK, MAGIC, VERSION, VERSIONS
from .open_file import OpenFile, Source, open_regular, opened
from .shared_heads import choose_heads, fitting_head, whole
from .short_files import SHORT_MAGIC

MAX_MEMBERS = 1 << 20
MAX_NAME_BYTES = 255
FIRST_VERSION = 4
"""Format version that had collections first."""
LEAST_SHARED_BYTES = 1
"""The same with shared heads: its length, at least."""
LEAST_BYTES = 2
"""What a member takes in the index: the lengths of its name and of itself."""
_BARRED = frozenset("/\\")
UNNAMED = "signal"


SHARED = 1
"""The flag of collections whose members share heads."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A member's `name`, and its `length` in bytes, as it lies in the file. With shared heads, the number of its own,
    and what its checksum begins with: nothing if it is a whole file.
    """

    name: str
    length: int
    head: int = 0
    check: bytes = b""


def usable_name(text: str) -> str:
    """A member's name made of a file's: what a name cannot hold becomes `_`."""
    kept = "".join(c if c.isprintable() and c not in _BARRED else "_" for c in text)
    while len(kept.encode()) > MAX_NAME_BYTES:
        kept = kept[:-1]
    return kept or UNNAMED


def check_name(name: str) -> None:
    """Raises InrzipError for a name that the format has no place for."""
    fault = _fault(name)
    if fault:
        raise InrzipError(f"a member cannot be named {name[:40]!r}: {fault}")


def _fault(name: str) -> str | None:
    if not name.isprintable() or not _BARRED.isdisjoint(name):  # lone surrogates are not printable either
        return "it has characters that a file's name should not have"
    if not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
        return f"it takes {len(name.encode())} bytes; 1 to {MAX_NAME_BYTES} are possible"
    return None


def encode_index(entries: Sequence[Entry]) -> bytes:
    """All bytes before the first member. Raises InrzipError for what the format has no room for."""
    if not 1 <= len(entries) <= MAX_MEMBERS:
        raise InrzipError(f"{len(entries)} signals; one file holds 1 to {MAX_MEMBERS}")
    body = wire.varint(len(entries))
    for entry in entries:
        check_name(entry.name)
        name = entry.name.encode()
        body += wire.varint(len(name)) + name + wire.varint(entry.length)
    return _framed(0, body)


def _framed(flags: int, body: bytes) -> bytes:
    if len(body) > MAX_HEAD_BYTES:
        raise InrzipError(f"an index of {len(body)} bytes; one file holds {MAX_HEAD_BYTES}")
    head = MAGIC + bytes([VERSION << 4 | COLLECTION, flags]) + wire.varint(len(body)) + body
    return head + checksum(head)


def encode_shared_index(entries: Sequence[Entry], heads: Sequence[bytes]) -> bytes:
    """The same for members that share heads. Raises InrzipError for what the format has no room for."""
    if not 1 <= len(entries) <= MAX_MEMBERS:
        raise InrzipError(f"{len(entries)} signals; one file holds 1 to {MAX_MEMBERS}")
    for entry in entries:
        check_name(entry.name)
    body = wire.varint(len(entries)) + wire.varint(len(heads))
    body += b"".join(wire.varint(len(head)) + head for head in heads)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    names = packer.compress("".join(entry.name + "\n" for entry in entries).encode()) + packer.flush()
    body += wire.varint(len(names)) + names
    for entry in entries:
        body += (wire.varint(entry.head) if len(heads) > 1 else b"") + wire.varint(entry.length) + entry.check
    return _framed(SHARED, body)


def decode_shared_index(head: bytes, position: int) -> tuple[list[Entry], list[bytes]]:
    """The entries from `position` to the end of `head`, and the heads. Raises CorruptFile."""
    cursor = wire.Cursor(head, position)
    n = cursor.count(LEAST_SHARED_BYTES)
    heads = [cursor.take(cursor.varint()) for _ in range(cursor.count(1))]
    if not 1 <= n <= MAX_MEMBERS or not heads:
        raise CorruptFile(f"it lists {n} signals with {len(heads)} heads")
    names = _unpacked(cursor.take(cursor.varint()), n)
    entries = []
    for name in names:
        number = cursor.varint() if len(heads) > 1 else 0
        if number >= len(heads):
            raise CorruptFile(f"its index names head {number} of {len(heads)}")
        length = cursor.varint()
        entries.append(Entry(name, length, number, cursor.take(CHECK_BYTES) if heads[number] else b""))
    _check_entries(cursor, entries)
    return entries, heads


def _unpacked(data: bytes, n: int) -> list[str]:
    """The names of `n` members."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    most = min(n * (MAX_NAME_BYTES + 1), MAX_HEAD_BYTES)
    try:
        text = unpacker.decompress(data, most)
    except zlib.error as error:
        raise CorruptFile("the names in its index are damaged") from error
    names = text.split(b"\n")
    if not unpacker.eof or unpacker.unused_data or len(names) != n + 1 or names[-1]:
        raise CorruptFile("the names in its index are damaged")
    return [wire.decode_text(name) for name in names[:-1]]


def decode_index(head: bytes, position: int) -> list[Entry]:
    """The entries from `position` to the end of `head`. Raises CorruptFile."""
    cursor = wire.Cursor(head, position)
    n = cursor.count(LEAST_BYTES)
    if not 1 <= n <= MAX_MEMBERS:
        raise CorruptFile(f"it lists {n} signals; 1 to {MAX_MEMBERS} are possible")
    entries = [Entry(wire.decode_text(cursor.take(cursor.varint())), cursor.varint()) for _ in range(n)]
    _check_entries(cursor, entries)
    return entries


def _check_entries(cursor: wire.Cursor, entries: Sequence[Entry]) -> None:
    if cursor.remaining:
        raise CorruptFile(f"its index has {cursor.remaining} bytes too many")
    if any(_fault(entry.name) for entry in entries) or len({entry.name for entry in entries}) < len(entries):
        raise CorruptFile("its index has names that cannot be, or that come twice")


def write_collection(
    path: Path, members: Iterable[tuple[str, bytes]], before: CollectionFile | None = None, shared: bool = False
) -> None:
    """Writes a file of the members of `before`, as they are, and of more. `shared`: what members begin with alike is
    written once. That is so, too, if it is so in `before`.
    """
    added = [(name, data, short_files.whole(data)) for name, data in members]
    kept = [] if before is None else before.entries
    heads = (
        list(before.heads) if before is not None else choose_heads([plain for _, _, plain in added]) if shared else []
    )
    if heads and b"" not in heads and any(fitting_head(plain, heads) is None for _, _, plain in added):
        heads.append(b"")
    entries, parts = list(kept), []
    for name, data, plain in added:
        number = fitting_head(plain, heads) if heads else None
        if number is None:
            entries.append(Entry(name, len(data), heads.index(b"") if heads else 0))
            parts.append(data)
        else:
            parts.append(plain[len(heads[number]) : -CRC_BYTES])
            entries.append(Entry(name, len(parts[-1]), number, check_of(plain[:-CRC_BYTES])))
    with open(path, "wb") as out:
        out.write(encode_shared_index(entries, heads) if heads else encode_index(entries))
        if before is not None:
            for number in range(len(kept)):
                before.copy_stored(number, out)
        for part in parts:
            out.write(part)


class Section(io.RawIOBase):
    """A part of an open file, to be read as a file of its own."""

    def __init__(self, file: OpenFile, start: int, length: int):
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read_at(self._start + self._at, max(0, min(len(buffer), self._length - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


COPY_BYTES = 1 << 20


def is_collection(path: Path | str) -> bool:
    """Whether a file begins as one of several signals does, even if it holds one. A file that cannot be read does
    not.
    """
    try:
        with open_regular(Path(path)) as file:
            start = file.read(FIXED_BYTES)
    except (InrzipError, OSError):
        return False
    return len(start) == FIXED_BYTES and start.startswith(MAGIC) and start[3] & KIND_MASK == COLLECTION


class CollectionFile(OpenFile):
    """An open file of several signals, or of one. A context manager."""

    entries: list[Entry]
    heads: list[bytes]  # that members share; empty where none are shared
    several: bool  # whether it is a collection, even of one, and no file of one signal

    def __init__(self, file: BinaryIO, name: str, owned: bool):
        """Reads the index of `file`; use `CollectionFile.open`."""
        super().__init__(file, name, owned)
        with naming(name):
            start = self.read_at(0, min(self.size, FIXED_BYTES + wire.MAX_VARINT_BYTES))
            check_start(start)
            self.several = not start.startswith(SHORT_MAGIC) and start[3] & KIND_MASK == COLLECTION
            self.heads = []
            if not self.several:
                self.entries, self._starts = [Entry(usable_name(Path(name).stem), self.size)], [0]
                return
            self._open_index(start)

    @classmethod
    def open(cls, source: Source, name: str | None = None) -> Self:
        """Opens a file by its path, its URL, its bytes or an open seekable binary file. Raises as `Container.open`
        does.
        """
        return opened(source, name, cls)

    @property
    def names(self) -> list[str]:
        """Of the members, in order."""
        return [entry.name for entry in self.entries]

    @property
    def overhead(self) -> int:
        """Bytes of the file that belong to no member."""
        return self.size - sum(entry.length for entry in self.entries)

    def find(self, key: int | str) -> int:
        """The number of a member, by its name or its number (from 0; as text, too). Raises InrzipError."""
        if isinstance(key, str) and key in self.names:
            return self.names.index(key)
        n = len(self.entries)
        if isinstance(key, str) and not (key.isdecimal() and key.isascii() and len(key) < 10):
            raise InrzipError(f"{self.name}: has no member {key!r}; `inrzip info` lists what it has")
        number = int(key)
        if not -n <= number < n or (isinstance(key, str) and number < 0):
            raise InrzipError(f"{self.name}: has no member number {number}, only 0 to {n - 1}")
        return number % n

    def section(self, number: int) -> BinaryIO:
        """A member, to be read as a file. Raises CorruptFile if its shared head and what is its own do not fit."""
        if self._has_head(number):
            return io.BytesIO(self._whole(number))
        return cast(BinaryIO, Section(self, self._starts[number], self.entries[number].length))

    def label(self, number: int) -> str:
        """What stands for a member in messages."""
        return f"{self.name}: member {self.entries[number].name}" if self.several else self.name

    def _has_head(self, number: int) -> bool:
        return bool(self.heads and self.heads[self.entries[number].head])

    def _whole(self, number: int) -> bytes:
        """The file that a member with a shared head is."""
        entry = self.entries[number]
        with naming(self.label(number)):
            return whole(self.heads[entry.head], self.read_at(self._starts[number], entry.length), entry.check)

    def copy(self, number: int, out: BinaryIO) -> None:
        """Writes a member to `out`: all bytes of a file of its own."""
        if self._has_head(number):
            data = self._whole(number)
            with naming(self.label(number)):
                out.write(short_files.shortened(data))
        else:
            self.copy_stored(number, out)

    def copy_stored(self, number: int, out: BinaryIO) -> None:
        """Writes a member's bytes to `out` as they lie in the file."""
        start, left = self._starts[number], self.entries[number].length
        while left:
            with naming(self.name):
                piece = self.read_at(start, min(left, COPY_BYTES))
            out.write(piece)
            start, left = start + len(piece), left - len(piece)

    def _open_index(self, start: bytes) -> None:
        known = [version << 4 | COLLECTION for version in VERSIONS if version >= FIRST_VERSION]
        if start[FIXED_BYTES - 1] & ~SHARED or start[3] not in known:
            raise CorruptFile("is a collection of a form that this version does not know; update inrzip")
        cursor = wire.Cursor(start, FIXED_BYTES)
        length = cursor.varint()
        if length > MAX_HEAD_BYTES:
            raise CorruptFile(f"its index claims {length} bytes; at most {MAX_HEAD_BYTES} are possible: it is damaged")
        end = cursor.position + length
        self.check_length(end + CRC_BYTES)
        head = self.read_at(0, end + CRC_BYTES)
        if checksum(head[:end]) != head[end:]:
            raise CorruptFile("its index is damaged (checksum mismatch); get the file again")
        if start[FIXED_BYTES - 1] & SHARED:
            self.entries, self.heads = decode_shared_index(head[:end], cursor.position)
        else:
            self.entries = decode_index(head[:end], cursor.position)
        self._starts, position = [], end + CRC_BYTES
        for entry in self.entries:
            self._starts.append(position)
            position += entry.length
        self.check_length(position)
        if self.size > position:
            raise CorruptFile(f"{self.size - position} bytes follow its end; cut them off, or get the file again")
