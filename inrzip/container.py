"""The `.inrz` file: a header, and the byte strings (segments, audio tracks) that it describes. See docs/format.md.

Nothing here knows what is in a segment. A reader fetches the head and then only the segments it wants; every byte it
believes has passed a CRC-32, and whatever is wrong with a file ends in `CorruptFile`.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Self

from . import short_files, wire
from .checks import CRC_BYTES, checksum
from .errors import CorruptFile
from .header import (
    COLLECTION,
    FIXED_BYTES,
    INDEXED,
    KIND_MASK,
    MAGIC,
    VERSION,
    VERSIONS,
    Header,
    Index,
    TrackMode,
    decode_header,
    encode_header,
)
from .open_file import OpenFile, Source, opened
from .short_files import SHORT_MAGIC, shortened
from .signal import AudioTrack

MAX_PLAIN_BYTES = 2**20  # a longer file has an index, so that a reader may read a plain one whole and check it first
MAX_HEAD_BYTES = 16 * 2**20
SPOOL_BYTES = 64 * 2**20  # segments of a streamed file wait in memory up to this, then in a temporary file


def write_container(header: Header, segments: Sequence[bytes], tracks: Sequence[AudioTrack] = ()) -> bytes:
    """The whole file as bytes: plain if it is one segment, of few bytes and without sound, else with an index. Of small
    images of learned priors the plain file is written as a short one: see `inrzip.short_files`.

    Raises `UnsupportedSignal` for what the format has no room for, `ValueError` for a wrong number of segments."""
    _check_count(header, len(segments))
    if len(segments) == 1 and not tracks:
        body = encode_header(header, None) + segments[0]
        if len(body) + CRC_BYTES <= MAX_PLAIN_BYTES:
            return shortened(body + checksum(body))
    head = _encode_head(header, [len(segment) for segment in segments], tracks)
    parts = [*segments, *(track.payload for track in tracks)]
    return b"".join([head, *(piece for part in parts for piece in (part, checksum(part)))])


def write_stream(out: BinaryIO, header: Header, segments: Iterable[bytes], tracks: Sequence[AudioTrack] = ()) -> int:
    """As `write_container`, to a binary file and with segments taken one at a time; returns the file's size in bytes.

    The index precedes the segments, so these wait in a temporary file until the last is there."""
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
        lengths = []
        for segment in segments:
            lengths.append(len(segment))
            spool.write(segment)
            spool.write(checksum(segment))
        _check_count(header, len(lengths))
        spool.seek(0)
        if len(lengths) == 1 and lengths[0] <= MAX_PLAIN_BYTES:
            return out.write(write_container(header, [spool.read(lengths[0])], tracks))
        size = out.write(_encode_head(header, lengths, tracks))
        shutil.copyfileobj(spool, out)
    size += sum(lengths) + CRC_BYTES * len(lengths)
    return size + sum(out.write(track.payload) + out.write(checksum(track.payload)) for track in tracks)


def _check_count(header: Header, n_segments: int) -> None:
    if n_segments != header.n_segments:
        raise ValueError(f"{n_segments} segments were given; the header says {header.n_segments}")


def _encode_head(header: Header, lengths: Sequence[int], tracks: Sequence[AudioTrack]) -> bytes:
    head = encode_header(header, Index(lengths, [(track.mode, len(track.payload)) for track in tracks]))
    return head + checksum(head)


class Container(OpenFile):
    """An open `.inrz` file. Made by `Container.open`; a context manager. Several threads may read from it."""

    header: Header
    cut: bool  # whether it is known to have been cut short, and is read all the same

    def __init__(self, file: BinaryIO, name: str, owned: bool, partial: bool = False):
        """Reads the head of `file`; use `Container.open`. `owned`: `close` closes it."""
        super().__init__(file, name, owned)
        self._partial = partial
        with naming(name):
            start = self.read_at(0, min(self.size, FIXED_BYTES + wire.MAX_VARINT_BYTES))
            check_start(start)
            self._indexed, self._implied = False, 0
            if start.startswith(SHORT_MAGIC):
                self._open_short()
                return
            if start[3] & KIND_MASK == COLLECTION:
                raise CorruptFile("is a collection of signals; name one (--member; in Python, inrzip.open_all)")
            self._indexed = bool(start[FIXED_BYTES - 1] & INDEXED)
            if self._indexed:
                self._open_indexed(start)
            else:
                self._open_plain()

    @classmethod
    def open(cls, source: Source, name: str | None = None, partial: bool = False) -> Self:
        """Opens a file by its path, its URL, its bytes or an open seekable binary file, and reads its header and index
        only.

        `name` stands for the file in messages. Raises `CorruptFile` for what is no valid `.inrz` file, `InrzipError`
        for what cannot be opened at all. `close` closes the file of a path; one given open stays the caller's.

        `partial`: a file that was cut short is read as far as it goes, unchecked; `cut` then is true."""
        return opened(source, name, functools.partial(cls, partial=partial))

    @property
    def n_tracks(self) -> int:
        """Number of audio tracks; reads nothing."""
        return len(self._tracks)

    @property
    def tracks(self) -> list[AudioTrack]:
        """All audio tracks, read and checked at each use; of a file that was cut short, those that are there."""
        first = self.header.n_segments
        return [
            AudioTrack(mode, self._part(first + i)) for i, (mode, _) in enumerate(self._tracks) if self._ends(first + i)
        ]

    @property
    def n_whole(self) -> int:
        """Segments that are there from their first byte to the last: all, unless the file was cut short."""
        return sum(map(self._ends, range(self.header.n_segments)))

    def segment(self, index: int) -> bytes:
        """The payload of segment `index` (0 to `header.n_segments - 1`), read now and checked."""
        self.header.segment_bounds(index)  # raises IndexError
        return self._part(index)

    @property
    def overhead(self) -> int:
        """Bytes of the file that are neither segment nor track: header, index and checksums."""
        return self.size - sum(self._lengths) + self._implied

    def verify(self) -> None:
        """Reads and checks every byte; raises `CorruptFile` at the first part that is damaged."""
        for index in range(len(self._lengths)):
            self._part(index)

    def _open_short(self) -> None:
        if self.size > MAX_PLAIN_BYTES:  # it need not be read
            raise CorruptFile(f"is {self.size} bytes long, too long for a short file: it is damaged")
        data, self.cut = short_files.lengthened(self.read_at(0, self.size), self._partial)
        self._implied = short_files.implied_bytes(data)
        self._parse_plain(data)

    def _open_plain(self) -> None:
        if self.size > MAX_PLAIN_BYTES:
            raise CorruptFile(f"is {self.size} bytes long, but a file without index has at most 2^20: it is damaged")
        data = self.read_at(0, self.size)
        self.cut = self._partial and checksum(data[:-CRC_BYTES]) != data[-CRC_BYTES:]
        if not self.cut:
            _check_plain(data)
            data = data[:-CRC_BYTES]
        self._parse_plain(data)

    def _parse_plain(self, data: bytes) -> None:
        """`data`: without its checksum."""
        self._plain = data
        self.header, _, start = _decode(data)
        self._tracks: Sequence[tuple[TrackMode, int]] = []
        self._lengths = [len(data) - start]
        self._offsets = [start]

    def _open_indexed(self, start: bytes) -> None:
        cursor = wire.Cursor(start, FIXED_BYTES)
        length = cursor.varint()
        if length > MAX_HEAD_BYTES:
            raise CorruptFile(f"its head claims {length} bytes; at most {MAX_HEAD_BYTES} are possible: it is damaged")
        end = cursor.position + length
        self.check_length(end + CRC_BYTES)
        data = self.read_at(0, end + CRC_BYTES)
        if checksum(data[:end]) != data[end:]:
            raise CorruptFile("its head is damaged (checksum mismatch); get the file again")
        self.header, index, position = _decode(data[:end])
        assert index is not None
        if position != end:
            raise CorruptFile(f"its head has {end - position} bytes too many")
        self._tracks = index.tracks
        self._lengths = [*index.segments, *(length for _, length in index.tracks)]
        self._offsets = []
        position += CRC_BYTES
        for length in self._lengths:
            self._offsets.append(position)
            position += length + CRC_BYTES
        self.cut = self._partial and self.size < position
        if not self.cut:
            self.check_length(position)
        if self.size > position:
            raise CorruptFile(f"{self.size - position} bytes follow its end; cut them off, or get the file again")

    def _ends(self, index: int) -> bool:
        """Whether a part does not end early."""
        return not self.cut or (self._indexed and self._offsets[index] + self._lengths[index] + CRC_BYTES <= self.size)

    def _part(self, index: int) -> bytes:
        length, offset = self._lengths[index], self._offsets[index]
        with naming(self.name):
            if not self._indexed:
                return self._plain[offset : offset + length]
            if not self._ends(index):
                return self.read_at(min(offset, self.size), max(0, min(length, self.size - offset)))
            both = self.read_at(offset, length + CRC_BYTES)
            part = both[:length]
            if checksum(part) != both[length:]:
                first_track = self.header.n_segments
                what = f"segment {index}" if index < first_track else f"audio track {index - first_track}"
                raise CorruptFile(f"{what} is damaged (checksum mismatch); get the file again")
            return part


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Puts the file's name before what is wrong with it."""
    try:
        yield
    except CorruptFile as error:
        raise CorruptFile(f"{name}: {error}") from error


