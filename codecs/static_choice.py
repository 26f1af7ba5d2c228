"""The encoder's side of `inrzip.codecs.static_tables`: which parametric curve codes a tensor in the fewest bits.

Everything is counted in integers, so that the choice is the same on every machine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.adaptive import CONSTANT, N_SCALES, TensorModel
from inrzip.codecs.model_choice import BIT, centres, escape_bits, frequency_costs
from inrzip.codecs.static_tables import STATIC, StaticTable, parametric_table, split_under
from inrzip.priors.integer_tables import Family, spread_256

N_LADDER = N_SCALES - 1  # scales of the ladder of `TensorModel`, those beyond the widest table too
_TRIED = range(-4, 4)  # scales around the one of the mean magnitude; the best of other families may lie below it
_COUNTED = 1 << 16  # magnitudes below this are counted in a table, others by sorting

Histogram = tuple[Int[ndarray, " m"], Int[ndarray, " m"]]
"""Magnitudes of bins, and how many bins have each."""


def best_static(
    values: Int[ndarray, " n"], families: Sequence[Family], side_cost: Callable[[TensorModel], int]
) -> TensorModel:
    """The model of one of `families`, with a fixed table, that codes int64 `values` (at least one) in the fewest bits;
    `side_cost` is the price of the model itself, in 1 / 4096 bit.
    """
    if values.min() == values.max():
        return TensorModel(CONSTANT, centre=int(values[0]))
    costs: dict[TensorModel, int] = {}
    for centre in centres(values):
        start = nearest_scale(int(np.abs(values - centre).sum()), len(values))
        histograms: dict[int, Histogram] = {}
        for scale in (start + change for change in _TRIED if 0 <= start + change < N_LADDER):
            for family in families:
                model = TensorModel(1 + scale, family, STATIC, centre)
                if model.shift not in histograms:
                    histograms[model.shift] = histogram(split_under(values, parametric_table(model))[0])
                costs[model] = side_cost(model) + histogram_cost(histograms[model.shift], parametric_table(model))
    return min(costs, key=lambda model: costs[model])


def histogram(bins: Int[ndarray, " n"]) -> Histogram:
    """How often each magnitude occurs."""
    magnitudes = np.abs(bins)
    if magnitudes.max(initial=0) < _COUNTED:
        counts = np.bincount(magnitudes)
        found = np.flatnonzero(counts)
        return found, counts[found]
    return np.unique(magnitudes, return_counts=True)


def histogram_cost(counted: Histogram, table: StaticTable) -> int:
    """What bins of these magnitudes take under a symmetric table, low bits included, in 1 / 4096 bit."""
    magnitudes, counts = counted
    sizes = np.diff(table.cumulative)
    escaped = magnitudes > table.top
    sizes = np.where(escaped, sizes[-1], sizes[table.top + np.minimum(magnitudes, table.top)])
    raw = np.where(escaped, escape_bits(np.maximum(1, magnitudes - table.top), table.order), 0) + table.shift
    return int((frequency_costs()[sizes] + BIT * raw) @ counts)


def nearest_scale(total: int, count: int) -> int:
    """The scale of the ladder whose Laplace table has the mean magnitude nearest, in ratio, to `total / count`."""
    return int(np.searchsorted(borders_256(), 256 * total // max(1, count)))


@functools.cache
def mean_256(scale: int) -> int:
    """256 times the mean magnitude of the Laplace table of a scale of the ladder; at least 1."""
    model = TensorModel(1 + scale)
    return max(1, spread_256(model.table)) << model.shift


@functools.cache
def borders_256() -> Int[ndarray, " borders"]:
    """Between each scale's mean magnitude and the next one's, their geometric mean."""
    borders = [math.isqrt(mean_256(scale) * mean_256(scale + 1)) for scale in range(N_LADDER - 1)]
    return np.array(borders, np.int64)
