"""The head of an `.inrz` file: the signal's description, the architecture and the index (docs/format.md, "Header")."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from . import wire
from .errors import CorruptFile, UnsupportedSignal
from .limits import (
    DEFAULT_RANGES,
    MAX_DIMENSION,
    MAX_KEY_BYTES,
    MAX_META_BYTES,
    MAX_RANK,
    MAX_SEGMENTS,
    MAX_TRACKS,
    META_KEYS,
    RANKS,
    USUAL_FORMATS,
    check_spec,
)
from .signal import SAMPLE_TYPES, Kind, MetaValue, Spec

MAGIC = b"\x8dIZ"
VERSION = 8
VERSIONS = (1, 2, 3, 4, 5, 6, 7, 8)
"""What this package reads; it writes the last. They differ in the weight stream (see `inrzip.codecs.weights`), in large
pictures of latent grids (`inrzip.grid_payload`), in blocks of latents (`inrzip.posterior_payload`), and in what the
header may say.
"""
LOSSLESS_FROM = 5
"""Format version that had lossless files first."""
FIXED_BYTES = 5  # magic, version and kind, sample type and flags

# Byte 3: version in the high half, then one flag, then the kind.
USUAL_FORMAT = 0x08
KIND_MASK = 0x07
COLLECTION = 7  # in place of a kind: a file of several signals (see `inrzip.collection`)
# Byte 4: sample type in the high half, then two flags, then a code for the channels.
INDEXED = 0x08
EXTRAS = 0x04
CHANNEL_MASK = 0x03
CHANNEL_CODES = (1, 3, 4)  # code 3: the number follows as a byte
CHANNELS_FOLLOW = 3
# The extras byte.
HIGH_SHIFT, HIGH_MASK = 0, 0x03
LOW_SHIFT, LOW_MASK = 2, 0x07
HAS_META = 0x20
LOSSLESS = 0x40
RESERVED_EXTRAS = 0x80

SPELLED_OUT = 0  # the key number of a metadata key that has none

TrackMode = Literal["copy", "inr"]
TRACK_MODES: tuple[TrackMode, ...] = get_args(TrackMode)


@dataclasses.dataclass(frozen=True)
class Header:
    """What a reader knows before it reads any segment.

    Raises `UnsupportedSignal` for a spec that the file format has no place for, and for more than 2^20 segments.

    - `architecture`: the registered number (0 to 255) of the network's architecture; opaque here.
    - `segment_length`: rows of axis 0 that one segment holds, at least 1; more than `spec.shape[0]` is taken as that.
    - `version`: of the file format.
    - `lossless`: whether segments decode to the samples of the original, bit by bit (see `inrzip.exact`).
    """

    spec: Spec
    architecture: int
    segment_length: int
    version: int = VERSION
    lossless: bool = False

    def __post_init__(self) -> None:
        check_spec(self.spec)
        if not 0 <= self.architecture <= 0xFF:
            raise ValueError(f"`architecture` is {self.architecture}; it is stored in a byte: 0 to 255")
        if self.segment_length < 1:
            raise ValueError(f"`segment_length` is {self.segment_length}; it is at least 1")
        object.__setattr__(self, "segment_length", min(self.segment_length, self.spec.shape[0]))
        if self.n_segments > MAX_SEGMENTS:
            raise UnsupportedSignal(f"{self.n_segments} segments; the file format holds 2^20: make them longer")

    @property
    def n_segments(self) -> int:
        """Number of segments: ceil(spec.shape[0] / segment_length)."""
        return -(-self.spec.shape[0] // self.segment_length)

    def segment_bounds(self, index: int) -> tuple[int, int]:
        """(start, stop) along axis 0 of segment `index`, counted from 0."""
        if not 0 <= index < self.n_segments:
            raise IndexError(f"segment {index} of {self.n_segments}")
        start = index * self.segment_length
        return start, min(start + self.segment_length, self.spec.shape[0])


@dataclasses.dataclass(frozen=True)
class Index:
    """Where the parts of an indexed file are: byte lengths, in the order in which they lie in the file."""

    segments: Sequence[int]
    tracks: Sequence[tuple[TrackMode, int]]


# ---- writing ----


def encode_header(header: Header, index: Index | None) -> bytes:
    """The bytes before a plain file's payload (`index` None), or before the checksum of an indexed file's head.

    Raises `UnsupportedSignal` for metadata or an index beyond the format's limits."""
    spec = header.spec
    extras = _encode_extras(spec, header.lossless)
    code = CHANNEL_CODES.index(spec.channels) if spec.channels in CHANNEL_CODES else CHANNELS_FOLLOW
    third = header.version << 4 | (USUAL_FORMAT if _has_usual_format(spec) else 0) | spec.kind
    fourth = SAMPLE_TYPES.index(spec.sample_type) << 4 | (INDEXED if index else 0) | (EXTRAS if extras else 0) | code
    body = bytes([spec.channels] if code == CHANNELS_FOLLOW else [])
    body += bytes([len(spec.shape)] if spec.kind == Kind.VOLUME else [])
    body += b"".join(wire.varint(size - 1) for size in spec.shape)
    body += bytes([header.architecture]) + extras
    if index:
        body += _encode_index(header, index)
        body = wire.varint(len(body)) + body
    return MAGIC + bytes([third, fourth]) + body


