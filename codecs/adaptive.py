"""Adaptive coding of a tensor of integers: a parametric table to start from, blended with the counts of what was seen.

A tensor is described by a `TensorModel`, which the encoder chooses (see `inrzip.codecs.model_choice`) and the decoder
is given. Values are coded in blocks. Within a block the table is fixed, so that the coder's loop is short; after it,
the counts are updated and the table is made anew. The blend is that of Dirichlet-multinomial coding (Krichevsky and
Trofimov, "The performance of universal encoding", 1981), with the parametric table in the place of the uniform one.

A block holds, one after the other: its symbols; the values of those that are the escape; the low bits of all its
values, where the model leaves out low bits. No floating-point number takes part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.range_coder import MAX_TOTAL_BITS, RangeDecoder, RangeEncoder
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import (
    MASS_BITS,
    N_TABLES,
    STEPS_PER_OCTAVE,
    TOTAL_BITS,
    Family,
    cumulative_frequencies,
    limit,
    mass_table,
)

MAX_SHIFT = 27
CONSTANT = 0  # the scale of a tensor whose values are all equal
N_SCALES = 1 + N_TABLES + STEPS_PER_OCTAVE * MAX_SHIFT
_FIRST_BLOCK = 32
_LAST_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """How fast a table follows the data. `prior_weight`: the symbols that the parametric table counts for; 0: the table
    never changes. `memory`: once so many symbols were counted, all counts are halved.
    """

    prior_weight: int
    memory: int


# Chosen by measurement on 64 to 66,049 Laplace, Gaussian, uniform, Student-t and mixed-scale weights: 0 wins below
# about 2,000 weights, 256 above where the family fits, 32 where it does not, and the short memory where the scale
# drifts. A memory of 2^21 keeps all products below 2^63.
ADAPTATIONS = (Adaptation(256, 1 << 21), Adaptation(0, 1 << 21), Adaptation(32, 1 << 21), Adaptation(64, 4096))


@dataclasses.dataclass(frozen=True)
class TensorModel:
    """What the decoder must know of a tensor.

    - `scale`: 0 if all values equal `centre`; else 1 + the scale's number on the ladder of
      `inrzip.priors.integer_tables`, which goes on above its widest table by leaving out low bits.
    - `family`: the parametric table's shape. `adaptation`: index in `ADAPTATIONS`.
    - `centre`: subtracted from all values.
    """

    scale: int
    family: Family = Family.LAPLACE
    adaptation: int = 0
    centre: int = 0

    @property
    def table(self) -> int:
        """The parametric table, 0 to 31."""
        index = self.scale - 1
        return index if index < N_TABLES else N_TABLES - STEPS_PER_OCTAVE + index % STEPS_PER_OCTAVE

    @property
    def shift(self) -> int:
        """How many low bits are coded apart."""
        return max(0, (self.scale - 1 - N_TABLES) // STEPS_PER_OCTAVE + 1)


class AdaptiveTable:
    """The probabilities of the next block's symbols: of bins -limit .. limit, then of the escape."""

    def __init__(self, family: Family, table: int, adaptation: Adaptation) -> None:
        masses = mass_table(family, table)
        self._adaptation = adaptation
        self._prior = masses * max(1, adaptation.prior_weight)
        self._counts = np.zeros(len(masses), np.int64)
        self.cumulative = cumulative_frequencies(self._prior)

    def observe(self, symbols: Int[ndarray, " n"]) -> None:
        """Learns from a block's symbols."""
        if self._adaptation.prior_weight:
            self._counts += np.bincount(symbols, minlength=len(self._counts))
            while int(self._counts.sum()) > self._adaptation.memory:
                self._counts >>= 1
            self.cumulative = cumulative_frequencies(self._prior + (self._counts << MASS_BITS))


def block_ends(n: int) -> Iterator[tuple[int, int]]:
    """Start and end of each block of `n` symbols: 32 symbols, then as many as all before, but never more than 1024."""
    start = 0
    while start < n:
        stop = min(n, start + min(max(start, _FIRST_BLOCK), _LAST_BLOCK))
        yield start, stop
        start = stop


