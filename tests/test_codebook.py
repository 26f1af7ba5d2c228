"""Codebooks: groups of channels, the permutation that sorts them, and codewords learned with the network."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray

from inrzip.architectures.base import Grid, Representation, parameters, predict
from inrzip.architectures.siren import Siren, SirenConfig
from inrzip.codebook_fit import (
    SOFTNESS,
    WORD_UNIT,
    LearnedCodebooks,
    group_channels,
    nearest_places,
    sort_units,
    start_codebooks,
)
from inrzip.codecs.codebook import Codebook
from inrzip.codecs.levels import UniformSteps
from inrzip.codecs.raw_coder import RawCoder
from inrzip.codecs.uniform import allocate_steps, nearest_step_index
from inrzip.codecs.weights import decode_tensors, encode_tensors
from inrzip.examples import GridPoints
from inrzip.fitting import Schedule, fit
from inrzip.network import dequantise_network, quantise_network
from tests.common import picture

GRID = Grid((20, 27), 3)


def siren(width: int = 24) -> Siren:
    """A random SIREN whose units differ in spread."""
    layers = []
    rng = np.random.default_rng(0)
    sizes = [2, width, width, width, 3]
    for n_in, n_out in itertools.pairwise(sizes):
        spread = np.where(rng.random(n_out) < 0.5, 0.05, 0.2)[:, None]
        weight = (spread * rng.laplace(0, 1, (n_out, n_in))).astype(np.float32)
        layers.append((jnp.asarray(weight), jnp.asarray(rng.normal(0, 0.1, n_out).astype(np.float32))))
    structure = SirenConfig(width, 3, (8, 8)).structure(GRID)
    return eqx.tree_at(lambda m: m.layers, structure, layers)


def values(network: Representation) -> list[ndarray]:
    return [np.asarray(array) for array in parameters(network)]


def start(network: Representation, step: float, **settings: int) -> LearnedCodebooks:
    indices = [nearest_step_index(step)] * len(parameters(network))
    return start_codebooks(network, indices, step, **settings)


# --- groups


def test_channels_of_alike_spread_are_grouped() -> None:
    rng = np.random.default_rng(1)
    spreads = rng.permutation(np.repeat([0.1, 1.0, 4.0], 10))
    rows = spreads[:, None] * rng.normal(0, 1, (30, 80))
    groups = group_channels(rows, 3)
    np.testing.assert_array_equal(groups, np.searchsorted([0.1, 1.0, 4.0], spreads))
    assert group_channels(rows, 1).tolist() == [0] * 30


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (5, 1), (3, 4)])
def test_groups_of_few_channels(shape: tuple[int, int]) -> None:
    for rows in (np.zeros(shape), np.random.default_rng(2).normal(0, 1, shape)):
        groups = group_channels(rows, 4)
        assert groups.shape == shape[:1] and set(groups) == set(range(groups.max() + 1))


def test_sorting_units_changes_nothing_but_their_order() -> None:
    network = siren()
    ordered = sort_units(network, 2)
    inputs = jnp.asarray(np.random.default_rng(3).uniform(0, 20, (50, 2)), jnp.float32)
    np.testing.assert_allclose(predict(ordered, inputs), predict(network, inputs), atol=2e-4)
    for array, same in zip(values(ordered), values(network), strict=True):
        np.testing.assert_array_equal(np.sort(array.ravel()), np.sort(same.ravel()))
    for weight, _ in ordered.layers[:-1]:
        assert (np.diff(group_channels(np.asarray(weight), 2)) >= 0).all()


# --- codewords


@pytest.mark.parametrize("n_groups", [1, 3])
def test_what_is_fitted_is_what_is_coded(n_groups: int) -> None:
    network = siren()
    module = start(network, 0.1, n_groups=n_groups, axis=0)
    tensors = module.quantised()
    prepared, penalty = eqx.filter_jit(LearnedCodebooks.prepare)(module)
    for tensor, inside, array in zip(tensors, values(prepared), values(network), strict=True):
        np.testing.assert_allclose(tensor.values(), inside, atol=1e-6)
        coded = array.ndim > 1 and array.size >= 512
        assert isinstance(tensor.levels, Codebook if coded else UniformSteps)
        if coded:
            assert len(tensor.levels.codewords) == n_groups
    copies = decode_tensors(encode_tensors(tensors, [RawCoder()]), [a.shape for a in values(network)])
    for tensor, copy in zip(tensors, copies, strict=True):
        assert copy.levels == tensor.levels
        np.testing.assert_array_equal(copy.integers, tensor.integers)
    assert float(penalty) > 0


@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=30), st.integers(0, 1000))
def test_the_search_finds_the_nearest_word(words: list[float], seed: int) -> None:
    table, rng = np.sort(np.array(words, np.float64)), np.random.default_rng(seed)
    values = np.concatenate([rng.uniform(-10, 10, 200), table, [-1e9, 1e9]])[:, None]
    found = np.abs(values - table[nearest_places(values, table)])
    np.testing.assert_allclose(found[:, 0], np.abs(values - table).min(axis=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_groups", [1, 3])
def test_the_price_is_the_entropy_of_assignments_to_all_words(n_groups: int) -> None:
    network = siren()
    module = start(network, 0.1, n_groups=n_groups, axis=0)
    _, penalty = eqx.filter_jit(LearnedCodebooks.prepare)(module)
    bits = 0.0
    for array, words, plan in zip(values(network), module.codewords, module.plans, strict=True):
        if plan.groups:
            own = np.asarray(words, np.float64)[np.array(plan.groups)] / WORD_UNIT
            shares = np.exp(-((array[:, :, None] - own[:, None]) ** 2) / (2 * (SOFTNESS * plan.step) ** 2))
            counts = (shares / shares.sum(axis=-1, keepdims=True)).sum(axis=(0, 1))
            bits -= float((counts * np.log2(np.maximum(counts / array.size, 1e-9))).sum())
    assert float(penalty) == pytest.approx(module.price * bits, rel=1e-4)


def test_convolutions_have_codebooks_of_their_output_channels() -> None:
    rng = np.random.default_rng(4)
    weight = (rng.laplace(0, 0.2, (3, 3, 8, 10)) * np.repeat([0.2, 1.0], 5)).astype(np.float32)
    network = eqx.tree_at(lambda m: m.layers, siren(), [(jnp.asarray(weight), jnp.zeros(10))])
    (tensor, _) = start(network, 0.1, n_groups=2).quantised()
    assert isinstance(tensor.levels, Codebook)
    assert tensor.levels.axis == 3 and tensor.levels.groups == (0,) * 5 + (1,) * 5
    assert np.abs(tensor.values() - weight).mean() < 0.04


def test_codewords_start_nearer_than_uniform_levels() -> None:
    network = siren()
    uniform = quantise_network(network, [nearest_step_index(0.2)] * 8)
    books = start(network, 0.2, axis=0).quantised()
    for book, plain, array in zip(books, uniform, values(network), strict=True):
        if isinstance(book.levels, Codebook):
            assert ((book.values() - array) ** 2).sum() < 0.97 * ((plain.values() - array) ** 2).sum()
            assert (np.diff(book.levels.codewords[0]) > 0).all()


def test_fine_steps_stay_uniform() -> None:
    assert all(isinstance(t.levels, UniformSteps) for t in start(siren(), 1e-4, axis=0).quantised())


def test_a_price_pulls_weights_to_frequent_codewords() -> None:
    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(module: LearnedCodebooks) -> jax.Array:
        return module.prepare()[1]

    slopes = gradient(start(siren(), 0.1, axis=0))
    weight, slope = values(siren())[2], values(slopes.network)[2]
    assert np.isfinite(slope).all() and (weight * slope).sum() > 0  # towards zero, where there are most
    assert np.abs(np.asarray(slopes.codewords[2])).max() > 0


def test_learning_improves_on_rounding() -> None:
    examples = GridPoints(picture(20, 27, 3), 0, 255, 4096)
    network = fit(SirenConfig(24, 3, (8, 8)).build(GRID, jax.random.key(0)), examples, Schedule(150, 5e-3))
    module = start_codebooks(network, allocate_steps([0.5] * 8, 0.02), level=0.002, axis=0)
    learned = fit(module, examples, Schedule(150, 5e-3))
    inputs, targets = examples.items(jnp.arange(540))

    def error(module: LearnedCodebooks) -> float:
        decoded = dequantise_network(network, module.quantised())
        return float(np.mean((np.asarray(predict(decoded, inputs)) - np.asarray(targets)) ** 2))

    assert error(learned) < 0.5 * error(module)
    assert len(encode_tensors(learned.quantised())) < 1.2 * len(encode_tensors(module.quantised()))
