"""What enters the layers of a network, and rounding that keeps what they put out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy import ndarray

from inrzip.architectures.base import Grid, Representation, parameters
from inrzip.architectures.enerv import EnervConfig
from inrzip.architectures.hnerv import HnervConfig
from inrzip.architectures.nerv import NervConfig
from inrzip.architectures.siren import OMEGA_HIDDEN, SirenConfig
from inrzip.codecs.levels import ChannelSteps, UniformSteps
from inrzip.codecs.uniform import nearest_step_index, quantise
from inrzip.codecs.weights import QuantisedTensor, tensor_costs
from inrzip.layer_inputs import MAX_ROWS, LayerProbe
from inrzip.network import dequantise_network
from inrzip.output_rounding import round_outputs
from tests.common import slow

CASES = {
    "siren": (SirenConfig, (30, 41), 600),
    "nerv": (NervConfig, (40, 13, 22), 3000),
    "hnerv": (HnervConfig, (4, 15, 17), 3000),
    "enerv": (EnervConfig, (3, 13, 22), 5000),
}


def network(name: str) -> tuple[Representation, jax.Array]:
    """A random network and inputs of all its samples; embeddings are random, too."""
    architecture, shape, size = CASES[name]
    grid = Grid(shape, 3)
    module = architecture.solve(grid, size).build(grid, jax.random.key(0))
    if name == "siren":
        return module, jnp.stack(jnp.meshgrid(*map(jnp.arange, shape), indexing="ij"), -1).reshape(-1, 2).astype(float)
    leaves, treedef = jax.tree.flatten(module)
    noise = np.random.default_rng(0)
    filled = [noise.normal(0, 1, leaf.shape).astype(np.float32) if not leaf.any() else leaf for leaf in leaves]
    return jax.tree.unflatten(treedef, filled), jnp.arange(shape[0]).astype(jnp.float32)


def rounded(module: Representation, levels: list) -> list[QuantisedTensor]:
    pairs = zip(parameters(module), levels, strict=True)
    return [QuantisedTensor(quantise(np.asarray(a), level.step_index), level) for a, level in pairs]


def error(module: Representation, inputs: jax.Array, tensors: list[QuantisedTensor]) -> float:
    return float(jnp.mean((dequantise_network(module, tensors).predict(inputs) - module.predict(inputs)) ** 2))


def steps_for(module: Representation, part: float) -> list[UniformSteps]:
    """Steps of so large a part of each array's mean magnitude."""
    return [UniformSteps(nearest_step_index(part * float(jnp.abs(a).mean()))) for a in parameters(module)]


@pytest.mark.parametrize("name", CASES)
def test_every_weight_is_found_once_with_its_bias(name: str) -> None:
    module, inputs = network(name)
    probe = LayerProbe(module, inputs)
    arrays = parameters(module)
    weights = [i for i, a in enumerate(arrays) if a.ndim > 1 and not (name == "hnerv" and i == 0)]
    assert sorted(layer.weight for layer in probe.layers) == weights
    for layer, rows in zip(probe.layers, probe.inputs_of(module), strict=True):
        assert layer.bias == (None if arrays[layer.weight + 1].ndim > 1 else layer.weight + 1)
        assert sorted(layer.elements.ravel()) == list(range(arrays[layer.weight].size))
        assert layer.elements.shape[1] == arrays[layer.weight + 1].size or layer.bias is None
        assert rows.shape[1] == layer.elements.shape[0] and len(rows) <= MAX_ROWS


def outputs(module: Representation, inputs: jax.Array) -> list[ndarray]:
    """What each layer puts out before its nonlinearity, from its inputs."""
    probe, arrays = LayerProbe(module, inputs), [np.asarray(a, np.float64) for a in parameters(module)]
    return [
        rows @ arrays[layer.weight].ravel()[layer.elements] + arrays[layer.bias or 0]
        for layer, rows in zip(probe.layers, probe.inputs_of(module), strict=True)
    ]


def test_inputs_of_sine_layers_are_sines_of_the_outputs_before() -> None:
    module, inputs = network("siren")
    probe = LayerProbe(module, inputs)
    before = outputs(module, inputs)
    for rows, out in zip(probe.inputs_of(module)[1:], before[:-1], strict=True):
        np.testing.assert_allclose(rows, np.sin(OMEGA_HIDDEN * out), atol=1e-4)
    np.testing.assert_allclose(before[-1] + 0.5, module.predict(inputs), atol=1e-4)


@pytest.mark.parametrize("name", ["nerv", "hnerv"])
def test_inputs_of_convolutions_are_their_patches(name: str) -> None:
    """The head's outputs are the picture, and they are made of all that came before."""
    module, inputs = network(name)
    final = 0.5 * np.tanh(outputs(module, inputs)[-1]) + 0.5
    frames = np.asarray(module.predict(inputs))
    height, width = frames.shape[1:3]
    uncut = final.reshape(len(frames), -1, final.shape[-1])
    rows = next(r for r in range(height, 4 * height) if uncut.shape[1] % r == 0 and uncut.shape[1] // r >= width)
    np.testing.assert_allclose(uncut.reshape(len(frames), rows, -1, 3)[:, :height, :width], frames, atol=1e-4)


@pytest.mark.parametrize("name", ["siren", "nerv", "hnerv", slow("enerv")])
def test_outputs_are_kept_better_than_by_plain_rounding(name: str) -> None:
    module, inputs = network(name)
    levels = steps_for(module, 0.3)
    plain = rounded(module, levels)
    kept = round_outputs(module, inputs, levels, price=0.0)
    assert [t.levels for t in kept] == levels
    assert all(t.integers.shape == a.shape for t, a in zip(kept, parameters(module), strict=True))
    least = 1.0 if name == "nerv" else 0.95  # other initial values of NeRV: 0.96 to 1.0
    assert error(module, inputs, kept) < least * error(module, inputs, plain)
    assert max(np.abs(a.integers - b.integers).max() for a, b in zip(kept, plain, strict=True)) <= 20


def test_a_price_buys_shorter_integers() -> None:
    module, inputs = network("siren")
    levels = steps_for(module, 1.0)
    free, priced = (round_outputs(module, inputs, levels, price) for price in (0.0, 5.0))
    assert sum(tensor_costs(priced)) < 0.98 * sum(tensor_costs(free))
    assert error(module, inputs, priced) > error(module, inputs, free)


def test_steps_of_channels_are_kept() -> None:
    module, inputs = network("siren")
    levels = [
        ChannelSteps(s.step_index, (tuple(4 * (i % 3) for i in range(a.shape[0])), *[()] * (a.ndim - 1)))
        for s, a in zip(steps_for(module, 0.2), parameters(module), strict=True)
    ]
    kept = round_outputs(module, inputs, levels)
    nearest = [QuantisedTensor(s.quantise(np.asarray(a)), s) for s, a in zip(levels, parameters(module), strict=True)]
    assert [t.levels for t in kept] == levels
    assert error(module, inputs, kept) < 0.8 * error(module, inputs, nearest)


def test_dead_inputs_are_rounded_as_they_are() -> None:
    """Embeddings of zeros make inputs of zeros, which say nothing of their weights."""
    grid = Grid((2, 9, 9), 1)
    module = HnervConfig.solve(grid, 600).build(grid, jax.random.key(1))
    levels = steps_for(module, 0.01)
    kept, plain = round_outputs(module, jnp.arange(2.0), levels), rounded(module, levels)
    np.testing.assert_array_equal(kept[1].integers, plain[1].integers)
    assert error(module, jnp.arange(2.0), kept) < 1e-4
