"""Rounding after training that minimises the error of each layer's output, in place of each weight's own.

COMQ (Zhang et al., 2024) rounds a layer's weights W to Q by coordinate descent on ||X W - X Q||^2, X being the layer's
inputs at samples: no back-propagation, and seconds of work. Added here:

- inputs come from the network as it is rounded so far, and the target is the output of the float one, so that a layer
  makes good what layers before it did;
- a bias takes up the mean error of its layer's output;
- a bit has a price, as in rate-distortion optimised quantisation: of two integers nearly as good the shorter is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from inrzip.architectures.base import Representation, parameters
from inrzip.codecs.levels import ChannelSteps, UniformSteps
from inrzip.codecs.uniform import MAX_MAGNITUDE
from inrzip.codecs.weights import QuantisedTensor

from .layer_inputs import Layer, LayerProbe

SWEEPS = 3
"""Later ones change less than one weight in a hundred."""
RIDGE = 0.1
"""How strongly, beside the inputs' own mean square, a layer's target is held to its float weights. Anything from 0.001
to 1 gave the same quality within a few hundredths of a dB.
"""
LEAST_MEAN = 1e-3
"""Mean magnitude of integers below which a density is not made narrower."""
HIGH_RATE_PRICE = math.log(2) / 6
"""What a bit is worth in squared steps where steps are at their best (`inrzip.codecs.uniform.allocate_steps`)."""

Steps = UniformSteps | ChannelSteps


def round_outputs(
    module: Representation, inputs: Array, levels: Sequence[Steps], price: float = 1.0
) -> list[QuantisedTensor]:
    """The arrays of `module` in integers of `levels` that keep what layers put out at `inputs` (those of `predict`).

    `price`: 0 for rounding that looks at errors alone; 1 for a bit's worth at the best steps. Arrays that are no
    layer's weight or bias are rounded to the nearest. `inputs`: some ten thousand points, or a few frames.
    """
    arrays = [np.asarray(array, np.float32) for array in parameters(module)]
    tensors = [QuantisedTensor(level.quantise(array), level) for array, level in zip(arrays, levels, strict=True)]
    probe = LayerProbe(module, inputs)
    current = list(arrays)
    for place, (layer, exact) in enumerate(zip(probe.layers, probe.inputs_of(module), strict=True)):
        found = probe.inputs_of(_with_arrays(module, current))[place]
        weight = _elements(arrays[layer.weight], layer)
        steps = _elements(np.broadcast_to(levels[layer.weight].steps(), arrays[layer.weight].shape), layer)
        integers = np.zeros(arrays[layer.weight].size, np.int32)
        integers[layer.elements.ravel()] = _round_layer(weight, exact, found, steps, price).ravel()
        _replace(tensors, current, layer.weight, integers.reshape(arrays[layer.weight].shape))
        if layer.bias is not None:
            missing = exact @ weight - found @ _elements(current[layer.weight], layer)
            bias = arrays[layer.bias] + missing.mean(axis=0).reshape(arrays[layer.bias].shape)
            _replace(tensors, current, layer.bias, levels[layer.bias].quantise(bias))
    return tensors


def _round_layer(
    weight: Float[np.ndarray, "inputs outputs"],
    exact: Float[np.ndarray, "rows inputs"],
    found: Float[np.ndarray, "rows inputs"],
    steps: Float[np.ndarray, "inputs outputs"],
    price: float,
) -> Int[np.ndarray, "inputs outputs"]:
    """Integers for which `found @ (integers * steps)` is near `exact @ weight`."""
    gram = found.T @ found / len(found)
    mean_square = float(np.trace(gram)) / len(gram)
    ridge = RIDGE * mean_square + np.finfo(np.float32).tiny
    gram[np.diag_indices_from(gram)] += ridge
    target = np.linalg.solve(gram, found.T @ (exact @ weight) / len(found) + ridge * weight)
    return _descend(target, gram, steps, price * HIGH_RATE_PRICE * mean_square * steps**2)


def _descend(
    target: Float[np.ndarray, "inputs outputs"],
    gram: Float[np.ndarray, "inputs inputs"],
    steps: Float[np.ndarray, "inputs outputs"],
    bit_price: Float[np.ndarray, "inputs outputs"],
) -> Int[np.ndarray, "inputs outputs"]:
    """Minimises, for each output, `e^T gram e` and the price of bits, with e the error of its weights: one input's
    weights at a time, those of the strongest inputs first.
    """
    integers = np.rint(target / steps)
    errors = target - integers * steps
    pull = gram @ errors
    for _ in range(SWEEPS):
        bits = _bits(integers)
        for i in np.argsort(-np.diag(gram), kind="stable"):
            wanted = (target[i] + pull[i] / gram[i, i] - errors[i]) / steps[i]
            below = np.floor(wanted)
            beyond = np.where(wanted > 0, below - 1, below + 2)  # one further towards zero
            costs = [
                gram[i, i] * (steps[i] * (wanted - candidate)) ** 2 + bit_price[i] * bits(candidate)
                for candidate in (below, below + 1, beyond)
            ]
            integers[i] = np.choose(np.argmin(costs, axis=0), (below, below + 1, beyond))
            change = target[i] - integers[i] * steps[i] - errors[i]
            if change.any():
                pull += np.outer(gram[:, i], change)
                errors[i] += change
    return np.asarray(np.clip(integers, -MAX_MAGNITUDE, MAX_MAGNITUDE), np.int32)


def _bits(integers: Float[np.ndarray, "..."]) -> Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]:
    """How many bits an integer takes under the Laplace density that fits `integers`."""
    ratio = math.exp(-math.asinh(0.5 / max(float(np.abs(integers).mean()), LEAST_MEAN)))
    zero, one, more = -math.log2(1 - ratio), -math.log2(ratio * (1 - ratio**2) / 2), -2 * math.log2(ratio)
    return lambda numbers: np.where(numbers == 0, zero, one + more * (np.abs(numbers) - 1))


def _elements(array: Float[np.ndarray, "..."], layer: Layer) -> Float[np.ndarray, "inputs outputs"]:
    """A weight as a matrix, in double precision."""
    matrix: Float[np.ndarray, "inputs outputs"] = np.asarray(array, np.float64).ravel()[layer.elements]
    return matrix


def _replace(
    tensors: list[QuantisedTensor],
    current: list[Float[np.ndarray, "..."]],
    place: int,
    integers: Int[np.ndarray, "..."],
) -> None:
    """Puts new integers, and the values that they stand for, in the place of an array's."""
    tensors[place] = QuantisedTensor(integers, tensors[place].levels)
    current[place] = tensors[place].values()


def _with_arrays(module: Representation, arrays: Sequence[Float[np.ndarray, "..."]]) -> Representation:
    old, static = eqx.partition(module, eqx.is_inexact_array)
    new = jax.tree.unflatten(jax.tree.structure(old), [jnp.asarray(array) for array in arrays])
    network: Representation = eqx.combine(new, static)
    return network
