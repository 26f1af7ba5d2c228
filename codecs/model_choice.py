"""The encoder's side of adaptive coding: which `TensorModel` codes a tensor in the fewest bits.

Costs are integers, in 1/4096 bits, so that the choice too is the same on every machine. A cheap scan over all scales
and families without adaptation comes first; what it finds best in each family is then measured exactly, under every
adaptation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.adaptive import (
    ADAPTATIONS,
    CONSTANT,
    MAX_SHIFT,
    AdaptiveTable,
    TensorModel,
    block_ends,
    escape_order,
    split,
    symbols_of,
)
from inrzip.priors.integer_tables import (
    N_TABLES,
    STEPS_PER_OCTAVE,
    TOTAL_BITS,
    Family,
    cumulative_frequencies,
    limit,
    mass_table,
)

BIT = 4096  # the unit of costs is 1 / 4096 bit
_COST_BITS = 12
_MAX_BIT_LENGTH = 33  # of a magnitude
# symbols above which only the best family is measured exactly: adaptation then matters more than the family
_MANY = 16384
# a family is measured exactly if, without adaptation, it costs at most 1/33 and 8 bits more than the best one
_KEEP_RATIO = 33
_KEEP_COST = 8 * BIT
_TOP_TABLES = N_TABLES - STEPS_PER_OCTAVE  # tables from here on are used with low bits left out, too


Price = Callable[[Int[ndarray, " n"], TensorModel], int]


def choose_model(
    values: Int[ndarray, " n"], side_cost: Callable[[TensorModel], int], price: Price | None = None
) -> TensorModel:
    """The model that codes int64 `values` (at least one) in the fewest bits; `side_cost` is the price of coding the
    model itself, `price` that of values under a model: `values_cost`, if left out.
    """
    if values.min() == values.max():
        return TensorModel(CONSTANT, centre=int(values[0]))
    candidates = [model for centre in centres(values) for model in _scan(values, centre, side_cost)]
    costs = [side_cost(model) + (price or values_cost)(values, model) for model in candidates]
    return candidates[int(np.argmin(costs))]


def values_cost(values: Int[ndarray, " n"], model: TensorModel) -> int:
    """What `encode_values` spends on `values`, in 1 / 4096 bit."""
    if model.scale == CONSTANT:
        return 0
    bins, _ = split(values, model)
    symbols = symbols_of(bins, model.table)
    beyond = np.abs(bins) - limit(model.table)
    cost = BIT * (model.shift * len(values) + int(escape_bits(beyond[beyond > 0], escape_order(model.table)).sum()))
    table = AdaptiveTable(model.family, model.table, ADAPTATIONS[model.adaptation])
    for start, stop in block_ends(len(values)):
        block = symbols[start:stop]
        cost += int(frequency_costs()[np.diff(table.cumulative)[block]].sum())
        table.observe(block)
    return cost


@functools.cache
def frequency_costs() -> Int[ndarray, " frequencies"]:
    """The cost of a symbol of frequency 0 (no meaning), 1, .. `2**TOTAL_BITS`: `-log2(frequency / 2**TOTAL_BITS)`,
    found by repeated squaring.
    """
    one = np.uint64(1 << 31)
    frequencies = np.arange(1, (1 << TOTAL_BITS) + 1)
    whole = _bit_length(frequencies) - 1
    mantissa = frequencies.astype(np.uint64) << (31 - whole).astype(np.uint64)
    logarithm = whole.astype(np.int64)
    for _ in range(_COST_BITS):
        mantissa = (mantissa * mantissa) >> np.uint64(31)
        doubled = mantissa >= 2 * one
        mantissa >>= doubled.astype(np.uint64)
        logarithm = 2 * logarithm + doubled
    return np.concatenate([[TOTAL_BITS * BIT], TOTAL_BITS * BIT - logarithm])


def centres(values: Int[ndarray, " n"]) -> list[int]:
    """What may be subtracted from all of int64 `values`: 0, and the median where it may be worth its bits."""
    median = int(np.partition(values, len(values) // 2)[len(values) // 2])
    spread = int(np.abs(values - median).sum()) // len(values)
    return [0, median] if 4 * abs(median) > spread else [0]


def _scan(values: Int[ndarray, " n"], centre: int, side_cost: Callable[[TensorModel], int]) -> list[TensorModel]:
    """The best scale of each family as if there were no adaptation, and every adaptation of these."""
    rows: list[tuple[int, TensorModel]] = []
    for shift in range(_max_shift(values, centre) + 1):
        bins, _ = split(values, TensorModel(1 + _TOP_TABLES + STEPS_PER_OCTAVE * shift, centre=centre))
        first = _TOP_TABLES if shift else 0
        costs = shift * BIT * len(values) + _static_costs()[:, first:] @ _magnitude_histogram(bins)
        for family in Family:
            best = int(np.argmin(costs[family]))
            model = TensorModel(1 + first + best + STEPS_PER_OCTAVE * shift, family, 0, centre)
            rows.append((int(costs[family, best]) + side_cost(model), model))
    best_of_family = [min((row for row in rows if row[1].family == family), key=_first) for family in Family]
    best_of_family.sort(key=_first)
    least = best_of_family[0][0]
    allowed = least if len(values) > _MANY else least + least // _KEEP_RATIO + _KEEP_COST
    return [
        TensorModel(model.scale, model.family, adaptation, centre)
        for cost, model in best_of_family
        if cost <= allowed
        for adaptation in range(len(ADAPTATIONS))
    ]


def _first(row: tuple[int, TensorModel]) -> int:
    return row[0]


def _max_shift(values: Int[ndarray, " n"], centre: int) -> int:
    """The greatest shift worth a trial: one that leaves at least two bits of the mean, or the narrowest tables would
    do.
    """
    mean = int(np.abs(values - centre).sum()) // len(values)
    return min(MAX_SHIFT, max(0, mean.bit_length() - 2))


def _magnitude_histogram(bins: Int[ndarray, " n"]) -> Int[ndarray, " classes"]:
    """How many bins have the magnitude 0, 1, .. the widest table's limit; then, how many of the others have each bit
    length.
    """
    top = limit(N_TABLES - 1)
    magnitudes = np.abs(bins)
    classes = np.where(magnitudes <= top, magnitudes, top + 1 + _bit_length(magnitudes))
    return np.bincount(classes, minlength=top + 2 + _MAX_BIT_LENGTH)


@functools.cache
def _static_costs() -> Int[ndarray, "families tables classes"]:
    """The cost of each class of `_magnitude_histogram` in each table; of the classes of many magnitudes, about the mean
    cost.
    """
    top = limit(N_TABLES - 1)
    magnitudes = np.concatenate([np.arange(top + 1), (3 << np.arange(_MAX_BIT_LENGTH + 1)) >> 2])
    rows = [[_table_costs(family, table, magnitudes) for table in range(N_TABLES)] for family in Family]
    return np.array(rows)


def _table_costs(family: Family, table: int, magnitudes: Int[ndarray, " m"]) -> Int[ndarray, " m"]:
    top = limit(table)
    costs = frequency_costs()[np.diff(cumulative_frequencies(mass_table(family, table)))]
    escape = costs[-1] + BIT * escape_bits(np.maximum(1, magnitudes - top), escape_order(table))
    result: Int[ndarray, " m"] = np.where(magnitudes <= top, costs[np.minimum(top + magnitudes, 2 * top)], escape)
    return result


def escape_bits(beyond: Int[ndarray, " n"], order: int) -> Int[ndarray, " n"]:
    """Raw bits of magnitudes that exceed the limit by `beyond >= 1`: the sign and an Exp-Golomb code."""
    return 2 * _bit_length(beyond - 1 + (1 << order)) - order


def _bit_length(values: Int[ndarray, " n"]) -> Int[ndarray, " n"]:
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)  # exact: the exponent of an integer below 2^53
