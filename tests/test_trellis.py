"""Trellis-coded quantisation and rounding by price: what they promise, and what they gain."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy import ndarray

from inrzip.codecs import trellis
from inrzip.codecs.cabac import Cabac
from inrzip.codecs.coder import IntegerCoder
from inrzip.codecs.model_choice import BIT
from inrzip.codecs.predictive import DependentPredictive, Predictive
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.rd_rounding import (
    HIGH_RATE_SLOPE,
    round_for_cabac,
    round_for_predictive,
    round_for_tables,
    slope_of,
)
from inrzip.codecs.tables import AdaptiveTables
from inrzip.codecs.trellis import TrellisSteps, dequantise_trellis, quantise_trellis
from inrzip.codecs.uniform import MAX_MAGNITUDE, dequantise, nearest_step_index, quantise, step_size
from inrzip.codecs.views import view

UNIT = nearest_step_index(1.0)
# Haase et al.: the next state after each state, for even and for odd indices
TRANSITIONS = ((0, 2), (7, 5), (1, 3), (6, 4), (2, 0), (5, 7), (3, 1), (4, 6))


def snr_db(weights: ndarray, decoded: ndarray) -> float:
    return float(10 * np.log10((weights**2).mean() / ((weights - decoded) ** 2).mean()))


def draw(source: str, n: int, seed: int = 1) -> ndarray:
    weights: ndarray = getattr(np.random.default_rng(seed), source)(0, 1, n)
    return weights


def stand_for(indices: ndarray) -> list[int]:
    """The published rule, written down once more."""
    state, values = 0, []
    for index in indices.ravel().tolist():
        values.append(2 * index - (state & 1) * int(np.sign(index)))
        state = TRANSITIONS[state][index & 1]
    return values


# --- the quantiser


def test_indices_stand_for_what_the_rule_says() -> None:
    indices = np.random.default_rng(0).integers(-9, 10, (3, 1, 4, 50))
    values = dequantise_trellis(indices, UNIT)
    assert values.dtype == np.float32 and values.shape == indices.shape
    assert values.ravel().tolist() == stand_for(indices)
    exact = (values.astype(np.float64) * step_size(UNIT - 12)).astype(np.float32)
    np.testing.assert_array_equal(dequantise_trellis(indices, UNIT - 12), exact)


def test_the_path_is_the_best_of_all() -> None:
    """At slope 0, no sequence of indices comes nearer: all of them are tried."""
    for seed in range(20):
        targets = np.random.default_rng(seed).normal(0, 1.5, 5)
        indices, levels = quantise_trellis(targets, UNIT, slope=0.0)
        error = ((levels.dequantise(indices) - targets) ** 2).sum()
        sequences = itertools.product(range(-3, 4), repeat=5)
        least = min(((np.array(stand_for(np.array(sequence))) - targets) ** 2).sum() for sequence in sequences)
        assert error == pytest.approx(least, abs=1e-3)


def test_a_price_moves_the_path_along_the_hull() -> None:
    """A dearer bit gives fewer bits and a larger error; each path is the better one at its own price."""
    weights = draw("laplace", 4000)
    rows = []
    for slope in (0.0, 0.2, 0.6):
        indices, levels = quantise_trellis(weights, UNIT - 8, slope)
        error = ((levels.dequantise(indices) - weights) ** 2).sum() / step_size(UNIT - 8) ** 2
        rows.append((slope, error, DependentPredictive().cost(indices.astype(np.int64)) / BIT))
    errors, bits = [row[1] for row in rows], [row[2] for row in rows]
    assert errors == sorted(errors) and bits == sorted(bits, reverse=True)
    for slope, error, cost in rows:
        assert all(error + slope * cost <= 1.005 * (other + slope * price) for _, other, price in rows)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (7,), (160,), (5, 6), (3, 3, 2, 16), (2, 3, 3, 2, 4)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(5).normal(0, 1, shape).astype(np.float32)
    indices, levels = quantise_trellis(weights, UNIT - 40)
    assert indices.dtype == np.int32 and indices.shape == levels.arranged
    decoded = levels.dequantise(indices)
    assert decoded.dtype == np.float32 and decoded.shape == shape
    if weights.size:
        assert np.abs(decoded - weights).max() < 3 * step_size(UNIT - 40)
        encoder = RangeEncoder()
        DependentPredictive().encode(encoder, indices.astype(np.int64))
        copy = DependentPredictive().decode(RangeDecoder(encoder.finish()), levels.arranged)
        np.testing.assert_array_equal(copy, indices)


def test_an_absurd_price_leaves_what_is_expected() -> None:
    weights = draw("laplace", 30_000)
    indices, _ = quantise_trellis(weights, UNIT - 24, 1e9)
    assert not indices.any()
    assert not round_for_predictive(weights, UNIT - 24, 1e9).any()


def test_extreme_weights() -> None:
    weights = np.array([1e20, -1e20, np.inf, 0.0, 3.0])
    indices, levels = quantise_trellis(weights, UNIT)
    decoded = levels.dequantise(indices)
    assert np.abs(decoded[:3]).min() > 0.999 * MAX_MAGNITUDE and np.abs(decoded[3:] - weights[3:]).max() <= 2
    with pytest.raises(ValueError, match="NaN"):
        quantise_trellis(np.array([np.nan]), UNIT)
    with pytest.raises(ValueError, match="slope"):
        quantise_trellis(weights, UNIT, slope=-1.0)


def test_levels_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="split"):
        TrellisSteps(UNIT, 3, (3, 3, 2, 16))
    with pytest.raises(ValueError, match="step"):
        TrellisSteps(512, 1, (3,))


def test_the_same_indices_for_every_layout_and_type() -> None:
    weights = draw("normal", 3 * 3 * 4 * 16).astype(np.float32).reshape(3, 3, 4, 16)
    indices, levels = quantise_trellis(weights, UNIT - 16)
    for other in (np.asfortranarray(weights), weights.astype(np.float64)):
        again, same = quantise_trellis(other, UNIT - 16)
        np.testing.assert_array_equal(again, indices)
        assert same == levels


# --- what it gains


@pytest.mark.parametrize("source", ["laplace", "normal"])
@pytest.mark.parametrize("octaves", [3, 4.5])
def test_gain_over_uniform_steps(source: str, octaves: float) -> None:
    """At least 0.5 dB at equal bytes, at 4 to 6 bits a weight, over uniform steps with the better of two coders."""
    weights = draw(source, 7569)
    step = UNIT - round(8 * octaves)
    indices, levels = quantise_trellis(weights, step)
    bits = DependentPredictive().cost(indices.astype(np.int64)) / BIT / weights.size
    uniform = []
    for finer in (-4, 0, 4, 8, 12):
        integers = quantise(weights, step + finer)
        cost = min(make().cost(integers.astype(np.int64)) for make in (AdaptiveTables, Predictive))
        uniform.append((cost / BIT / weights.size, snr_db(weights, dequantise(integers, step + finer))))
    rates, qualities = zip(*sorted(uniform), strict=True)
    assert rates[0] < bits < rates[-1] and 3.5 < bits < 6.5
    assert snr_db(weights, levels.dequantise(indices)) > np.interp(bits, rates, qualities) + 0.8


def test_smooth_kernels_gain_as_much() -> None:
    """Prediction and trellis add up: the split is found, and what is saved on a smooth kernel is saved here, too."""
    rng = np.random.default_rng(3)
    smooth = rng.normal(size=(12, 12, 5, 5)).cumsum(0).cumsum(1)
    weights = trellis.unview(smooth, 4, (3, 3, 5, 80))
    indices, levels = quantise_trellis(weights, UNIT - 16)
    assert levels.split == 4
    integers = quantise(weights, UNIT - 16 + trellis.STEP_RATIO)
    ours, plain = DependentPredictive().cost(indices.astype(np.int64)), Predictive().cost(integers.astype(np.int64))
    gain_db = snr_db(weights, levels.dequantise(indices)) - snr_db(weights, dequantise(integers, UNIT - 9))
    assert gain_db + 6.02 * (plain - ours) / BIT / weights.size > 0.8
    assert AdaptiveTables().cost(view(indices.astype(np.int64), 1)) > ours * 1.2


# --- rounding by price

Round = Callable[[ndarray, int, float], ndarray]
ROUNDINGS: tuple[tuple[Round, Callable[[], IntegerCoder]], ...] = (
    (round_for_tables, AdaptiveTables),
    (round_for_cabac, Cabac),
    (round_for_predictive, Predictive),
)
each_rounding = pytest.mark.parametrize(("rounding", "make"), ROUNDINGS)


@each_rounding
def test_free_bits_leave_plain_rounding(rounding: Round, make: Callable[[], IntegerCoder]) -> None:
    weights = draw("laplace", 3000)
    np.testing.assert_array_equal(rounding(weights, UNIT - 20, 0.0), quantise(weights, UNIT - 20))


@each_rounding
@pytest.mark.parametrize("source", ["laplace", "normal"])
def test_rounding_by_price_lowers_the_sum(rounding: Round, make: Callable[[], IntegerCoder], source: str) -> None:
    """At about 1.5 bits a weight: a lower sum than plain rounding, with the price that it was asked for."""
    weights, step = draw(source, 5000) + 0.01, UNIT + (4 if source == "laplace" else 2)

    def total(integers: ndarray, slope: float) -> float:
        error = (weights / step_size(step) - integers) ** 2
        return float(error.sum()) + slope * make().cost(integers.astype(np.int64)) / BIT

    plain = quantise(weights, step)
    for slope in (0.05, HIGH_RATE_SLOPE, 0.2):
        rounded = rounding(weights, step, slope)
        assert rounded.dtype == np.int32 and np.abs(rounded - weights / step_size(step)).max() < 3
        assert total(rounded, slope) < total(plain, slope) * (1 - 0.15 * slope)
        assert make().cost(rounded.astype(np.int64)) < make().cost(plain.astype(np.int64))


@each_rounding
def test_rounding_follows_the_prediction(rounding: Round, make: Callable[[], IntegerCoder]) -> None:
    """Where neighbours tell what comes, the cheap value is theirs, not 0: only the coder that sees them may know."""
    weights = np.full((4, 4, 30, 30), 2.5) + draw("normal", 14400).reshape(4, 4, 30, 30) * 0.3
    mean = rounding(weights, UNIT, 0.2).mean()
    assert mean == pytest.approx(2.5, abs=0.5)


@each_rounding
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0), (7,), (3, 3, 2, 16), (2, 1, 2, 2, 4)])
def test_rounding_of_any_shape(rounding: Round, make: Callable[[], IntegerCoder], shape: tuple[int, ...]) -> None:
    for scale in (0.3, 3.0, 1e5, 1e12):
        weights = np.random.default_rng(0).normal(0, scale, shape)
        rounded = rounding(weights, UNIT, 0.1)
        assert rounded.shape == shape and rounded.dtype == np.int32
        clipped = np.clip(weights, -MAX_MAGNITUDE, MAX_MAGNITUDE)
        assert not weights.size or np.abs(rounded - clipped).max() < 3


def test_slopes() -> None:
    step = UNIT - 30
    assert slope_of(4.0, step, 1e-3) == pytest.approx(1e-3 / (4 * step_size(step) ** 2))
    with pytest.raises(ValueError, match="importance"):
        slope_of(0.0, step, 1e-3)
