"""Fits the networks of exact samples (`inrzip.codecs.context`) to what they see: bits for each sample, made smaller.

The fit is in floating point; what is coded with is the network's whole numbers, so nothing here decides a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from inrzip.codecs.context import MAX_WEIGHT, Looks, Network
from inrzip.codecs.context_kernels import (
    COMPONENTS,
    FRACTION_BITS,
    LEAK_BITS,
    MAX_ACTIVATION,
    NETWORK_BITS,
    SCALE_LIMIT,
    UNIT_BITS,
)
from inrzip.codecs.context_tables import LOG_BITS

Arrays = tuple[Float[Array, "..."], ...]

BATCH = 8192
STEPS_AT_ONCE = 50
ADAM = optax.scale_by_adam()
PEAK = 2e-2
"""Adam's largest learning rate."""
FLOOR_BITS = 20
"""Every value has at least the probability 2^-20, about."""
BASE_BITS = 6
EVALUATED = 1 << 16
"""Samples that are evaluated in one call."""


class Batch(NamedTuple):
    """Some of the samples of a plane, in levels."""

    features: Float[Array, "batch features"]
    anchors: Float[Array, " batch"]
    bases: Float[Array, " batch"]
    values: Float[Array, " batch"]


def as_floats(network: Network) -> Arrays:
    """A network's weights and biases as what they stand for."""
    return tuple(jnp.asarray(array, jnp.float32) / (1 << NETWORK_BITS) for array in network)


def begin(key: PRNGKeyArray, shapes: Sequence[tuple[int, ...]]) -> Arrays:
    """A random network, for a fit from nothing: three curves of different widths around the prediction."""
    keys = jax.random.split(key, 3)
    first, second, last = (
        jax.random.normal(key, shape) / np.sqrt(shape[0]) for key, shape in zip(keys, shapes[::2], strict=True)
    )
    widths = jnp.concatenate([jnp.zeros(2 * COMPONENTS), jnp.linspace(-2.0, 1.0, COMPONENTS)])
    return first, jnp.zeros(shapes[1]), second, jnp.zeros(shapes[3]), last * 0.1, widths


def evaluate(network: Arrays, features: Float[Array, "batch features"]) -> Float[Array, "batch outputs"]:
    """What the whole numbers' network answers, but for rounding."""
    hidden = features
    limit = MAX_ACTIVATION / (1 << UNIT_BITS)
    for weight, bias in (network[:2], network[2:4]):
        hidden = hidden @ weight + bias
        hidden = jnp.clip(jnp.where(hidden >= 0, hidden, hidden / (1 << LEAK_BITS)), -limit, limit)
    return hidden @ network[4] + network[5]


def bits(network: Arrays, batch: Batch, depth: Float[Array, ""]) -> Float[Array, " batch"]:
    """What each sample costs; `depth`: 2^bits, values that samples may have."""
    outputs = evaluate(network, batch.features)
    weights = jax.nn.softmax(outputs[:, :COMPONENTS] * np.log(2))
    base, value = batch.bases[:, None], batch.values[:, None]
    means = batch.anchors[:, None] + base * outputs[:, COMPONENTS : 2 * COMPONENTS]
    limit = SCALE_LIMIT / (1 << LOG_BITS)
    inverse = jnp.exp2(-jnp.clip(outputs[:, 2 * COMPONENTS :], -limit, limit)) / base
    # far from a mean, differences of the curve are kept by taking them on its lower side
    low, high = (value - 0.5 - means) * inverse, (value + 0.5 - means) * inverse
    flip = jnp.where(low + high > 0, -1.0, 1.0)
    low, high = jnp.where(flip < 0, -high, low), jnp.where(flip < 0, -low, high)
    inside = jax.nn.sigmoid(high) - jax.nn.sigmoid(low)
    first = jax.nn.sigmoid((value + 0.5 - means) * inverse)
    last = jax.nn.sigmoid(-(value - 0.5 - means) * inverse)
    mass = jnp.where(value < 0.5, first, jnp.where(value > depth - 1.5, last, inside))
    floor = 2.0**-FLOOR_BITS
    return -jnp.log2(jnp.sum(weights * mass, 1) * (1 - floor) + floor)


def take(looks: Looks, index: Int[np.ndarray, " batch"] | slice) -> Batch:
    """Some samples of a plane."""
    return _batch(*(array[index] for array in (looks.features, looks.anchors, looks.bases, looks.values)))