def split(values: Int[ndarray, " n"], model: TensorModel) -> tuple[Int[ndarray, " n"], Int[ndarray, " n"]]:
    """The bins of int64 `values` under `model`, and the low bits that bins leave out."""
    offset = values - model.centre + ((1 << model.shift) >> 1)
    return offset >> model.shift, offset & ((1 << model.shift) - 1)


def symbols_of(bins: Int[ndarray, " n"], table: int) -> Int[ndarray, " n"]:
    """Symbols of `bins`; the last symbol is the escape."""
    top = limit(table)
    return np.where(np.abs(bins) <= top, bins + top, 2 * top + 1)


def escape_order(table: int) -> int:
    """The order of the Exp-Golomb code of what exceeds a table's limit: about half the limit is coded in the shortest
    words.
    """
    return max(0, limit(table).bit_length() - 2)


def encode_values(encoder: RangeEncoder, values: Int[ndarray, " n"], model: TensorModel) -> None:
    """Codes int64 `values`, of the range of int32, under `model`."""
    if model.scale == CONSTANT:
        return
    bins, low_bits = split(values, model)
    symbols = symbols_of(bins, model.table)
    table = AdaptiveTable(model.family, model.table, ADAPTATIONS[model.adaptation])
    for start, stop in block_ends(len(values)):
        block, cumulative = symbols[start:stop], table.cumulative
        starts = cumulative[block]
        encoder.encode_block(starts, cumulative[block + 1] - starts, TOTAL_BITS)
        _encode_escapes(encoder, bins[start:stop], model.table)
        encode_low_bits(encoder, low_bits[start:stop], model.shift)
        table.observe(block)


def decode_values(decoder: RangeDecoder, n: int, model: TensorModel) -> Int[ndarray, " n"]:
    """The `n` values that were coded under `model`, as int32."""
    values = np.full(n, model.centre, np.int64)
    if model.scale != CONSTANT:
        table = AdaptiveTable(model.family, model.table, ADAPTATIONS[model.adaptation])
        half = (1 << model.shift) >> 1
        for start, stop in block_ends(n):
            symbols = decoder.decode_block(table.cumulative, stop - start, TOTAL_BITS)
            bins = _decode_escapes(decoder, symbols, model.table)
            values[start:stop] += (bins << model.shift) + decode_low_bits(decoder, stop - start, model.shift) - half
            table.observe(symbols)
    if n and (values.min() < -(1 << 31) or values.max() >= 1 << 31):
        raise CorruptFile("the coded weights are damaged: a value is out of range; get the file again")
    return values.astype(np.int32)


def _encode_escapes(encoder: RangeEncoder, bins: Int[ndarray, " n"], table: int) -> None:
    top = limit(table)
    beyond = bins[np.abs(bins) > top]
    encoder.encode_escapes(beyond - np.sign(beyond) * top, escape_order(table))


def _decode_escapes(decoder: RangeDecoder, symbols: Int[ndarray, " n"], table: int) -> Int[ndarray, " n"]:
    top = limit(table)
    bins = symbols - top
    escaped = np.flatnonzero(symbols > 2 * top)
    beyond = decoder.decode_escapes(len(escaped), escape_order(table))
    bins[escaped] = beyond + np.sign(beyond) * top
    return bins


def encode_low_bits(encoder: RangeEncoder, values: Int[ndarray, " n"], n_bits: int) -> None:
    """Codes the `n_bits` low bits of every value as they are."""
    while n_bits > 0:
        step = min(n_bits, MAX_TOTAL_BITS)
        n_bits -= step
        digits = (values >> n_bits) & ((1 << step) - 1)
        encoder.encode_block(digits, np.ones_like(digits), step)


def decode_low_bits(decoder: RangeDecoder, n: int, n_bits: int) -> Int[ndarray, " n"]:
    """Reads what `encode_low_bits` wrote of `n` values."""
    values = np.zeros(n, np.int64)
    while n_bits > 0:
        step = min(n_bits, MAX_TOTAL_BITS)
        n_bits -= step
        values += decoder.decode_bits_block(n, step) << n_bits
    return values
