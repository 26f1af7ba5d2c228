"""Integers under a curve whose shape is told: the exact distribution of the factorised prior.

A table is a Laplace table times a correction, whose logarithm is linear between *knots*: magnitudes at fixed multiples
of the scale. The corrections at the knots, relative to that at zero, are the side information, in quarters of a bit.
"""

from __future__ import annotations

import functools
import math
from functools import partial
from typing import ClassVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.adaptive import CONSTANT, TensorModel
from inrzip.codecs.bit_counter import cost_of
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.side_numbers import AdaptiveNumber
from inrzip.codecs.static_choice import best_static, histogram, histogram_cost
from inrzip.codecs.static_tables import (
    StaticTable,
    as_values,
    decode_under,
    encode_under,
    parametric_table,
    split_under,
)
from inrzip.codecs.tensor_header import HeaderCoder
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import Family, cumulative_frequencies, limit, mass_table, spread_256

KNOTS_8 = (4, 8, 16, 24, 36, 52)
"""Knots after the one at zero, as eighths of the scale. After the last, the correction stays what it is there."""
QUARTERS = 4  # corrections are quarters of a bit
MAX_CORRECTION = 32  # 8 bits
_FINE = 16  # steps, per quarter of a bit, of corrections between knots
_POWER_BITS = 22
_MOVES = (4, 2, 1)  # by which the search changes a correction, in quarters of a bit

Corrections = tuple[int, ...]


class ShapedTables:
    """An `IntegerCoder`: each tensor's `TensorModel`, corrections and values."""

    number: ClassVar[int] = 4

    def __init__(self) -> None:
        self._models = HeaderCoder()  # of which the steps are not used
        self._changes = [AdaptiveNumber(2 * 256) for _ in KNOTS_8]
        self._before: Corrections = (0,) * len(KNOTS_8)

    def cost(self, values: Int[ndarray, "..."]) -> int:
        """See `IntegerCoder`."""
        return cost_of(self, lambda coder, encoder: coder.encode(encoder, values))

    def encode(self, encoder: RangeEncoder, values: Int[ndarray, "..."]) -> None:
        """See `IntegerCoder`."""
        if not values.size:
            return
        flat = values.astype(np.int64).ravel()
        model = best_static(flat, [Family.LAPLACE], partial(self._models.model_cost, rank=values.ndim))
        self._models.encode_model(encoder, model, values.ndim)
        if model.scale != CONSTANT:
            corrections = self._choose(flat, model)
            self._encode_corrections(encoder, corrections)
            encode_under(encoder, flat, shaped_table(model, corrections))

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...]) -> Int[ndarray, "..."]:
        """See `IntegerCoder`."""
        if 0 in shape:
            return np.zeros(shape, np.int32)
        model = self._models.decode_model(decoder, len(shape))
        if model.scale == CONSTANT:
            return as_values(np.full(shape, model.centre, np.int64))
        pairs = zip(self._before, self._changes, strict=True)
        self._before = tuple(before + number.decode(decoder) for before, number in pairs)
        if max(map(abs, self._before)) > MAX_CORRECTION:
            raise CorruptFile("the coded weights are damaged: a curve is out of range; get the file again")
        table = shaped_table(model, self._before)
        return decode_under(decoder, math.prod(shape), table).reshape(shape)

    def _encode_corrections(self, encoder: RangeEncoder, corrections: Corrections) -> None:
        for number, before, correction in zip(self._changes, self._before, corrections, strict=True):
            number.encode(encoder, correction - before)
        self._before = corrections

    def _choose(self, values: Int[ndarray, " n"], model: TensorModel) -> Corrections:
        """Corrections that no single change makes cheaper."""
        counted = histogram(split_under(values, parametric_table(model))[0])

        def price(corrections: Corrections) -> int:
            side = cost_of(self, lambda coder, encoder: coder._encode_corrections(encoder, corrections))
            return histogram_cost(counted, shaped_table(model, corrections)) + side

        best = min(((0,) * len(KNOTS_8), self._before), key=price)
        least = price(best)
        for move in _MOVES:
            improving = True
            while improving:
                improving = False
                for changed in _changed(best, move):
                    cost = price(changed)
                    if cost < least:
                        best, least, improving = changed, cost, True
        return best


def _changed(corrections: Corrections, move: int) -> list[Corrections]:
    """With one correction, or it and all after it, moved."""
    found = []
    for i in range(len(corrections)):
        for j in (i + 1, len(corrections)):
            for change in (-move, move):
                moved = (*corrections[:i], *(c + change for c in corrections[i:j]), *corrections[j:])
                if max(map(abs, moved)) <= MAX_CORRECTION:
                    found.append(moved)
    return found


@functools.lru_cache(maxsize=2048)
def shaped_table(model: TensorModel, corrections: Corrections) -> StaticTable:
    """The table of a model that is not constant, with its corrections."""
    top = limit(model.table)
    exponents = _exponents(top, spread_256(model.table), corrections)
    masses = mass_table(Family.LAPLACE, model.table) * _powers()[exponents + MAX_CORRECTION * _FINE]
    plain = parametric_table(model)
    return StaticTable(cumulative_frequencies(masses >> _POWER_BITS), plain.shift, plain.centre)


def _exponents(top: int, spread: int, corrections: Corrections) -> Int[ndarray, " symbols"]:
    """The logarithm of the correction of each symbol, in fine steps; the escape has that of the top."""
    knots = np.array([0, *(spread * knot for knot in KNOTS_8)])  # in 1 / 2048
    heights = _FINE * np.array([0, *corrections])
    x = np.minimum(np.abs(np.arange(-top, top + 2)) << 11, knots[-1])
    right = np.maximum(1, np.searchsorted(knots, x))
    left = right - 1
    rise = (heights[right] - heights[left]) * (x - knots[left]) // np.maximum(1, knots[right] - knots[left])
    exponents: Int[ndarray, " symbols"] = heights[left] + rise
    exponents[-1] = exponents[-2]
    return exponents


@functools.cache
def _powers() -> Int[ndarray, " exponents"]:
    """`2^(_POWER_BITS + i / (4 _FINE))` for all exponents, from -MAX_CORRECTION * _FINE on."""
    precision, per_bit = 62, QUARTERS * _FINE
    root = 2 << precision
    for _ in range(per_bit.bit_length() - 1):
        root = math.isqrt(root << precision)  # 2^(1/2), 2^(1/4), .. 2^(1/64)
    powers, lowest = [], -MAX_CORRECTION * _FINE
    for i in range(2 * MAX_CORRECTION * _FINE + 1):
        octaves, step = divmod(lowest + i, per_bit)
        power = 1 << precision
        for _ in range(step):
            power = power * root >> precision
        powers.append(power >> (precision - _POWER_BITS - octaves))
    return np.array(powers, np.int64)
