"""A range coder with carry propagation, in integers only.

The interval arithmetic is that of Martin, "Range encoding: an algorithm for removing redundancy from a digitised
message" (1979): a 32-bit range, renormalised a byte at a time. A carry is added straight into the bytes already
written. The decoder keeps the difference between the code and the bottom of the interval, so it needs no carry.

The loops are in `inrzip.codecs.kernels`; a coder whose own loops are compiled calls its kernels with the `state` here
and with `room` or `data`, and so codes into the same stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from inrzip.codecs import kernels
from inrzip.codecs.kernels import BYTES_PER_SYMBOL, CODE, LENGTH, LOW, MASK, POSITION, RANGE, RANGE_BITS, TOP
from inrzip.errors import CorruptFile

# a symbol's interval is at least 2^(24-16) wide, so the rounding of `range >> 16` costs < 0.001 bits a symbol
MAX_TOTAL_BITS = 16
_LEAD = RANGE_BITS // 8  # bytes that the decoder reads ahead
_SLACK = 2 * _LEAD  # zero bytes that the decoder may assume past the end
_ESCAPE_SYMBOLS = 40  # an escape's raw bits are fewer symbols
_DAMAGED = "the coded weights are damaged or cut short; get the file again"


class RangeEncoder:
    """Codes symbols one after the other into bytes; `RangeDecoder` gives them back in the same order.

    Probabilities are integer intervals of `2**total_bits`, with `1 <= total_bits <= 16`; every interval must have a
    size of at least 1, and lie within: else `ValueError`.
    """

    def __init__(self) -> None:
        self.state: Int[ndarray, " 3"] = np.array([0, MASK, 0], np.int64)
        self._out: UInt8[ndarray, " capacity"] = np.empty(1024, np.uint8)

    def room(self, n_symbols: int) -> UInt8[ndarray, " capacity"]:
        """The buffer that the bytes are in, with room for so many symbols more."""
        needed = int(self.state[LENGTH]) + BYTES_PER_SYMBOL * n_symbols
        if needed > len(self._out):
            self._out = np.concatenate([self._out, np.empty(needed, np.uint8)])
        return self._out

    def encode(self, start: int, size: int, total_bits: int) -> None:
        """Codes a symbol that occupies `[start, start + size)` of `[0, 2**total_bits)`."""
        self.encode_block((start,), (size,), total_bits)

    def encode_block(
        self, starts: Sequence[int] | Int[ndarray, " n"], sizes: Sequence[int] | Int[ndarray, " n"], total_bits: int
    ) -> None:
        """Codes many symbols, as `encode` does one by one, but many times faster."""
        first, size = np.array(starts, np.int64), np.array(sizes, np.int64)
        if len(first) != len(size):
            raise ValueError(f"{len(first)} starts of intervals, but {len(size)} sizes")
        if not kernels.encode_intervals(self.state, self.room(len(first)), first, size, total_bits):
            raise ValueError(f"an interval does not lie within 2^{total_bits}")

    def encode_bits(self, value: int, n: int) -> None:
        """Codes the `n` low bits of `value >= 0` as they are, the highest 16 first. They must be read with one call of
        the same `n`.
        """
        while n > 0:
            step = min(n, MAX_TOTAL_BITS)
            n -= step
            self.encode((value >> n) & ((1 << step) - 1), 1, step)

    def encode_escapes(self, values: Int[ndarray, " n"], order: int) -> None:
        """Codes int64 numbers other than 0, of less than 33 bits: the sign as a bit, then, as an Exp-Golomb code of
        that order, the magnitude less 1.
        """
        kernels.encode_escapes(self.state, self.room(_ESCAPE_SYMBOLS * len(values)), values, order)

    def encode_with(self, encode: Callable[[], None], price: Callable[[], int]) -> None:
        """Calls `encode`, which codes with kernels of its own into this encoder's `state` and `room`; what that spends,
        in 1 / 4096 bit, is `price()`, for encoders that only count.
        """
        encode()

    def finish(self) -> bytes:
        """All bytes, the fewest that the decoder needs. The encoder must not be used afterwards."""
        low, emitted = int(self.state[LOW]), int(self.state[LENGTH])
        tail = _roundest(low, int(self.state[RANGE]))
        carry, tail = divmod(tail, TOP)
        out = bytearray(self._out[:emitted].tobytes())
        if carry:
            _carry(out)
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
        self.data: UInt8[ndarray, " padded"] = np.frombuffer(bytearray(data) + bytes(_SLACK), np.uint8)
        self.state: Int[ndarray, " 3"] = np.array([int.from_bytes(self.data[:_LEAD], "big"), MASK, _LEAD], np.int64)

    def peek(self, total_bits: int) -> int:
        """The point of `[0, 2**total_bits)` that lies in the next symbol's interval; the symbol stays unread."""
        point = int(self.state[CODE]) // (int(self.state[RANGE]) >> total_bits)
        if point >> total_bits:
            raise CorruptFile(_DAMAGED)
        return point

    def consume(self, start: int, size: int, total_bits: int) -> None:
        """Reads past the symbol that occupies `[start, start + size)`, an interval that holds `peek(total_bits)`."""
        check(kernels.skip_interval(self.state, self.data, start, size, total_bits))

    def decode(self, cumulative: Sequence[int], total_bits: int) -> int:
        """The next symbol; `cumulative` holds every symbol's start, in order, and `2**total_bits` at the end."""
        return int(self.decode_block(cumulative, 1, total_bits)[0])

    def decode_block(
        self, cumulative: Sequence[int] | Int[ndarray, " symbols+1"], n: int, total_bits: int
    ) -> Int[ndarray, " n"]:
        """The next `n` symbols, as `decode` would read them one by one, but many times faster."""
        symbols = np.zeros(n, np.int64)
        starts = np.array(cumulative, np.int64)
        check(kernels.decode_symbols(self.state, self.data, starts, total_bits, symbols))
        return symbols

    def decode_bits_block(self, n: int, bits: int) -> Int[ndarray, " n"]:
        """The next `n` numbers of `bits` raw bits each, `bits <= 16`."""
        numbers = np.zeros(n, np.int64)
        check(kernels.decode_digits(self.state, self.data, bits, numbers))
        return numbers

    def decode_bits(self, n: int) -> int:
        """The next `n` raw bits, as a number."""
        value = 0
        while n > 0:
            step = min(n, MAX_TOTAL_BITS)
            n -= step
            value = value << step | int(self.decode_bits_block(1, step)[0])
        return value

    def decode_escapes(self, n: int, order: int) -> Int[ndarray, " n"]:
        """The next `n` numbers that `encode_escapes` wrote; their magnitudes are below 2^34."""
        values = np.zeros(n, np.int64)
        check(kernels.decode_escapes(self.state, self.data, order, values))
        return values

    @property
    def overrun(self) -> bool:
        """Whether bytes past the end were read as zeros."""
        return int(self.state[POSITION]) > self._length

    def finish(self) -> None:
        """Call after the last symbol: raises `CorruptFile` if bytes are left that no encoder would have written."""
        check(int(self.state[POSITION]) >= self._length)


def check(sound: bool) -> None:
    """Raises `CorruptFile` where a decoding kernel has found damage."""
    if not sound:
        raise CorruptFile(_DAMAGED)
