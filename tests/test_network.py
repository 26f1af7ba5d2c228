"""A quantised network as the payload of a segment: exact both ways, and safe against what no encoder wrote."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from inrzip.architectures.base import Grid, parameters
from inrzip.architectures.siren import SirenConfig
from inrzip.codecs.uniform import step_size
from inrzip.errors import CorruptFile, InrzipError, LimitExceeded
from inrzip.network import (
    decode_config,
    decode_network,
    dequantise_network,
    describe,
    encode_config,
    encode_network,
    quantise_network,
)
from inrzip.sensitivity import sensitivities
from inrzip.wire import Cursor

GRID = Grid((9, 11), 3)
CONFIG = SirenConfig(6, 2, (8, 16))
STEPS = [200, 201, 202, 203, 204, 205]


@pytest.fixture(scope="module")
def payload() -> bytes:
    return encode_network(CONFIG, quantise_network(CONFIG.build(GRID, jax.random.key(0)), STEPS))


def test_round_trip_is_exact(payload):
    module = CONFIG.build(GRID, jax.random.key(0))
    decoded = decode_network(payload, SirenConfig.number, GRID)
    for original, mine, step in zip(parameters(module), parameters(decoded), STEPS, strict=True):
        integers = np.rint(np.asarray(original, np.float64) / step_size(step))
        np.testing.assert_array_equal(mine, (integers * step_size(step)).astype(np.float32))
        assert np.max(np.abs(mine - original)) <= step_size(step) / 2 * 1.001


def test_layout(payload):
    """The configuration comes first: width, depth, and the scales with their number (docs/format.md)."""
    assert payload[:5] == bytes([6, 2, 2, 8, 16])
    assert encode_config(CONFIG) == payload[:5]


@pytest.mark.parametrize("cut", range(0, 12))
def test_truncation_is_told(payload, cut):
    with pytest.raises(CorruptFile):
        decode_network(payload[:cut], SirenConfig.number, GRID)


def test_truncations_and_extensions_are_told(payload):
    """A range coder reads a few zeros past the end; what else is missing or too much, it notices."""
    for cut in range(len(payload) - 5):
        with pytest.raises(CorruptFile):
            decode_network(payload[:cut], SirenConfig.number, GRID)
    with pytest.raises(CorruptFile):
        decode_network(payload + b"\0\0\0\0\0", SirenConfig.number, GRID)


def test_flipped_bits_never_crash(payload):
    outcomes = set()
    for position in range(len(payload)):
        damaged = bytearray(payload)
        damaged[position] ^= 0x55
        try:
            decode_network(bytes(damaged), SirenConfig.number, GRID)
            outcomes.add("decoded")
        except InrzipError:
            outcomes.add("error")
    assert "error" in outcomes


def test_unknown_architecture(payload):
    with pytest.raises(CorruptFile, match="newer"):
        decode_network(payload, 200, GRID)


def test_tuple_bomb():
    with pytest.raises(CorruptFile):
        decode_config(SirenConfig, Cursor(bytes([6, 2]) + b"\xff\xff\xff\xff\x7f" + bytes(100)), GRID)


def test_weights_need_bytes():
    config = SirenConfig(4096, 2, (8, 8))
    with pytest.raises(CorruptFile, match="weights"):
        decode_network(encode_config(config) + bytes(100), SirenConfig.number, GRID)


def test_memory_limit(payload):
    with pytest.raises(LimitExceeded, match="limit"):
        decode_network(payload, SirenConfig.number, GRID, max_memory=100)
    decode_network(payload, SirenConfig.number, GRID, max_memory=1 << 28)


def test_nan_weights_are_refused():
    module = CONFIG.build(GRID, jax.random.key(0))
    broken = jax.tree.map(lambda leaf: leaf * float("nan"), module)
    with pytest.raises(ValueError, match="diverged"):
        quantise_network(broken, STEPS)


def test_description_names_every_field():
    assert describe(CONFIG) == "siren: width 6, depth 2, scales (8, 16)"


def test_sensitivities_are_the_mean_squared_derivatives():
    """The random estimate agrees with the whole Jacobian matrix."""
    from inrzip.examples import GridPoints

    examples = GridPoints(np.zeros((9, 11, 3), "u1"), 0.0, 255.0, 512)
    module = CONFIG.build(GRID, jax.random.key(0))
    estimated = np.mean([sensitivities(module, examples, seed) for seed in range(10)], axis=0)
    inputs, _ = examples.items(np.arange(examples.n_items))
    jacobian = jax.jacrev(lambda m: m.predict(inputs))(module)
    exact = [float(np.sum(np.square(leaf)) / 297 / np.prod(leaf.shape[2:])) for leaf in jax.tree.leaves(jacobian)]
    np.testing.assert_allclose(estimated, exact, rtol=0.35)


def test_dequantise_fills_shapes_or_arrays():
    module = CONFIG.build(GRID, jax.random.key(0))
    quantised = quantise_network(module, STEPS)
    a = dequantise_network(module, quantised)
    b = dequantise_network(CONFIG.structure(GRID), quantised)
    for x, y in zip(parameters(a), parameters(b), strict=True):
        np.testing.assert_array_equal(x, y)
