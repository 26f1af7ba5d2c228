"""Small numbers of several kinds, each bit coded with a probability that is learned from those before.

A number n >= 0 is written as n + 1 in binary: its length in unary, then its digits below the first. Each bit has a
counter of its own for its kind and for all digits before it: an adaptive binary tree, with the estimator of Krichevsky
and Trofimov ("The performance of universal encoding", 1981), which forgets slowly. Between such numbers there may be
plain bits. Whole numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable

from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.errors import CorruptFile

TOTAL_BITS = 16
"""Also the most plain bits at once."""
GROWTH, MEMORY = 2, 256
"""What a bit adds to its count, and how large both counts together may be before they are halved."""
MOST_DIGITS = 32

Place = Hashable


class NumberCounts:
    """How often each bit was 0 and 1: what encoder and decoder have learned so far."""

    def __init__(self) -> None:
        self._seen: dict[Place, tuple[int, int]] = {}

    def frequency(self, place: Place) -> int:
        """Of a 1, out of 2^16."""
        zeros, ones = self._seen.get(place, (1, 1))
        return 1 + ones * ((1 << TOTAL_BITS) - 2) // (zeros + ones)

    def observe(self, place: Place, bit: int) -> None:
        """Counts a bit that was coded."""
        zeros, ones = self._seen.get(place, (1, 1))
        zeros, ones = zeros + GROWTH * (1 - bit), ones + GROWTH * bit
        if zeros + ones > MEMORY:
            zeros, ones = (zeros + 1) // 2, (ones + 1) // 2
        self._seen[place] = zeros, ones

    def cost(self, kind: Hashable, number: int) -> float:
        """Bits that a number of a kind would take now, about."""
        shares = ((self.frequency(place), bit) for place, bit in _bits(kind, number))
        return sum(TOTAL_BITS - math.log2(ones if bit else (1 << TOTAL_BITS) - ones) for ones, bit in shares)

    def learn(self, kind: Hashable, number: int) -> None:
        """Counts all bits of a number."""
        for place, bit in _bits(kind, number):
            self.observe(place, bit)


def _bits(kind: Hashable, number: int) -> list[tuple[Place, int]]:
    length = (number + 1).bit_length()
    found: list[tuple[Place, int]] = [((kind, "length", i), int(i == length)) for i in range(1, length + 1)]
    for i in range(length - 2, -1, -1):
        found.append(((kind, length, (number + 1) >> (i + 1)), (number + 1) >> i & 1))
    return found


class NumberEncoder:
    """Writes numbers one after the other."""

    def __init__(self) -> None:
        self._counts = NumberCounts()
        self._starts: list[int] = []
        self._sizes: list[int] = []

    def number(self, kind: Hashable, number: int) -> None:
        """A number, 0 to 2^32 - 2."""
        for place, bit in _bits(kind, number):
            ones = self._counts.frequency(place)
            self._starts.append(0 if bit else ones)
            self._sizes.append(ones if bit else (1 << TOTAL_BITS) - ones)
            self._counts.observe(place, bit)

    def plain(self, number: int, bits: int) -> None:
        """So many bits, 16 at most, as they are."""
        self._starts.append(number << (TOTAL_BITS - bits))
        self._sizes.append(1 << (TOTAL_BITS - bits))

    def finish(self) -> bytes:
        """All of it as bytes."""
        encoder = RangeEncoder()
        encoder.encode_block(self._starts, self._sizes, TOTAL_BITS)
        return encoder.finish()


def encode_numbers(numbers: Iterable[tuple[Hashable, int]]) -> bytes:
    """Codes pairs of a kind and a number, 0 to 2^32 - 2, in order."""
    encoder = NumberEncoder()
    for kind, number in numbers:
        encoder.number(kind, number)
    return encoder.finish()


class NumberDecoder:
    """Reads what `NumberEncoder` wrote, if it is told the kinds."""

    def __init__(self, data: bytes) -> None:
        self._decoder = RangeDecoder(data)
        self._counts = NumberCounts()

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

    def plain(self, bits: int) -> int:
        """So many bits. Raises CorruptFile."""
        found = self._decoder.peek(TOTAL_BITS) >> (TOTAL_BITS - bits)
        self._decoder.consume(found << (TOTAL_BITS - bits), 1 << (TOTAL_BITS - bits), TOTAL_BITS)
        return found

    @property
    def overrun(self) -> bool:
        """Whether bytes were wanted that are not there: what was read last may be wrong where data was cut short."""
        return self._decoder.overrun

    def finish(self) -> None:
        """Raises CorruptFile if bytes are left."""
        self._decoder.finish()

    def _bit(self, place: Place) -> int:
        ones = self._counts.frequency(place)
        bit = int(self._decoder.peek(TOTAL_BITS) < ones)
        self._decoder.consume(0 if bit else ones, ones if bit else (1 << TOTAL_BITS) - ones, TOTAL_BITS)
        self._counts.observe(place, bit)
        return bit
