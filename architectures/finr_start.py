"""Where fits of decomposed tensors (`inrzip/architectures/finr.py`) begin: at a decomposition of the samples.

The networks of the axes end in a linear layer. With all layers before it as they were drawn, factors are whatever lies
in the span of what these put out along their axis; so the best ones follow without a single step. The samples are
projected onto all these spans, which leaves a small array, and that is decomposed: by alternating least squares (CP;
Carroll and Chang, 1970, Harshman, 1970), by the singular vectors of its unfoldings (Tucker; De Lathauwer et al., 2000),
or by one singular value decomposition after the other (trains; Oseledets, 2011).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from .base import PointRepresentation, parameters

LEAST_SINGULAR = 1e-2
"""Directions in which all that a network puts out varies less, relative to the one in which it varies most, are left
out: weights that reach for them would be large, and would not survive rounding. With 1e-3 a volume begins 0.6 dB higher
and with 5e-2 1.6 dB lower; fits from there at a rate of 3e-4 end at 8.9, 31.0 and 30.0 dB with 1e-3, 1e-2 and 5e-2.
"""
ITERATIONS = 5
"""Of alternating least squares, through all axes."""
NEGLIGIBLE = 1e-3
"""Of the sum of squares, what alternating least squares may leave out along each axis."""
RIDGE = 1e-6
"""Of the least squares, relative to the mean square of what they see."""
MOST_VALUES = 1 << 25
"""Of larger signals, every second or third .. sample along the longest axes is looked at."""

Matrix = Float[ndarray, "rows columns"]
Values = Float[ndarray, "..."]


@dataclasses.dataclass(frozen=True)
class Span:
    """What a network's last layer can make along its axis: `basis` @ z, orthonormal, is made by the weights `back` @ z,
    those of the layer and then its bias.
    """

    basis: Matrix
    back: Matrix


def span(network: PointRepresentation, positions: Float[ndarray, " n"]) -> Span:
    """Of a network's last layer, at these positions."""
    *_, weight, bias = parameters(network)
    of_one = with_last_layer(network, jnp.take(weight, jnp.array([0]), axis=weight.ndim - 2), jnp.zeros_like(bias[:1]))
    features = np.asarray(_features(of_one, jnp.asarray(positions, jnp.float32)), np.float64)
    seen = np.concatenate([features.reshape(len(positions), -1), np.ones((len(positions), 1))], axis=1)
    u, s, v = np.linalg.svd(seen, full_matrices=False)
    kept = s > LEAST_SINGULAR * s[0]
    return Span(u[:, kept], v[kept].T / s[kept])


@eqx.filter_jit
def _features(network: PointRepresentation, positions: Float[Array, " n"]) -> Float[Array, "n ..."]:
    """How a network's only output depends on each weight of its last layer, which is linear."""
    *_, weight, bias = parameters(network)

    def output(weight: Float[Array, "..."]) -> Float[Array, " n"]:
        return with_last_layer(network, weight, bias).predict(positions[:, None])[:, 0]

    features: Float[Array, "n ..."] = jax.jacfwd(output)(jnp.zeros_like(weight))
    return features


def with_last_layer(network: PointRepresentation, weight: Array, bias: Array) -> PointRepresentation:
    """The network with another last layer."""
    leaves, structure = jax.tree.flatten(network)
    changed: PointRepresentation = jax.tree.unflatten(structure, [*leaves[:-2], weight, bias])
    return changed


def with_factors(network: PointRepresentation, within: Span, factors: Matrix) -> PointRepresentation:
    """The network whose values, less 1/2, are `within.basis` @ `factors`: a column for each channel."""
    *_, weight, _ = parameters(network)
    solved = within.back @ factors
    shape = (*weight.shape[:-2], weight.shape[-1], weight.shape[-2])
    new = np.swapaxes(solved[:-1].reshape(shape), -1, -2)
    return with_last_layer(network, jnp.asarray(new, jnp.float32), jnp.asarray(solved[-1], jnp.float32))


def projected(values: Values, spans: Sequence[Span]) -> Values:
    """Values (axes, then channels) as the array of their products with the bases."""
    values = values.astype(np.float32)
    for axis, within in enumerate(spans):
        values = np.moveaxis(np.tensordot(within.basis.T.astype(np.float32), values, axes=(1, axis)), 0, axis)
    return values.astype(np.float64)


