"""Numbers and small typed values as bytes: the alphabet of the container's header (docs/format.md, "Numbers")."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable

from .errors import CorruptFile
from .signal import MetaValue

VARINT_BITS = 64  # the widest integer a varint may hold
MAX_VARINT_BYTES = 10  # ceil(64 / 7)
MAX_SIGNED = 2**63 - 1

# Value types of metadata, as stored.
INT, FLOAT64, FLOAT32, TEXT, BYTES, INTS, INT_CURVE, FLOATS64, FLOATS32 = range(9)


class Cursor:
    """A place in bytes being parsed. Every read is checked against `end`; running over it raises `CorruptFile`."""

    def __init__(self, data: bytes, position: int = 0, end: int | None = None):
        self.data = data
        self.position = position
        self.end = len(data) if end is None else min(end, len(data))

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return self.end - self.position

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self.remaining:
            raise CorruptFile("a field runs over the end of the header")
        start, self.position = self.position, self.position + count
        return self.data[start : self.position]

    def byte(self) -> int:
        """The next byte as a number."""
        return self.take(1)[0]

    def varint(self) -> int:
        """An unsigned LEB128 number below 2^64. Only the shortest form is accepted: a value has one spelling."""
        value = 0
        for index in range(MAX_VARINT_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if byte == 0 and index:
                    raise CorruptFile("a number is stored longer than it needs to be")
                if value >> VARINT_BITS:
                    break
                return value
        raise CorruptFile("a number is longer than 64 bits")

    def signed(self) -> int:
        """A zigzag number: 0, -1, 1, -2, 2 … stored as 0, 1, 2, 3, 4 …"""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def count(self, item_bytes: int) -> int:
        """A varint that counts items of at least `item_bytes` bytes, all of which must still lie ahead."""
        number = self.varint()
        if number * item_bytes > self.remaining:
            raise CorruptFile("a list is longer than the header that holds it")
        return number


def varint(value: int) -> bytes:
    """`value` (0 to 2^64 - 1) as LEB128: seven bits a byte, lowest first, the high bit set on all but the last."""
    if not 0 <= value < 1 << VARINT_BITS:
        raise ValueError(f"`value` is {value}; a varint holds 0 to 2^64 - 1")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> bytes:
    """`value` (-2^63 to 2^63 - 1) as a zigzag varint: short for small numbers of either sign."""
    return varint(2 * value if value >= 0 else -2 * value - 1)


def fits_float32(value: float) -> bool:
    """Whether float32 holds `value` bit for bit, signed zeros and NaNs included."""
    try:
        narrow = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return False
    return struct.pack("<d", narrow) == struct.pack("<d", value)


def encode_value(value: MetaValue) -> tuple[int, bytes]:
    """(value type, bytes) of the shortest form that gives `value` back exactly.

    Raises `TypeError` for a type that metadata has no place for, `ValueError` for integers beyond 64 bits and for text
    that is not Unicode (lone surrogates)."""
    match value:
        case int():
            return INT, signed(value)
        case float():
            return (FLOAT32, struct.pack("<f", value)) if fits_float32(value) else (FLOAT64, struct.pack("<d", value))
        case str():
            text = value.encode()
            return TEXT, varint(len(text)) + text
        case bytes():
            return BYTES, varint(len(value)) + value
        case tuple():
            return _encode_tuple(value)
    raise TypeError(f"metadata holds int, float, str, bytes and tuples of numbers, not {type(value).__name__}")


def _encode_tuple(values: tuple[int, ...] | tuple[float, ...]) -> tuple[int, bytes]:
    count = varint(len(values))
    if all(isinstance(value, int) for value in values):
        return _encode_ints(tuple(int(value) for value in values), count)
    if not all(isinstance(value, int | float) for value in values):
        raise TypeError("a tuple in metadata holds only numbers")
    floats = [float(value) for value in values]
    narrow = all(map(fits_float32, floats))
    packed = struct.pack(f"<{len(floats)}{'f' if narrow else 'd'}", *floats)
    return FLOATS32 if narrow else FLOATS64, count + packed


def _encode_ints(values: tuple[int, ...], count: bytes) -> tuple[int, bytes]:
    plain = count + b"".join(map(signed, values))
    try:
        curve = count + b"".join(map(signed, _second_differences(values)))
    except ValueError:  # a difference needs more than 64 bits
        return INTS, plain
    return (INT_CURVE, curve) if len(curve) < len(plain) else (INTS, plain)


def _second_differences(values: Iterable[int]) -> Iterable[int]:
    """Near zero for evenly spaced numbers, such as the times of frames."""
    value = slope = 0
    for following in values:
        yield following - value - slope
        value, slope = following, following - value


def decode_value(cursor: Cursor, value_type: int) -> MetaValue:
    """The inverse of `encode_value`. Memory taken is at most about 40 times the bytes read (Python integers)."""
    if value_type >= len(_DECODERS):
        raise CorruptFile(f"metadata of unknown type {value_type}")
    return _DECODERS[value_type](cursor)


def _float32(cursor: Cursor) -> float:
    return float(struct.unpack("<f", cursor.take(4))[0])


def _float64(cursor: Cursor) -> float:
    return float(struct.unpack("<d", cursor.take(8))[0])


def decode_text(data: bytes) -> str:
    """UTF-8 as text; `CorruptFile` if it is none."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CorruptFile("text that is not UTF-8") from error


