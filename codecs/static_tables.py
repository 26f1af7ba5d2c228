"""Coding of integers under one fixed table of probabilities: what the exact distributions of priors come down to."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.adaptive import TensorModel, decode_low_bits, encode_low_bits
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import TOTAL_BITS, cumulative_frequencies, mass_table

STATIC = 1  # in ADAPTATIONS: the table never changes


@dataclasses.dataclass(frozen=True)
class StaticTable:
    """The symbols -top .. top and an escape, starting at `cumulative` out of `2**TOTAL_BITS`. A symbol is a value less
    `centre`, without its `shift` low bits, which are coded as they are.
    """

    cumulative: Int[ndarray, " symbols+1"]
    shift: int = 0
    centre: int = 0

    @property
    def top(self) -> int:
        return len(self.cumulative) // 2 - 1

    @property
    def order(self) -> int:
        """Of the escapes' Exp-Golomb code."""
        return max(0, self.top.bit_length() - 2)


def parametric_table(model: TensorModel) -> StaticTable:
    """The fixed table of a model that is not `CONSTANT`."""
    return StaticTable(_cumulative(model), model.shift, model.centre)


@functools.lru_cache(maxsize=512)
def _cumulative(model: TensorModel) -> Int[ndarray, " symbols+1"]:
    return cumulative_frequencies(mass_table(model.family, model.table))


def encode_under(encoder: RangeEncoder, values: Int[ndarray, " n"], table: StaticTable) -> None:
    """Codes int64 values, of the range of int32: all symbols, then what escapes stand for, then all low bits."""
    bins, low_bits = split_under(values, table)
    symbols = symbols_under(bins, table)
    starts = table.cumulative[symbols]
    encoder.encode_block(starts, table.cumulative[symbols + 1] - starts, TOTAL_BITS)
    beyond = bins[symbols > 2 * table.top]
    encoder.encode_escapes(beyond - np.sign(beyond) * table.top, table.order)
    encode_low_bits(encoder, low_bits, table.shift)


def decode_under(decoder: RangeDecoder, n: int, table: StaticTable) -> Int[ndarray, " n"]:
    """Reads `n` values, as int32. Raises `CorruptFile`."""
    symbols = decoder.decode_block(table.cumulative, n, TOTAL_BITS)
    bins = symbols - table.top
    escaped = np.flatnonzero(symbols > 2 * table.top)
    beyond = decoder.decode_escapes(len(escaped), table.order)
    bins[escaped] = beyond + np.sign(beyond) * table.top
    half = (1 << table.shift) >> 1
    return as_values((bins << table.shift) + decode_low_bits(decoder, n, table.shift) - half + table.centre)


def as_values(values: Int[ndarray, "*shape"]) -> Int[ndarray, "*shape"]:
    """Decoded numbers as int32. Raises `CorruptFile` for such as no encoder has."""
    if values.size and (values.min() < -(1 << 31) or values.max() >= 1 << 31):
        raise CorruptFile("the coded weights are damaged: a value is out of range; get the file again")
    return values.astype(np.int32)


def split_under(values: Int[ndarray, " n"], table: StaticTable) -> tuple[Int[ndarray, " n"], Int[ndarray, " n"]]:
    """The bins of values, and the low bits that bins leave out."""
    offset = values - table.centre + ((1 << table.shift) >> 1)
    return offset >> table.shift, offset & ((1 << table.shift) - 1)


def symbols_under(bins: Int[ndarray, " n"], table: StaticTable) -> Int[ndarray, " n"]:
    """The bins' symbols; the last symbol is the escape."""
    return np.where(np.abs(bins) <= table.top, bins + table.top, 2 * table.top + 1)
