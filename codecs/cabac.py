"""Context-adaptive binary arithmetic coding in the manner of DeepCABAC and NNC (`inrzip.codecs.cabac_kernels`).

A tensor has the `TensorModel` of the adaptive tables. Its parametric table gives every context its first probability,
so that a small tensor need not pay for learning them; its adaptation chooses the two rates at which they then change.
NNC has start states and rates as well, chosen for each context from sets; a scale takes fewer bits.
"""

from __future__ import annotations

import functools
from typing import ClassVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.adaptive import ADAPTATIONS, CONSTANT, TensorModel, decode_low_bits, encode_low_bits, split
from inrzip.codecs.cabac_kernels import (
    DECODE,
    ENCODE,
    GREATER,
    MAX_BITS,
    N_CONTEXTS,
    N_FLAGS,
    N_GROUPS,
    NOT_ZERO,
    POSITIVE,
    PRECISION,
    PREFIX,
    PRICE,
    SUFFIX,
    SUM,
    code_values,
)
from inrzip.codecs.kernels import Bytes, State
from inrzip.codecs.model_choice import BIT, frequency_costs
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder, check
from inrzip.codecs.tables import ModelledCoder
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import Family, limit, mass_table

RATES = ((5, 8), (6, 10), (8, 12), (4, 7))
"""For each adaptation of a `TensorModel`: a probability moves towards each bit by `2**-rate` of the way."""
assert len(RATES) == len(ADAPTATIONS)

_BLOCK = 1 << 14  # values for which the encoder makes room at a time
_NOTHING: Bytes = np.zeros(1, np.uint8)


class Cabac(ModelledCoder):
    """Values bit by bit, in contexts."""

    number: ClassVar[int] = 1

    def price(self, values: Int[ndarray, " n"], model: TensorModel) -> int:
        """What `write` would spend, in 1 / 4096 bit."""
        if model.scale == CONSTANT:
            return 0
        state = np.zeros(3, np.int64)
        bins, _ = split(values, model)
        _code(PRICE, state, _NOTHING, bins, model, start_contexts(model.family, model.table))
        return int(state[SUM]) + BIT * model.shift * len(values)

    def write(self, encoder: RangeEncoder, values: Int[ndarray, " n"], model: TensorModel) -> None:
        """Codes values under `model`: the contexts' bits, then the low bits."""
        if model.scale != CONSTANT:
            encoder.encode_with(lambda: _write(encoder, values, model), lambda: self.price(values, model))

    def read(self, decoder: RangeDecoder, n: int, model: TensorModel) -> Int[ndarray, " n"]:
        """Reads values coded under `model`."""
        bins = np.zeros(n, np.int64)
        if model.scale != CONSTANT:
            contexts = start_contexts(model.family, model.table)
            check(_code(DECODE, decoder.state, decoder.data, bins, model, contexts))
        half = (1 << model.shift) >> 1
        values: Int[ndarray, " n"] = (
            (bins << model.shift) + decode_low_bits(decoder, n, model.shift) - half + model.centre
        )
        if n and (values.min() < -(1 << 31) or values.max() >= 1 << 31):
            raise CorruptFile("the coded weights are damaged: a value is out of range; get the file again")
        return values.astype(np.int32)


def _write(encoder: RangeEncoder, values: Int[ndarray, " n"], model: TensorModel) -> None:
    bins, low_bits = split(values, model)
    contexts = start_contexts(model.family, model.table)
    for start in range(0, len(bins), _BLOCK):
        block = bins[start : start + _BLOCK]
        before = int(bins[start - 1]) if start else 0
        _code(ENCODE, encoder.state, encoder.room(MAX_BITS * len(block)), block, model, contexts, before)
    encode_low_bits(encoder, low_bits, model.shift)


def _code(
    mode: int,
    state: State,
    data: Bytes,
    bins: Int[ndarray, " n"],
    model: TensorModel,
    contexts: Int[ndarray, " contexts*2"],
    before: int = 0,
) -> bool:
    rates = np.array(RATES[model.adaptation], np.int64)
    sign = 0 if before == 0 else 1 if before > 0 else 2
    return code_values(mode, state, data, frequency_costs(), contexts, rates, sign, bins)


def start_contexts(family: Family, table: int) -> Int[ndarray, " contexts*2"]:
    """The contexts' two estimates each, before the first value."""
    return np.repeat(_start_probabilities(family, table), 2)


@functools.cache
def _start_probabilities(family: Family, table: int) -> Int[ndarray, " contexts"]:
    """Probabilities of a 1 under a parametric table, in `1 / 2**PRECISION`; a half where it has no mass left."""
    masses, top = mass_table(family, table), limit(table)
    tails = np.cumsum(np.append(2 * masses[top + 1 : -1], masses[-1])[::-1])[::-1]  # of magnitudes 1, 2, .. and greater

    def at_least(magnitude: int) -> int:
        return int(tails[magnitude - 1]) if magnitude <= len(tails) else 0

    contexts = np.full(N_CONTEXTS, 1 << (PRECISION - 1), np.int64)
    contexts[NOT_ZERO:POSITIVE] = _ratio(at_least(1), int(masses.sum()))
    for n in range(1, N_FLAGS + 1):
        contexts[GREATER + n - 1] = _ratio(at_least(n + 1), at_least(n))
    for n in range(N_GROUPS):
        first, middle, end = (N_FLAGS + (step << n >> 1) for step in (2, 3, 4))
        contexts[PREFIX + n] = _ratio(at_least(end), at_least(first))
        if n:
            contexts[SUFFIX + n] = _ratio(at_least(middle) - at_least(end), at_least(first) - at_least(end))
    return contexts


def _ratio(part: int, whole: int) -> int:
    return (part << PRECISION) // whole if whole else 1 << (PRECISION - 1)