def _has_usual_format(spec: Spec) -> bool:
    return spec.meta.get("format") == USUAL_FORMATS[spec.kind]


def _encode_extras(spec: Spec, lossless: bool) -> bytes:
    low_default, high_default = DEFAULT_RANGES[spec.sample_type]
    low_form, low = wire.encode_number(float(spec.low), low_default)
    high_form, high = wire.encode_number(float(spec.high), high_default)
    if low and spec.low == -spec.high:
        low_form, low = wire.MINUS_HIGH, b""
    meta = _encode_meta({k: v for k, v in spec.meta.items() if k != "format" or not _has_usual_format(spec)})
    flags = low_form << LOW_SHIFT | high_form << HIGH_SHIFT | (HAS_META if meta else 0) | (LOSSLESS if lossless else 0)
    return bytes([flags]) + low + high + meta if flags else b""


def _encode_meta(meta: Mapping[str, MetaValue]) -> bytes:
    if not meta:
        return b""
    known = [key for key in META_KEYS if key in meta]
    others = sorted(key for key in meta if key not in META_KEYS)  # code points order as their UTF-8 does
    encoded = bytes([len(meta)]) + b"".join(_encode_entry(key, meta[key]) for key in known + others)
    if len(encoded) > MAX_META_BYTES:
        raise UnsupportedSignal(f"metadata of {len(encoded)} bytes; the file format holds {MAX_META_BYTES}")
    return encoded


def _encode_entry(key: str, value: MetaValue) -> bytes:
    try:
        name = key.encode()
        value_type, encoded = wire.encode_value(value)
    except ValueError as error:
        raise UnsupportedSignal(f"metadata {key!r} cannot be stored: {error}") from error
    if key in META_KEYS:
        return bytes([(META_KEYS.index(key) + 1) << 4 | value_type]) + encoded
    if not 1 <= len(name) <= MAX_KEY_BYTES:
        raise UnsupportedSignal(f"a metadata key of {len(name)} bytes; it has 1 to {MAX_KEY_BYTES}")
    return bytes([SPELLED_OUT << 4 | value_type, len(name)]) + name + encoded


def _encode_index(header: Header, index: Index) -> bytes:
    if len(index.segments) != header.n_segments:
        raise ValueError(f"{len(index.segments)} segments; the header says {header.n_segments}")
    if len(index.tracks) > MAX_TRACKS:
        raise UnsupportedSignal(f"{len(index.tracks)} audio tracks; the file format holds {MAX_TRACKS}")
    out = bytearray(wire.varint(header.segment_length - 1))
    for length in index.segments:
        out += wire.varint(length)
    out.append(len(index.tracks))
    for mode, length in index.tracks:
        out.append(TRACK_MODES.index(mode))
        out += wire.varint(length)
    return bytes(out)


# ---- reading ----


def decode_header(head: bytes) -> tuple[Header, Index | None, int]:
    """(header, index, position after them) of a plain file's bytes, or of an indexed head without its checksum.

    The magic and version have been checked. Raises `CorruptFile`, without a file's name, for all else."""
    cursor = wire.Cursor(head, FIXED_BYTES)
    indexed = bool(head[4] & INDEXED)
    if indexed:
        cursor.varint()  # the head's length, by which the caller cut `head`
    spec, architecture, lossless = _decode_spec(head[3], head[4], cursor)
    segment_length = cursor.varint() + 1 if indexed else MAX_DIMENSION
    try:
        header = Header(spec, architecture, segment_length, head[3] >> 4, lossless)
    except UnsupportedSignal as error:  # a spec that no writer would have written
        raise CorruptFile(str(error)) from error
    if indexed and header.segment_length != segment_length:
        raise CorruptFile(f"segments of {segment_length} rows in a signal of {spec.shape[0]}")
    return header, _decode_index(header, cursor) if indexed else None, cursor.position


