"""Coding of the few small numbers that describe a tensor: differences of steps and scales, whose spread is learned as
they come.
"""

from __future__ import annotations

import functools
from bisect import bisect_left

from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import (
    N_TABLES,
    TOTAL_BITS,
    Family,
    cumulative_frequencies,
    limit,
    mass_table,
    spread_256,
)

# numbers that a spread is learned from; networks have few tensors, so the first guess must soon be forgotten
_MEMORY = 4
_MAX_BITS = 33  # numbers in a sound stream stay below 2^33


def encode_exp_golomb(encoder: RangeEncoder, value: int, order: int) -> None:
    """Codes `value >= 0` in raw bits: an Exp-Golomb code, shortest for values below `2**order`."""
    shifted = value + (1 << order)
    prefix = shifted.bit_length() - 1 - order
    # one by one, as they are read: a range coder must be asked for the same groups of bits
    for bit in [0] * prefix + [1]:
        encoder.encode_bits(bit, 1)
    encoder.encode_bits(shifted & ((1 << (prefix + order)) - 1), prefix + order)


def decode_exp_golomb(decoder: RangeDecoder, order: int) -> int:
    """Reads what `encode_exp_golomb` wrote; raises `CorruptFile` on a number that is too long."""
    prefix = 0
    while not decoder.decode_bits(1):
        prefix += 1
        if prefix + order > _MAX_BITS:
            raise CorruptFile("the coded weights are damaged: a number is too long; get the file again")
    return (1 << (prefix + order) | decoder.decode_bits(prefix + order)) - (1 << order)


class AdaptiveNumber:
    """The model of one kind of small signed number: a Laplace table as wide as the mean magnitude of those coded so
    far.
    """

    def __init__(self, spread_256: int) -> None:
        """`spread_256`: 256 times the mean magnitude to start from; it counts as one number seen."""
        self._sum_256 = spread_256
        self._count = 1

    @property
    def table(self) -> int:
        """The number of the Laplace table that the next number is coded with."""
        return min(N_TABLES - 1, bisect_left(_spreads(), self._sum_256 // self._count))

    def observe(self, value: int) -> None:
        """Learns from a number."""
        if self._count == _MEMORY:
            self._sum_256 -= self._sum_256 // _MEMORY
            self._count -= 1
        self._sum_256 += 256 * abs(value)
        self._count += 1

    def encode(self, encoder: RangeEncoder, value: int) -> None:
        """Codes `value` and learns from it."""
        top, starts = limit(self.table), _cumulative(self.table)
        symbol = value + top if abs(value) <= top else 2 * top + 1
        encoder.encode(starts[symbol], starts[symbol + 1] - starts[symbol], TOTAL_BITS)
        if symbol > 2 * top:
            encoder.encode_bits(int(value < 0), 1)
            encode_exp_golomb(encoder, abs(value) - top - 1, 0)
        self.observe(value)

    def decode(self, decoder: RangeDecoder) -> int:
        """Reads a number and learns from it."""
        top, starts = limit(self.table), _cumulative(self.table)
        symbol = decoder.decode(starts, TOTAL_BITS)
        value = symbol - top
        if symbol > 2 * top:
            negative = decoder.decode_bits(1)
            magnitude = decode_exp_golomb(decoder, 0) + top + 1
            value = -magnitude if negative else magnitude
        self.observe(value)
        return value

    def frequency(self, value: int) -> tuple[int, int]:
        """What `encode` would spend: a frequency out of `2**16`, and raw bits besides."""
        top, starts = limit(self.table), _cumulative(self.table)
        if abs(value) <= top:
            symbol, raw_bits = value + top, 0
        else:
            symbol, raw_bits = 2 * top + 1, 2 * (abs(value) - top).bit_length()
        return starts[symbol + 1] - starts[symbol], raw_bits


@functools.cache
def _spreads() -> list[int]:
    return [spread_256(table) for table in range(N_TABLES)]


@functools.cache
def _cumulative(table: int) -> list[int]:
    starts: list[int] = cumulative_frequencies(mass_table(Family.LAPLACE, table)).tolist()
    return starts
