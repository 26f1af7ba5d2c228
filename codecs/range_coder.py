"""A range coder with carry propagation, in integers only.

The interval arithmetic is that of Martin, "Range encoding: an algorithm for removing redundancy from a digitised
message" (1979): a 32-bit range, renormalised a byte at a time. A carry is added straight into the bytes already
written. The decoder keeps the difference between the code and the bottom of the interval, so it needs no carry.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from inrzip.errors import CorruptFile

RANGE_BITS = 32
# a symbol's interval is at least 2^(24-16) wide, so the rounding of `range >> 16` costs < 0.001 bits a symbol
MAX_TOTAL_BITS = 16
_TOP = 1 << RANGE_BITS
_BOTTOM = 1 << (RANGE_BITS - 8)  # below this the range is renormalised
_MASK = _TOP - 1
_LEAD = RANGE_BITS // 8  # bytes that the decoder reads ahead
_SLACK = 2 * _LEAD  # zero bytes that the decoder may assume past the end
_DAMAGED = "the coded weights are damaged or cut short; get the file again"


class RangeEncoder:
    """Codes symbols one after the other into bytes; `RangeDecoder` gives them back in the same order.

    Probabilities are integer intervals of `2**total_bits`, with `1 <= total_bits <= 16`; every interval must have a
    size of at least 1.
    """

    def __init__(self) -> None:
        self._low = 0
        self._range = _MASK
        self._out = bytearray()

    def encode(self, start: int, size: int, total_bits: int) -> None:
        """Codes a symbol that occupies `[start, start + size)` of `[0, 2**total_bits)`."""
        self.encode_block((start,), (size,), total_bits)

    def encode_block(self, starts: Sequence[int], sizes: Sequence[int], total_bits: int) -> None:
        """Codes many symbols, as `encode` does one by one, but several times faster."""
        low, width, out = self._low, self._range, self._out
        for start, size in zip(starts, sizes, strict=True):
            unit = width >> total_bits
            low += start * unit
            width = size * unit
            while width < _BOTTOM:
                if low > _MASK:
                    low -= _TOP
                    _carry(out)
                out.append(low >> 24)
                low = (low << 8) & _MASK
                width <<= 8
        self._low, self._range = low, width

    def encode_bits(self, value: int, n: int) -> None:
        """Codes the `n` low bits of `value >= 0` as they are, the highest 16 first. They must be read with one call of
        the same `n`.
        """
        while n > 0:
            step = min(n, MAX_TOTAL_BITS)
            n -= step
            self.encode((value >> n) & ((1 << step) - 1), 1, step)

    def finish(self) -> bytes:
        """All bytes, the fewest that the decoder needs. The encoder must not be used afterwards."""
        low, out = self._low, self._out
        if low > _MASK:
            low -= _TOP
            _carry(out)
        tail = _roundest(low, self._range)
        if tail > _MASK:
            tail -= _TOP
            _carry(out)
        emitted = len(out)
        out += tail.to_bytes(_LEAD, "big")
        shortest = max(0, emitted + _LEAD - _SLACK)  # the decoder reads `emitted + _LEAD` bytes
        while len(out) > shortest and out[-1] == 0:
            out.pop()
        return bytes(out)


def _carry(out: bytearray) -> None:
    """Adds 1 to the number whose digits are the bytes of `out`."""
    position = len(out) - 1
    while out[position] == 0xFF:
        out[position] = 0
        position -= 1
    out[position] += 1


def _roundest(low: int, width: int) -> int:
    """The number in `[low, low + width)` that ends in the most zero bytes."""
    for shift in range(RANGE_BITS, 0, -8):
        candidate = -(-low >> shift) << shift
        if candidate < low + width:
            return candidate
    return low


class RangeDecoder:
    """Reads what `RangeEncoder` wrote.

    Past the end of `data` it reads zeros, but only a few: every method raises `CorruptFile` once the code wants more
    than an encoder could have left out, or holds a value that no encoder writes. So the work that a hostile stream can
    cause is bounded by its length and by the number of symbols asked for.
    """

    def __init__(self, data: bytes) -> None:
        self._length = len(data)
        self._data = bytes(data) + bytes(_SLACK)
        self._position = _LEAD
        self._code = int.from_bytes(self._data[:_LEAD], "big")
        self._range = _MASK

    def peek(self, total_bits: int) -> int:
        """The point of `[0, 2**total_bits)` that lies in the next symbol's interval; the symbol stays unread."""
        point = self._code // (self._range >> total_bits)
        if point >> total_bits:
            raise CorruptFile(_DAMAGED)
        return point

    def consume(self, start: int, size: int, total_bits: int) -> None:
        """Reads past the symbol that occupies `[start, start + size)`, an interval that holds `peek(total_bits)`."""
        unit = self._range >> total_bits
        self._code -= start * unit
        self._range = size * unit
        while self._range < _BOTTOM:
            if self._position >= len(self._data):
                raise CorruptFile(_DAMAGED)
            self._code = self._code << 8 | self._data[self._position]
            self._position += 1
            self._range <<= 8

    def decode(self, cumulative: Sequence[int], total_bits: int) -> int:
        """The next symbol; `cumulative` holds every symbol's start, in order, and `2**total_bits` at the end."""
        symbol = bisect_right(cumulative, self.peek(total_bits)) - 1
        self.consume(cumulative[symbol], cumulative[symbol + 1] - cumulative[symbol], total_bits)
        return symbol

    def decode_block(self, cumulative: Sequence[int], n: int, total_bits: int) -> list[int]:
        """The next `n` symbols, as `decode` would read them one by one, but several times faster."""
        sizes = [stop - start for start, stop in pairwise(cumulative)]
        data, position, code, width = self._data, self._position, self._code, self._range
        symbols: list[int] = []
        try:
            for _ in range(n):
                unit = width >> total_bits
                symbol = bisect_right(cumulative, code // unit) - 1
                width = sizes[symbol] * unit  # IndexError: a code that no encoder writes
                code -= cumulative[symbol] * unit
                while width < _BOTTOM:
                    code = code << 8 | data[position]  # IndexError: past the end
                    position += 1
                    width <<= 8
                symbols.append(symbol)
        except IndexError:
            raise CorruptFile(_DAMAGED) from None
        self._position, self._code, self._range = position, code, width
        return symbols

    def decode_bits_block(self, n: int, bits: int) -> list[int]:
        """The next `n` numbers of `bits` raw bits each, `bits <= 16`."""
        data, position, code, width = self._data, self._position, self._code, self._range
        numbers: list[int] = []
        try:
            for _ in range(n):
                width >>= bits
                number = code // width
                code -= number * width
                while width < _BOTTOM:
                    code = code << 8 | data[position]  # IndexError: past the end
                    position += 1
                    width <<= 8
                numbers.append(number)
        except IndexError:
            raise CorruptFile(_DAMAGED) from None
        if numbers and max(numbers) >> bits:
            raise CorruptFile(_DAMAGED)
        self._position, self._code, self._range = position, code, width
        return numbers

    def decode_bits(self, n: int) -> int:
        """The next `n` raw bits, as a number."""
        value = 0
        while n > 0:
            step = min(n, MAX_TOTAL_BITS)
            n -= step
            point = self.peek(step)
            self.consume(point, 1, step)
            value = value << step | point
        return value

    def finish(self) -> None:
        """Call after the last symbol: raises `CorruptFile` if bytes are left that no encoder would have written."""
        if self._position < self._length:
            raise CorruptFile(_DAMAGED)
