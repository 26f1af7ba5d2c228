"""Any network of positions whose weights are latents of a learned prior: COMBINER (Guo et al., NeurIPS 2023).

Its weights are those that all signals of a prior have in common, plus a latent each: Gaussian posteriors of the latents
are posteriors of the weights. Where the network is a perceptron, training samples the sums of its units in place of the
weights: the local reparameterisation of Kingma et al. (2015), whose gradients are less noisy, as each sample of the
signal has noise of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .base import Config, Grid, PointRepresentation, Representation, parameters
from .combiner_network import Layout
from .pointwise import Perceptron
from .precision import double_precision

MAX_WEIGHTS = 1 << 15
"""Latents of a patch."""
MAX_POINTS = 1 << 16


class Usual(NamedTuple):
    """What all signals share: the weights that latents of 0 make."""

    weights: Any


@dataclasses.dataclass(frozen=True)
class WeightLayout:
    """A network with latents for weights.

    - `config`: of the network, an architecture of positions. `axes`, `channels`: of the signals; `side`: samples of a
      patch along each axis.
    - `gain`: what signals count, beside those that the usual lambdas are for. Only training asks.
    """

    config: Config
    axes: int
    channels: int
    side: int
    gain: float = 1.0

    grids = ()
    """There are no grids of latents."""

    @property
    def patch(self) -> tuple[int, ...]:
        return (self.side,) * self.axes

    @property
    def grid(self) -> Grid:
        """What the network is built for."""
        return Grid(self.patch, self.channels)

    @property
    def n_latents(self) -> int:
        """Weights of the network."""
        return sum(math.prod(shape) for shape in self.shapes())

    def shapes(self) -> list[tuple[int, ...]]:
        """Of its arrays of weights, in order."""
        return [leaf.shape for leaf in parameters(_structure(self.config, self.grid))]

    def latent_counts(self) -> list[int]:
        """Of each array of weights."""
        return [math.prod(shape) for shape in self.shapes()]

    def check(self) -> None:
        """Raises ValueError for a layout that no trainer makes."""
        if not (1 <= self.axes <= 3 and 1 <= self.channels <= 4 and 1 <= self.side**self.axes <= MAX_POINTS):
            raise ValueError("it describes no network that could be")
        self.config.check(self.grid)
        if self.config.frame_wise or self.config.n_parameters(self.grid) > MAX_WEIGHTS:
            raise ValueError("its network is none of positions, or too large")
        if not isinstance(_structure(self.config, self.grid), PointRepresentation):
            raise ValueError("its network is none of positions")

    def evaluate(self, shared: Usual, latents: Any, xp: ModuleType) -> Any:
        """Values of patches, (patches, samples, channels), of latents (patches, n_latents), computed in their type of
        number. `xp`: NumPy or JAX's.
        """
        if xp is not np:
            return _values(self, shared.weights + latents)
        if latents.dtype == np.float64:
            with double_precision():
                return np.asarray(_values(self, jnp.asarray(shared.weights.astype(np.float64) + latents)))
        n = len(latents)
        padded = np.concatenate([latents, np.zeros(((1 << (n - 1).bit_length()) - n, self.n_latents), latents.dtype)])
        return np.asarray(_compiled(self, jnp.asarray(shared.weights + padded)))[:n]

    def sampled(self, shared: Usual, mean: Array, deviation: Array, key: PRNGKeyArray) -> Array:
        """The same of a sample of Gaussian latents."""
        if not isinstance(_structure(self.config, self.grid), Perceptron):
            return cast(Array, self.evaluate(shared, mean + deviation * jax.random.normal(key, mean.shape), jnp))
        keys = jax.random.split(key, len(mean))
        return jax.vmap(functools.partial(self._sampled_sums, shared))(mean, deviation, keys)

    def _sampled_sums(
        self, shared: Usual, mean: Float[Array, " n"], deviation: Float[Array, " n"], key: PRNGKeyArray
    ) -> Float[Array, "samples channels"]:
        network = cast(Perceptron, self._network(shared.weights + mean))
        return network.predict_sampled(jnp.asarray(self._positions()), cast(Perceptron, self._network(deviation)), key)

    def _positions(self) -> Float[np.ndarray, "samples axes"]:
        axes = np.meshgrid(*self.grid.axes(), indexing="ij")
        return np.stack([axis.ravel() for axis in axes], -1)

    def _network(self, weights: Float[Array, " n"]) -> Representation:
        """The network of these weights."""
        leaves, tree = jax.tree.flatten(_structure(self.config, self.grid))
        pieces = iter(jnp.split(weights, np.cumsum(self.latent_counts())[:-1]))
        filled = [next(pieces).reshape(leaf.shape) if _is_weight(leaf) else leaf for leaf in leaves]
        return cast(Representation, jax.tree.unflatten(tree, filled)).settled()


AnyLayout: TypeAlias = Layout | WeightLayout
AnyShared: TypeAlias = Any
"""A `Shared` or a `Usual`, as the layout is."""


def _is_weight(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


@functools.lru_cache(maxsize=16)
def _structure(config: Config, grid: Grid) -> Representation:
    return config.structure(grid)


def _values(layout: WeightLayout, weights: Array) -> Array:
    def one(own: Array) -> Array:
        predicting = cast(Representation, layout._network(own).prepare()[0])
        return predicting.predict(jnp.asarray(layout._positions().astype(own.dtype)))

    return jax.vmap(one)(weights)


@functools.partial(jax.jit, static_argnums=0)
def _compiled(layout: WeightLayout, weights: Array) -> Array:
    return _values(layout, weights)


def start(layout: WeightLayout, seed: int) -> Usual:
    """Where training begins: the network as it is drawn, float32."""
    drawn = parameters(layout.config.build(layout.grid, jax.random.key(seed)))
    return Usual(np.concatenate([np.asarray(array, np.float32).ravel() for array in drawn]))


def sizes(layout: WeightLayout, shared: Usual) -> Float[np.ndarray, " n"]:
    """For each weight, the root mean square of its array."""
    pieces = np.split(np.asarray(shared.weights), np.cumsum(layout.latent_counts())[:-1])
    least = max(float(np.sqrt(np.mean(np.square(np.asarray(shared.weights))))), 1e-3) / 10
    return np.concatenate([np.full(len(p), max(float(np.sqrt(np.mean(p**2))), least)) for p in pieces])
