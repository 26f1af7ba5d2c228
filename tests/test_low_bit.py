"""Learned steps, weights of few bits, networks of several precisions and sizes, and steps for channels."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy import ndarray

from inrzip.architectures.base import Grid, Representation, parameters, predict
from inrzip.architectures.nerv import NervConfig
from inrzip.architectures.siren import Siren, SirenConfig
from inrzip.channel_sensitivity import channel_sensitivities, channel_steps
from inrzip.codecs.levels import ChannelSteps, UniformSteps
from inrzip.codecs.raw_coder import RawCoder
from inrzip.codecs.uniform import allocate_steps, nearest_step_index, step_size
from inrzip.codecs.weights import QuantisedTensor, decode_tensors, encode_tensors
from inrzip.examples import GridPoints
from inrzip.fitting import Schedule, fit
from inrzip.learned_steps import LearnedSteps, Range, best_step_indices, round_within
from inrzip.low_bit import (
    BIAS_BITS,
    EDGE_BITS,
    Version,
    Versions,
    drop_bits,
    inner_weights,
    low_bit,
    narrow,
    narrow_tensors,
)
from inrzip.network import dequantise_network
from inrzip.sensitivity import sensitivities
from tests.common import picture

GRID = Grid((24, 31), 3)
SCHEDULE = Schedule(150, 3e-3)


@functools.cache
def examples() -> GridPoints:
    return GridPoints(picture(24, 31, 3), 0, 255, 4096)


@functools.cache
def fitted() -> Siren:
    module = SirenConfig(12, 3, (8, 8)).build(GRID, jax.random.key(0))
    return fit(module, examples(), Schedule(300, 5e-3))


def video_network() -> Representation:
    """A NeRV with weights of one."""
    structure = NervConfig.solve(Grid((3, 9, 9), 1), 900).structure(Grid((3, 9, 9), 1))
    return jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), structure)


def error(network: Representation) -> float:
    inputs, targets = examples().items(jnp.arange(24 * 31))
    return float(np.mean((np.asarray(predict(network, inputs)) - np.asarray(targets)) ** 2))


def quantised_error(network: Representation, tensors: list[QuantisedTensor]) -> float:
    return error(dequantise_network(network, tensors))


def values(network: Representation) -> list[ndarray]:
    return [np.asarray(array) for array in parameters(network)]


# --- learned steps


def test_gradients_are_those_of_lsq() -> None:
    within, step = Range(-2, 1), 0.5
    weights = jnp.array([0.3, -0.4, 0.7, -1.6, 0.1])
    slopes = jax.grad(lambda w: round_within(w, jnp.float32(step), within).sum())(weights)
    assert slopes.tolist() == [1, 1, 0, 0, 1]  # 0.7 and -1.6 lie beyond -1 to 0.5
    for weight, expected in ((0.3, 1 - 0.6), (-0.4, -1 + 0.8), (0.7, 1.0), (-1.6, -2.0)):
        slope = jax.grad(lambda s, w=weight: round_within(jnp.float32(w), s, within))(step)
        assert float(slope) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("axes", [(), (0,), (1, 0)])
def test_what_is_fitted_is_what_is_coded(axes: tuple[int, ...]) -> None:
    ranges = [Range.of_bits(5, axes if a.ndim > 1 else ()) for a in values(fitted())]
    starts = [best_step_indices(a, r) for a, r in zip(values(fitted()), ranges, strict=True)]
    learned = LearnedSteps(fitted(), starts, ranges)
    rng = np.random.default_rng(0)
    moved = jax.tree.map(lambda part: part + jnp.float32(rng.normal(0, 0.3, part.shape)), learned.exponents)
    learned = eqx.tree_at(lambda m: m.exponents, learned, moved)
    tensors = learned.quantised()
    for tensor, inside in zip(tensors, values(eqx.filter_jit(LearnedSteps.rounded)(learned)), strict=True):
        np.testing.assert_allclose(tensor.values(), inside, rtol=1e-5, atol=1e-9)
        assert tensor.integers.min() >= -16 and tensor.integers.max() <= 15
    copies = decode_tensors(encode_tensors(tensors, [RawCoder()]), [a.shape for a in values(fitted())])
    for tensor, copy in zip(tensors, copies, strict=True):
        assert copy.levels == tensor.levels
        np.testing.assert_array_equal(copy.integers, tensor.integers)


def test_steps_start_where_they_err_least() -> None:
    rng = np.random.default_rng(1)
    tensor = rng.normal(0, 1, (4, 500)) * np.array([[0.01], [1], [1], [30]])
    within = Range.of_bits(4, (0,))
    indices = best_step_indices(tensor, within)
    assert indices.shape == (4,) and indices[3] - indices[0] > 80

    def squared(row: ndarray, index: int) -> float:
        return float(((np.clip(np.rint(row / step_size(index)), -8, 7) * step_size(index) - row) ** 2).sum())

    for row, index in zip(tensor, indices.tolist(), strict=True):
        assert squared(row, index) <= min(squared(row, index - 2), squared(row, index + 2))
    assert best_step_indices(np.zeros((3, 4)), Range.of_bits(4)).shape == (1,)


def test_learning_improves_on_rounding() -> None:
    start = low_bit(fitted(), 2, axis=0)
    end = fit(start, examples(), SCHEDULE)
    assert quantised_error(fitted(), end.quantised()) < 0.6 * quantised_error(fitted(), start.quantised())
    pairs = list(zip(end.quantised(), start.quantised(), strict=True))
    assert any(a.levels != b.levels for a, b in pairs)


@eqx.filter_jit
@eqx.filter_grad
def price_gradient(module: LearnedSteps) -> jax.Array:
    return module.prepare()[1]


def test_a_price_makes_steps_larger_and_weights_smaller() -> None:
    steps = [np.array([i]) for i in allocate_steps(sensitivities(fitted(), examples()), 0.01)]
    priced = LearnedSteps(fitted(), steps, [Range()] * len(steps), price=1.0)
    slopes = price_gradient(priced)
    for (step,), slope, weight in zip(slopes.exponents, values(slopes.network), values(fitted()), strict=True):
        assert float(step.ravel()[0]) < 0
        assert (slope * weight).sum() > 0


def test_arrays_of_zeros_stay_finite() -> None:
    module = jax.tree.map(jnp.zeros_like, fitted())
    learned = low_bit(module, 4, axis=0, price=1.0)
    slopes = price_gradient(learned)
    assert all(np.isfinite(slope).all() for slope in values(slopes.network))
    assert not any(t.values().any() for t in learned.quantised())


# --- few bits, several precisions and sizes


def test_bits_of_each_array() -> None:
    module = low_bit(fitted(), 4, axis=0)
    assert inner_weights(fitted()) == [2, 4]
    for i, (within, array) in enumerate(zip(module.ranges, values(fitted()), strict=True)):
        bits = (4 if i in (2, 4) else EDGE_BITS) if array.ndim > 1 else BIAS_BITS
        assert within == Range.of_bits(bits, (0,) if array.ndim > 1 else ())
    video = video_network()
    for tensor, array in zip(low_bit(video).quantised(), values(video), strict=True):
        if array.ndim > 1:
            assert isinstance(tensor.levels, ChannelSteps)
            assert [len(o) for o in tensor.levels.offsets] == [0] * (array.ndim - 1) + [array.shape[-1]]


def test_high_bits_are_a_coarser_tensor() -> None:
    integers = np.arange(-128, 128, dtype=np.int32).reshape(2, 128)
    for levels in (UniformSteps(100), ChannelSteps(100, ((0, 3), ()))):
        fine = QuantisedTensor(integers, levels)
        coarse = drop_bits(fine, Range.of_bits(8), 4)
        assert coarse.integers.min() == -8 and coarse.integers.max() == 7
        inside = integers < 120  # greater ones are clipped
        difference = np.abs(coarse.values() - fine.values()) / fine.levels.dequantise(np.ones_like(integers))
        assert difference[inside].max() == pytest.approx(8, rel=1e-5)
        np.testing.assert_array_equal(drop_bits(fine, Range.of_bits(8), 0).integers, integers)


def test_first_units_are_a_narrower_network() -> None:
    siren = fitted()
    same = narrow(siren, 12)
    np.testing.assert_array_equal(same.layers[1][0], siren.layers[1][0])
    small = narrow(siren, 5)
    assert [w.shape for w, _ in small.layers] == [(5, 2), (5, 5), (5, 5), (3, 5)]
    np.testing.assert_array_equal(small.layers[2][0], siren.layers[2][0][:5, :5])
    tensors = narrow_tensors(siren, low_bit(siren, 4, axis=0).quantised(), 5)
    copies = decode_tensors(encode_tensors(tensors, [RawCoder()]), [a.shape for a in parameters(small)])
    for copy, tensor in zip(copies, tensors, strict=True):
        np.testing.assert_array_equal(copy.values(), tensor.values())
    for width in (0, 13):
        with pytest.raises(ValueError, match="width"):
            narrow(siren, width)
    with pytest.raises(ValueError, match="width"):
        narrow(video_network(), 2)


def version_error(learned: LearnedSteps, version: Version) -> float:
    """The error of a version of a fitted network, made from the integers that a file holds."""
    inner = inner_weights(learned.network)
    tensors = [
        drop_bits(tensor, within, version.dropped if i in inner else 0)
        for i, (tensor, within) in enumerate(zip(learned.quantised(), learned.ranges, strict=True))
    ]
    if version.width is None:
        return quantised_error(learned.network, tensors)
    smaller = narrow(learned.network, version.width)
    return quantised_error(smaller, narrow_tensors(learned.network, tensors, version.width))


def test_a_network_fitted_in_several_versions_is_good_in_each() -> None:
    versions = (Version(), Version(dropped=6), Version(width=8))
    start = low_bit(fitted(), 8, axis=0)
    together = fit(Versions(start, versions), examples(), Schedule(150, 5e-3)).learned
    for version in versions[1:]:
        assert version_error(together, version) < 0.6 * version_error(start, version)
    assert version_error(together, versions[0]) < 3 * version_error(start, versions[0])


# --- steps for channels


def test_elements_sensitivities_are_those_of_tensors() -> None:
    """Of other probes, and about as many in all: the few of one call may be off by half."""
    elements = channel_sensitivities(fitted(), examples(), seed=100)
    tensors = np.mean([sensitivities(fitted(), examples(), seed) for seed in range(12)], 0)
    for element, tensor, array in zip(elements, tensors, values(fitted()), strict=True):
        assert element.shape == array.shape
        assert element.mean() == pytest.approx(tensor, rel=0.3)


def test_dead_channels_do_not_matter() -> None:
    siren = fitted()
    layers = list(siren.layers)
    layers[-1] = (layers[-1][0].at[:, 4].set(0.0), layers[-1][1])
    dead = channel_sensitivities(eqx.tree_at(lambda m: m.layers, siren, layers), examples())
    assert dead[4][4].max() == 0 < dead[4][5].min()


def test_steps_follow_factors_of_both_axes() -> None:
    rows, columns = np.array([[0.5], [0.25], [1.0], [4.0]]), np.array([1.0] * 40 + [8.0] * 40)
    level = 0.01
    levels = channel_steps((rows * columns) ** -2.0, level)
    assert isinstance(levels, ChannelSteps) and len(levels.offsets[0]) == 4 and len(levels.offsets[1]) == 80
    np.testing.assert_allclose(levels.steps(), level * rows * columns, rtol=0.25)


def test_steps_of_channels_cost_less_at_equal_error() -> None:
    rng = np.random.default_rng(2)
    factors = np.exp2(rng.normal(0, 1, 60))
    sensitivity = np.broadcast_to(factors**-2.0, (60, 60))
    tensor = rng.laplace(0, 1, (60, 60)).astype(np.float32)
    own = channel_steps(sensitivity, 0.05)
    one = UniformSteps(allocate_steps([float(sensitivity.mean())], 0.05)[0])
    assert isinstance(own, ChannelSteps)
    coded = (
        QuantisedTensor(own.quantise(tensor), own),
        QuantisedTensor(np.rint(tensor / step_size(one.step_index)).astype(np.int32), one),
    )
    harm = [float((sensitivity * (t.values() - tensor) ** 2).sum()) for t in coded]
    assert harm[0] < 1.15 * harm[1]
    assert len(encode_tensors(coded[:1])) < 0.95 * len(encode_tensors(coded[1:]))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (1, 1, 1, 1), (5, 7)])
def test_steps_of_odd_tensors(shape: tuple[int, ...]) -> None:
    for sensitivity in (np.ones(shape), np.zeros(shape)):
        levels = channel_steps(sensitivity, 1.0)
        expected = nearest_step_index(1.0) if sensitivity.any() else 511
        assert levels == UniformSteps(expected)
