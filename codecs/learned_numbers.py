"""Small numbers of several kinds, each bit coded with a probability that is learned from those before.

A number n >= 0 is written as n + 1 in binary: its length in unary, then its digits below the first. Each bit has a
counter of its own for its kind and for all digits before it: an adaptive binary tree, with the estimator of Krichevsky
and Trofimov ("The performance of universal encoding", 1981), which forgets slowly. Whole numbers only.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.errors import CorruptFile

TOTAL_BITS = 16
GROWTH, MEMORY = 2, 256
"""What a bit adds to its count, and how large both counts together may be before they are halved."""
MOST_DIGITS = 32


class _Counts:
    """How often each bit was 0 and 1."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[int, int]] = {}

    def frequency(self, place: Hashable) -> int:
        """Of a 1, out of 2^16."""
        zeros, ones = self._seen.get(place, (1, 1))
        return 1 + ones * ((1 << TOTAL_BITS) - 2) // (zeros + ones)

    def observe(self, place: Hashable, bit: int) -> None:
        zeros, ones = self._seen.get(place, (1, 1))
        zeros, ones = zeros + GROWTH * (1 - bit), ones + GROWTH * bit
        if zeros + ones > MEMORY:
            zeros, ones = (zeros + 1) // 2, (ones + 1) // 2
        self._seen[place] = zeros, ones


def encode_numbers(numbers: Iterable[tuple[Hashable, int]]) -> bytes:
    """Codes pairs of a kind and a number, 0 to 2^32 - 2, in order."""
    counts, starts, sizes = _Counts(), [], []
    for kind, number in numbers:
        length = (number + 1).bit_length()
        bits: list[tuple[Hashable, int]] = [((kind, "length", i), int(i == length)) for i in range(1, length + 1)]
        for i in range(length - 2, -1, -1):
            bits.append(((kind, length, (number + 1) >> (i + 1)), (number + 1) >> i & 1))
        for place, bit in bits:
            ones = counts.frequency(place)
            starts.append(0 if bit else ones)
            sizes.append(ones if bit else (1 << TOTAL_BITS) - ones)
            counts.observe(place, bit)
    encoder = RangeEncoder()
    encoder.encode_block(starts, sizes, TOTAL_BITS)
    return encoder.finish()


class NumberDecoder:
    """Reads what `encode_numbers` wrote, if it is told the kinds."""

    def __init__(self, data: bytes) -> None:
        self._decoder = RangeDecoder(data)
        self._counts = _Counts()

    def number(self, kind: Hashable) -> int:
        """The next number. Raises CorruptFile."""
        length = 1
        while not self._bit((kind, "length", length)):
            length += 1
            if length > MOST_DIGITS:
                raise CorruptFile("a number is too long; get the file again")
        digits = 1
        for _ in range(length - 1):
            digits = 2 * digits + self._bit((kind, length, digits))
        return digits - 1

    def finish(self) -> None:
        """Raises CorruptFile if bytes are left."""
        self._decoder.finish()

    def _bit(self, place: Hashable) -> int:
        ones = self._counts.frequency(place)
        bit = int(self._decoder.peek(TOTAL_BITS) < ones)
        self._decoder.consume(0 if bit else ones, ones if bit else (1 << TOTAL_BITS) - ones, TOTAL_BITS)
        self._counts.observe(place, bit)
        return bit