def _ints(cursor: Cursor) -> tuple[int, ...]:
    return tuple([cursor.signed() for _ in range(cursor.count(1))])


def _int_curve(cursor: Cursor) -> tuple[int, ...]:
    values = []
    value = slope = 0
    for _ in range(cursor.count(1)):
        slope += cursor.signed()
        value += slope
        if not -MAX_SIGNED - 1 <= value <= MAX_SIGNED:  # keeps the sums small, whatever the differences
            raise CorruptFile("a number is longer than 64 bits")
        values.append(value)
    return tuple(values)


def _floats(code: str) -> Callable[[Cursor], tuple[float, ...]]:
    item_bytes = struct.calcsize(f"<{code}")

    def decode(cursor: Cursor) -> tuple[float, ...]:
        number = cursor.count(item_bytes)
        return struct.unpack(f"<{number}{code}", cursor.take(number * item_bytes))

    return decode


_DECODERS: tuple[Callable[[Cursor], MetaValue], ...] = (
    Cursor.signed,
    _float64,
    _float32,
    lambda cursor: decode_text(cursor.take(cursor.count(1))),
    lambda cursor: cursor.take(cursor.count(1)),
    _ints,
    _int_curve,
    _floats("d"),
    _floats("f"),
)

# How one end of the sample range is stored. `DEFAULT` is known from the sample type; only `low` may be `MINUS_HIGH`.
DEFAULT, WHOLE, SINGLE, DOUBLE, MINUS_HIGH = range(5)
MAX_EXACT_WHOLE = 2**53  # up to here every whole number is a float64


def encode_number(value: float, default: float) -> tuple[int, bytes]:
    """(form, bytes) of the shortest form that gives the finite `value` back bit for bit."""
    if _same(value, default):
        return DEFAULT, b""
    forms = [(DOUBLE, struct.pack("<d", value))]
    if fits_float32(value):
        forms.append((SINGLE, struct.pack("<f", value)))
    if value.is_integer() and abs(value) <= MAX_EXACT_WHOLE and not _same(value, -0.0):
        forms.append((WHOLE, signed(int(value))))
    return min(forms, key=lambda form: len(form[1]))


def decode_number(cursor: Cursor, form: int, default: float) -> float:
    """The inverse of `encode_number`; `CorruptFile` for an unknown form or a number that is not finite."""
    match form:
        case 0:
            return default
        case 1:
            return float(cursor.signed())
        case 2:
            value = _float32(cursor)
        case 3:
            value = _float64(cursor)
        case _:
            raise CorruptFile(f"a number of unknown form {form}")
    if not math.isfinite(value):
        raise CorruptFile("a sample range that is not finite")
    return value


def _same(a: float, b: float) -> bool:
    return a == b and math.copysign(1, a) == math.copysign(1, b)