def thinned(shape: Sequence[int], channels: int) -> tuple[slice, ...]:
    """The samples that are looked at."""
    strides = [1] * len(shape)
    while math.prod(-(-n // s) for n, s in zip(shape, strides, strict=True)) * channels > MOST_VALUES:
        left = [-(-n // s) for n, s in zip(shape, strides, strict=True)]
        strides[left.index(max(left))] += 1
    return tuple(slice(None, None, s) for s in strides)


# ---- decompositions ----


def canonical(core: Values, rank: int) -> tuple[list[Matrix], Matrix]:
    """Factors (places, rank) of length 1 of all axes but the last, and those of the last: core[i, j, .., c] is nearly
    the sum over r of a[i, r] b[j, r] .. z[c, r].
    """
    bases, core = _compressed(core)
    rng = np.random.default_rng(0)
    n_axes = core.ndim
    factors = [rng.normal(size=(n, rank)).astype(np.float32) / np.float32(math.sqrt(n)) for n in core.shape]
    unfolded = [np.ascontiguousarray(np.moveaxis(core, k, 0).reshape(core.shape[k], -1)) for k in range(n_axes)]
    for _ in range(ITERATIONS):
        for k in range(n_axes):
            others = [factor for i, factor in enumerate(factors) if i != k]
            gram = math.prod(factor.T.astype(np.float64) @ factor for factor in others)
            gram = gram + RIDGE * np.trace(gram) / rank * np.eye(rank)
            solved = np.linalg.solve(gram, (unfolded[k] @ _products(others)).T).T
            if k < n_axes - 1:
                solved /= np.maximum(np.linalg.norm(solved, axis=0), np.finfo(np.float64).tiny)
            factors[k] = solved.astype(np.float32)
    return [base @ factor for base, factor in zip(bases, factors[:-1], strict=True)], factors[-1]


def _compressed(core: Values) -> tuple[list[Matrix], Values]:
    """Orthonormal bases of all axes but the last, and the core in them, in float32: what least squares are faster
    with, and hardly miss.
    """
    bases, total = [], float(np.sum(core**2))
    for k in range(core.ndim - 1):
        flat = np.moveaxis(core, k, 0).reshape(core.shape[k], -1)
        energies, vectors = np.linalg.eigh(flat @ flat.T)
        kept = np.cumsum(energies) > NEGLIGIBLE * total
        kept[-1] = True
        bases.append(vectors[:, kept])
        core = np.moveaxis(np.tensordot(bases[-1].T, core, axes=(1, k)), 0, k)
    return bases, core.astype(np.float32)


def _products(factors: Sequence[Matrix]) -> Matrix:
    """All products of one entry of each, row by row."""
    product = factors[0]
    for factor in factors[1:]:
        product = (product[:, None] * factor[None]).reshape(-1, factor.shape[1])
    return product


def tucker(core: Values, rank: int) -> tuple[list[Matrix], Values]:
    """Factors (places, rank) of length 1 of all axes but the last, and their core (the last axis of `core`, ranks ..).
    Where an axis has fewer places than that, further factors are random ones, and the core has zeros for them.
    """
    rng = np.random.default_rng(0)
    factors = []
    for k in range(core.ndim - 1):
        flat = np.moveaxis(core, k, 0).reshape(core.shape[k], -1)
        factors.append(np.linalg.eigh(flat @ flat.T)[1][:, ::-1][:, :rank])
    inner = core
    for k, factor in enumerate(factors):
        inner = np.moveaxis(np.tensordot(factor.T, inner, axes=(1, k)), 0, k)
    for k, (factor, n) in enumerate(zip(factors, core.shape[:-1], strict=True)):
        more = max(0, rank - n)
        factors[k] = np.concatenate([factor, rng.normal(size=(n, more)) / math.sqrt(n)], axis=1)
        inner = np.pad(inner, [(0, more if i == k else 0) for i in range(inner.ndim)])
    return factors, np.moveaxis(inner, -1, 0)


def train(core: Values, rank: int) -> list[Values]:
    """Matrices of all axes but the last, (places, before, after), rank before and after each: but 1 before the first,
    and the last axis of `core` after the last. Where fewer do, what leads there is random, and what goes on from there
    is 0.
    """
    rng = np.random.default_rng(0)
    found: list[Values] = []
    rest, before = core.reshape(1, -1), 1
    for n in core.shape[:-2]:
        u, s, v = np.linalg.svd(rest.reshape(before * n, -1), full_matrices=False)
        kept = min(rank, len(s))
        # half of the size goes to each side, so that no matrix is much larger than others
        left, right = u[:, :kept] * np.sqrt(s[:kept]), np.sqrt(s[:kept])[:, None] * v[:kept]
        noise = rng.normal(size=(before * n, rank - kept)) * np.sqrt(np.mean(left**2))
        found.append(np.moveaxis(np.concatenate([left, noise], axis=1).reshape(before, n, rank), 1, 0))
        rest, before = np.pad(right, ((0, rank - kept), (0, 0))), rank
    found.append(np.moveaxis(rest.reshape(before, *core.shape[-2:]), 1, 0))
    return found