def _batch(*looks: Array | Int[np.ndarray, "..."]) -> Batch:
    features, anchors, bases, values = looks

    def scaled(array: Array | Int[np.ndarray, "..."], n_bits: int) -> Array:
        return jnp.asarray(array, jnp.float32) / (1 << n_bits)

    return Batch(
        scaled(features, UNIT_BITS), scaled(anchors, FRACTION_BITS), scaled(bases, BASE_BITS), scaled(values, 0)
    )


_bits = jax.jit(bits)


def mean_bits(network: Arrays, looks: Looks, depth: int, most: int) -> float:
    """Bits for a sample of a plane, over at most so many of its samples."""
    count = len(looks.values)
    stride = -(-count // most)
    total, n = 0.0, 0
    for start in range(0, count, EVALUATED * stride):
        batch = take(looks, slice(start, start + EVALUATED * stride, stride))
        total += float(_bits(network, batch, jnp.float32(depth)).sum())
        n += len(batch.values)
    return total / n


class State(NamedTuple):
    """A fit on its way."""

    network: Arrays
    moments: optax.OptState
    key: PRNGKeyArray
    step: Array


class Rules(NamedTuple):
    """How a fit goes, see `fit`."""

    depth: Array
    peak: Array
    n_steps: Array
    price: Array
    unit: Array


def fit(
    looks: Looks,
    depth: int,
    network: Arrays,
    n_steps: int,
    peak: float,
    price: float = 0.0,
    unit: float = 0.0,
    going: Callable[[int, float], bool] = lambda step, loss: True,
) -> Arrays:
    """Adam on random batches, `n_steps` of them, or fewer when `going` (told steps and bits for a sample) is false.

    `price`: bits for moving a weight by 1 away from where it begins, divided by the number of samples. `unit`: from
    half of the steps on, what weights moved by counts as rounded to multiples of it (0: it does not).
    """
    arrays = tuple(jnp.asarray(array) for array in (looks.features, looks.anchors, looks.bases, looks.values))
    state = State(network, ADAM.init(network), jax.random.key(0), jnp.int32(0))
    for step in range(0, n_steps, STEPS_AT_ONCE):
        rules = Rules(*map(jnp.float32, (depth, peak, n_steps, price, unit)))
        state, loss = _steps(state, network, arrays, rules)
        if not going(step + STEPS_AT_ONCE, float(loss)):
            break
    return state.network


@jax.jit
def _steps(state: State, start: Arrays, arrays: tuple[Array, ...], rules: Rules) -> tuple[State, Array]:
    def cost(network: Arrays, batch: Batch, rounding: Array) -> Array:
        changes = tuple(a - b for a, b in zip(network, start, strict=True))
        used = tuple(b + _rounded(c, rounding) for b, c in zip(start, changes, strict=True))
        moved = jnp.sum(jnp.array([jnp.abs(c).sum() for c in changes]))
        return bits(used, batch, rules.depth).mean() + rules.price * moved

    def one(state: State, _: None) -> tuple[State, Array]:
        key, own = jax.random.split(state.key)
        rounding = jnp.where(2 * state.step >= rules.n_steps, rules.unit, 0.0)
        index = jax.random.randint(own, (BATCH,), 0, len(arrays[0]))
        loss, slopes = jax.value_and_grad(cost)(state.network, _batch(*(a[index] for a in arrays)), rounding)
        moves, moments = ADAM.update(slopes, state.moments)
        rate = rules.peak * 0.5 * (1 + jnp.cos(jnp.pi * state.step / rules.n_steps))
        network = tuple(a - rate * move for a, move in zip(state.network, moves, strict=True))
        return State(network, moments, key, state.step + 1), loss

    state, losses = lax.scan(one, state, None, STEPS_AT_ONCE)
    return state, losses.mean()


def _rounded(changes: Array, unit: Array) -> Array:
    """Changes in multiples of a unit, with the gradient of the identity."""
    safe = jnp.maximum(unit, 2.0**-NETWORK_BITS)
    rounded = jnp.where(unit > 0, jnp.round(changes / safe) * safe, changes)
    return changes + lax.stop_gradient(rounded - changes)


def in_whole(array: Float[Array, "..."], step: int = 1) -> Int[np.ndarray, "..."]:
    """Weights in whole numbers, as they are coded with: multiples of `step`."""
    scaled = np.rint(np.asarray(array, np.float64) * ((1 << NETWORK_BITS) / step)) * step
    whole: Int[np.ndarray, "..."] = np.clip(scaled, -MAX_WEIGHT, MAX_WEIGHT).astype(np.int64)
    return whole
