"""Rounding to what is cheap: integers of least squared error plus a price for the bits that they take.

Each integer is chosen in the order of coding, at the price that it has then: contexts, tables and scales learn from
those chosen before, as the coder's will. See Wiedemann et al., "DeepCABAC" (2020), on rate-distortion quantisation.
There is one function for each coder; a `slope` is what a bit is worth, in squared steps. Floating-point numbers take
part in the choice only.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.codecs.adaptive import ADAPTATIONS, CONSTANT, AdaptiveTable, TensorModel, block_ends, symbols_of
from inrzip.codecs.cabac import RATES, start_contexts
from inrzip.codecs.cabac_kernels import round_values
from inrzip.codecs.model_choice import BIT, choose_model, frequency_costs
from inrzip.codecs.predictive_choice import choose_predictive
from inrzip.codecs.predictive_kernels import SLOPE_BITS, TARGET_BITS
from inrzip.codecs.predictive_model import Run
from inrzip.codecs.uniform import MAX_MAGNITUDE, quantise, step_size
from inrzip.codecs.views import splits, unview, view, view_shape
from inrzip.priors.integer_tables import limit

HIGH_RATE_SLOPE = 2 * math.log(2) / 12
"""What a bit is worth at high rate: there one more divides the mean squared error, 1 / 12, by four."""

_MAX_SLOPE = 1024.0  # far beyond where everything becomes what is predicted


def slope_of(importance: float, step_index: int, bit_price: float) -> float:
    """The slope for which `importance * error**2 + bit_price * bits` of a tensor becomes least.

    `importance` is the squared change of the output for a squared change of a weight (`inrzip.sensitivity`), and
    `bit_price` in the same unit. At high rate, `inrzip.codecs.uniform.allocate_steps` gives all tensors the same slope.
    """
    if not importance > 0:
        raise ValueError(f"`importance` is {importance}; of a tensor that does not matter, make zeros")
    return bit_price / (importance * step_size(step_index) ** 2)


def round_for_tables(tensor: Float[ndarray, "*shape"], step_index: int, slope: float) -> Int[ndarray, "*shape"]:
    """Integers, int32, for `AdaptiveTables`: priced by the table that holds for their block."""
    nearest = quantise(tensor, step_index)
    model = _table_model(nearest)
    if model is None:
        return nearest
    targets, top = _in_steps(tensor, step_index).ravel() - model.centre, limit(model.table)
    rounded = nearest.astype(np.int64).ravel() - model.centre
    table = AdaptiveTable(model.family, model.table, ADAPTATIONS[model.adaptation])
    for start, stop in block_ends(len(rounded)):
        wanted = targets[start:stop]
        low = np.floor(wanted).astype(np.int64)
        candidates = np.stack([low, low + 1, np.zeros_like(low)])
        bits = frequency_costs()[np.diff(table.cumulative)][symbols_of(candidates, model.table)] / BIT
        best = np.argmin((candidates - wanted) ** 2 + slope * bits, axis=0)
        inside = np.abs(wanted) < top  # beyond, prices would have to count an escape's own bits
        block = np.where(inside, np.take_along_axis(candidates, best[None], 0)[0], rounded[start:stop])
        table.observe(symbols_of(block, model.table))
        rounded[start:stop] = block
    return (rounded + model.centre).astype(np.int32).reshape(nearest.shape)


def round_for_cabac(tensor: Float[ndarray, "*shape"], step_index: int, slope: float) -> Int[ndarray, "*shape"]:
    """Integers, int32, for `Cabac`: priced by its contexts as they then are."""
    nearest = quantise(tensor, step_index)
    model = _table_model(nearest)
    if model is None:
        return nearest
    targets = _in_steps(tensor, step_index).ravel() - model.centre
    contexts, rates = start_contexts(model.family, model.table), np.array(RATES[model.adaptation], np.int64)
    rounded = np.zeros(nearest.size, np.int64)
    state, data = np.zeros(3, np.int64), np.zeros(1, np.uint8)
    round_values(state, data, frequency_costs(), contexts, rates, targets, slope / BIT, rounded)
    return (rounded + model.centre).astype(np.int32).reshape(nearest.shape)


def round_for_predictive(tensor: Float[ndarray, "*shape"], step_index: int, slope: float) -> Int[ndarray, "*shape"]:
    """Integers, int32, for `Predictive`: priced by the curve around the prediction from those chosen before."""
    nearest = quantise(tensor, step_index)
    if not nearest.size or nearest.min() == nearest.max():
        return nearest
    values = nearest.astype(np.int64)
    model = choose_predictive(lambda split: view(values, split), splits(nearest.shape), lambda _: 0)
    shape = view_shape(nearest.shape, model.split)
    steps = view(_in_steps(tensor, step_index), model.split).ravel()
    rounded = np.zeros(nearest.size, np.int64)
    targets = np.rint(steps * (1 << TARGET_BITS)).astype(np.int64)
    Run(model, shape, rounded, False).round(targets, round(min(slope, _MAX_SLOPE) * (1 << SLOPE_BITS)))
    return unview(rounded.reshape(shape), model.split, nearest.shape).astype(np.int32)


def _table_model(nearest: Int[ndarray, "..."]) -> TensorModel | None:
    """The model of the rounded tensor; None where prices would change nothing: if all are equal, or low bits are coded
    as they are.
    """
    if not nearest.size:
        return None
    model = choose_model(nearest.astype(np.int64).ravel(), lambda _: 0)
    return None if model.scale == CONSTANT or model.shift else model


def _in_steps(tensor: Float[ndarray, "*shape"], step_index: int) -> Float[ndarray, "*shape"]:
    return np.clip(np.asarray(tensor, np.float64) / step_size(step_index), -MAX_MAGNITUDE, MAX_MAGNITUDE)
