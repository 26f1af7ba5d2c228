"""Integers at a fixed width, without any entropy coding: the baseline of all others."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.bit_counter import cost_of
from inrzip.codecs.levels import DAMAGED
from inrzip.codecs.range_coder import MAX_TOTAL_BITS, RangeDecoder, RangeEncoder
from inrzip.codecs.side_numbers import AdaptiveNumber
from inrzip.errors import CorruptFile

MAX_WIDTH = 32
_INT32 = 1 << 31


class RawCoder:
    """An `IntegerCoder`: for each tensor that is not empty its least value, the width of all values' distances from it,
    and these in as many bits. Least values and widths are compared with those of the tensor before.
    """

    number: ClassVar[int] = 6

    def __init__(self) -> None:
        self._widths, self._width = AdaptiveNumber(256), 8
        self._leasts, self._least = AdaptiveNumber(256), 0

    def cost(self, values: Int[ndarray, "..."]) -> int:
        """See `IntegerCoder`."""
        return cost_of(self, lambda coder, encoder: coder.encode(encoder, values))

    def encode(self, encoder: RangeEncoder, values: Int[ndarray, "..."]) -> None:
        """See `IntegerCoder`."""
        if not values.size:
            return
        least, greatest = int(values.min()), int(values.max())
        width = (greatest - least).bit_length()
        self._widths.encode(encoder, width - self._width)
        self._leasts.encode(encoder, least - self._least)
        self._width, self._least = width, least
        distances = values.astype(np.int64).ravel() - least
        for shift, bits in _pieces(width):
            digits = (distances >> shift) & ((1 << bits) - 1)
            encoder.encode_block(digits, np.ones_like(digits), bits)

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...]) -> Int[ndarray, "..."]:
        """See `IntegerCoder`."""
        n = math.prod(shape)
        if not n:
            return np.zeros(shape, np.int32)
        self._width += self._widths.decode(decoder)
        self._least += self._leasts.decode(decoder)
        if not (0 <= self._width <= MAX_WIDTH and -_INT32 <= self._least < _INT32):
            raise CorruptFile(DAMAGED.format("the width of a tensor"))
        values = np.full(n, self._least, np.int64)
        for shift, bits in _pieces(self._width):
            values += np.array(decoder.decode_bits_block(n, bits), np.int64) << shift
        if values.max() >= _INT32:
            raise CorruptFile(DAMAGED.format("a value"))
        return values.astype(np.int32).reshape(shape)


def _pieces(width: int) -> list[tuple[int, int]]:
    """How `width` bits are cut into groups that the range coder takes: (shift, bits), the highest first."""
    pieces = []
    while width > 0:
        bits = min(width, MAX_TOTAL_BITS)
        width -= bits
        pieces.append((width, bits))
    return pieces