def _decode_spec(third: int, fourth: int, cursor: wire.Cursor) -> tuple[Spec, int, bool]:
    if fourth >> 4 >= len(SAMPLE_TYPES):
        raise CorruptFile(f"sample type {fourth >> 4}, which this version does not know")
    if third & KIND_MASK not in list(Kind):
        raise CorruptFile(f"a signal of kind {third & KIND_MASK}, which this version does not know")
    kind, sample_type = Kind(third & KIND_MASK), SAMPLE_TYPES[fourth >> 4]
    code = fourth & CHANNEL_MASK
    channels = cursor.byte() if code == CHANNELS_FOLLOW else CHANNEL_CODES[code]
    rank = cursor.byte() if kind == Kind.VOLUME else RANKS[kind][0]
    if rank > MAX_RANK:
        raise CorruptFile(f"a volume of {rank} axes; at most {MAX_RANK} are possible")
    shape = tuple(cursor.varint() + 1 for _ in range(rank))
    architecture = cursor.byte()
    low, high = DEFAULT_RANGES[sample_type]
    meta: dict[str, MetaValue] = {}
    lossless = False
    if fourth & EXTRAS:
        low, high, meta, lossless = _decode_extras(cursor, sample_type, third >> 4)
    if third & USUAL_FORMAT:
        if "format" in meta:
            raise CorruptFile("metadata `format` is given twice")
        meta["format"] = USUAL_FORMATS[kind]
    return Spec(kind, shape, channels, sample_type, low, high, meta), architecture, lossless


def _decode_extras(
    cursor: wire.Cursor, sample_type: str, version: int
) -> tuple[float, float, dict[str, MetaValue], bool]:
    """`low`, `high`, the metadata, and whether the file is lossless."""
    flags = cursor.byte()
    reserved = RESERVED_EXTRAS if version >= LOSSLESS_FROM else RESERVED_EXTRAS | LOSSLESS
    if not flags or flags & reserved:
        raise CorruptFile(f"header flags {flags:#04x}, which this version does not know")
    low_form, high_form = flags >> LOW_SHIFT & LOW_MASK, flags >> HIGH_SHIFT & HIGH_MASK
    low_default, high_default = DEFAULT_RANGES[sample_type]
    mirrored = low_form == wire.MINUS_HIGH
    low = 0.0 if mirrored else wire.decode_number(cursor, low_form, low_default)
    high = wire.decode_number(cursor, high_form, high_default)
    meta = _decode_meta(cursor) if flags & HAS_META else {}
    return -high if mirrored else low, high, meta, bool(flags & LOSSLESS)


def _decode_meta(cursor: wire.Cursor) -> dict[str, MetaValue]:
    inner = wire.Cursor(cursor.data, cursor.position, min(cursor.end, cursor.position + MAX_META_BYTES))
    meta: dict[str, MetaValue] = {}
    last = (0, b"")
    for _ in range(inner.byte()):
        key_number, value_type = divmod(inner.byte(), 16)
        if key_number > len(META_KEYS):
            raise CorruptFile(f"metadata key {key_number}, which this version does not know")
        name = META_KEYS[key_number - 1].encode() if key_number else inner.take(inner.byte())
        key = wire.decode_text(name)
        place = (key_number or len(META_KEYS) + 1, b"" if key_number else name)
        if place <= last or (not key_number and (not key or key in META_KEYS)):
            raise CorruptFile("metadata keys that are out of order, empty or given twice")
        last = place
        meta[key] = wire.decode_value(inner, value_type)
    if not meta:
        raise CorruptFile("metadata without an entry")
    cursor.position = inner.position
    return meta


def _decode_index(header: Header, cursor: wire.Cursor) -> Index:
    if header.n_segments > cursor.remaining:  # each takes a byte here at least
        raise CorruptFile(f"{header.n_segments} segments in an index of {cursor.remaining} bytes")
    segments = [cursor.varint() for _ in range(header.n_segments)]
    tracks = []
    for _ in range(cursor.byte()):
        mode = cursor.byte()
        if mode >= len(TRACK_MODES):
            raise CorruptFile(f"an audio track of mode {mode}, which this version does not know")
        tracks.append((TRACK_MODES[mode], cursor.varint()))
    return Index(segments, tracks)