def _decode(head: bytes) -> tuple[Header, Index | None, int]:
    try:
        return decode_header(head)
    except CorruptFile as error:
        raise CorruptFile(f"its header is invalid ({error}); get the file again, or update inrzip") from error


def check_start(start: bytes) -> None:
    """Magic and version, as far as they are there."""
    if not start:
        raise CorruptFile("is empty")
    if start.startswith(SHORT_MAGIC):
        return
    if not start.startswith(MAGIC[: len(start)]):
        raise CorruptFile(f"is not an .inrz file (it starts with {start[:3].hex(' ')}, not {MAGIC.hex(' ')})")
    if len(start) <= FIXED_BYTES + CRC_BYTES:
        raise CorruptFile(f"is cut short: only {len(start)} bytes are there; get the file again")
    version = start[3] >> 4
    if version > VERSION:
        raise CorruptFile(f"was made by a newer inrzip (format {version}; this one reads {VERSION}); update inrzip")
    if version not in VERSIONS:
        raise CorruptFile(f"has format version {version}, which never was; it is damaged, get it again")


def _check_plain(data: bytes) -> None:
    """The checksum at the end of a plain file. Where it is wrong, bytes added at the end are told from other damage."""
    if checksum(data[:-CRC_BYTES]) == data[-CRC_BYTES:]:
        return
    crc = 0
    for end in range(len(data) - CRC_BYTES):
        if crc.to_bytes(CRC_BYTES, "little") == data[end : end + CRC_BYTES]:
            extra = len(data) - end - CRC_BYTES
            raise CorruptFile(f"{extra} bytes follow its end; cut them off, or get the file again")
        crc = zlib.crc32(data[end : end + 1], crc)
    raise CorruptFile("is damaged or cut short (checksum mismatch); get the file again")
