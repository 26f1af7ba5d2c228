"""A network of weights -1, 0 and 1, evaluated in whole numbers: the ternary variant of bit planes (Han et al., "Towards
lossless implicit neural representation via bit plane decomposition", CVPR 2025; its layers are those of Ma et al., "The
era of 1-bit LLMs", 2024).

Each layer adds and subtracts; what comes out is taken less its mean and divided by its greatest magnitude, so that the
scale of weights, of which BitNet keeps one for each layer, is of no account, and goes through a table. Sums, divisions
that round down and tables are the same everywhere: decoders agree on every bit, and no near ties need listing, which
rounded activations of floats would make of any value.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from itertools import pairwise
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy import ndarray

from inrzip.errors import CorruptFile

from .base import Axes, Config, Grid, PointRepresentation, solve_width

MAX_WIDTH, MAX_DEPTH = 4096, 64
MAX_AXIS = 1 << 32
"""Samples of an axis: phases are whole numbers that float64 holds exactly."""
TOP = 2047
"""Activations are whole numbers from -TOP to TOP."""
TURN = 1024
"""Phases are in 1/1024 turn."""
REACH = 4.0
"""The greatest magnitude in a layer is that of a GELU's argument."""
LOGIT_GAIN = 1.0
DEFAULT_DEPTH = 2
LEAST_MEAN = 1e-30
BLOCK = 4096
"""Points that are evaluated at once."""


@functools.cache
def waves() -> Int[ndarray, " 1024"]:
    """TOP sin(2 pi i / TURN), rounded. No value lies near to one half: float64 is enough."""
    table: Int[ndarray, " 1024"] = np.rint(TOP * np.sin(2 * np.pi * np.arange(TURN) / TURN)).astype(np.int64)
    return table


@functools.cache
def bends() -> Int[ndarray, " 4095"]:
    """For q from -TOP to TOP, (TOP / REACH) z P(z), rounded, with z = q REACH / TOP and P the normal distribution."""
    values = [REACH * q / TOP for q in range(-TOP, TOP + 1)]
    exact = [TOP / REACH * z * 0.5 * (1 + math.erf(z / math.sqrt(2))) for z in values]
    return np.rint(exact).astype(np.int64)


def octaves(n: int) -> int:
    """Frequencies of an axis of `n` samples: the last has half a turn or more for each sample."""
    return max(1, (n - 1).bit_length())


@dataclasses.dataclass(frozen=True)
class TernaryConfig(Config):
    """`depth` hidden layers of `width` units, without biases."""

    width: int
    depth: int

    number: ClassVar[int] = 31
    rate_times_width: ClassVar[float] = 1.0

    def shapes(self, grid: Grid) -> list[tuple[int, int]]:
        """Of the weights, layer by layer."""
        entering = 1 + sum(2 * octaves(n) for n in grid.shape)
        return [(b, a) for a, b in pairwise([entering, *[self.width] * self.depth, grid.channels])]

    def build(self, grid: Grid, key: PRNGKeyArray) -> Ternary:
        layers = []
        for i, (n_out, n_in) in enumerate(self.shapes(grid)):
            own = jax.random.uniform(jax.random.fold_in(key, i), (n_out, n_in), jnp.float32, -1, 1)
            layers.append(own / math.sqrt(n_in))
        return Ternary(layers=layers, config=self, grid=grid)

    def n_parameters(self, grid: Grid) -> int:
        return sum(map(math.prod, self.shapes(grid)))

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        depth = settings.pop("depth", DEFAULT_DEPTH)
        width = settings.pop("width", 0) or solve_width(
            lambda width: cls(width, depth).n_parameters(grid), n_parameters, 2, MAX_WIDTH
        )
        if settings:
            raise ValueError(f"ternary networks have no {', '.join(settings)}")
        return cls(width, depth)

    def learning_rate(self, peak: float, n_steps: int) -> float:
        return min(peak, self.rate_times_width / self.width)

    def check(self, grid: Grid) -> None:
        if not 1 <= self.width <= MAX_WIDTH or not 1 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"a network of {self.depth} layers of {self.width}")
        if max(grid.shape) > MAX_AXIS:
            raise ValueError(f"an axis of {max(grid.shape)} samples")


class Ternary(PointRepresentation):
    """The network of `TernaryConfig`. While it is fitted, its arrays are what becomes -1, 0 or 1, with gradients that
    pass straight through (Bengio et al., 2013); in files they are these.
    """

    layers: list[Float[Array, "out in"]]
    config: TernaryConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    output_axis: ClassVar[int] = 0

    def predict(self, positions: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        """What `render` decides by, in floats: it says above one half for nearly all ones, below it for zeros."""
        x = self._enter(positions)
        *hidden, last = self.layers
        for weights in hidden:
            sums = _through(weights, rounded(weights)) @ x
            sums = sums - jnp.mean(sums, 0)
            scaled = sums / jnp.maximum(_largest(jnp.abs(sums)), 1 / TOP)
            bent = jax.nn.gelu(REACH * _through(scaled, jnp.floor(TOP * scaled) / TOP), approximate=False) / REACH
            x = _through(bent, jnp.round(TOP * bent) / TOP)
        return (LOGIT_GAIN / math.sqrt(x.shape[0]) * (_through(last, rounded(last)) @ x)).T + 0.5

    def _enter(self, positions: Float[Array, "points dims"]) -> Float[Array, "features points"]:
        found = [jnp.ones((1, len(positions)), jnp.float32)]
        for axis, n in enumerate(self.grid.shape):
            left = 2 * positions[:, axis] + 1
            for _ in range(octaves(n)):
                left = left % (2 * n)
                angles = (2 * math.pi / TURN) * jnp.floor(TURN // 2 * left / n)
                found.append(jnp.stack([jnp.sin(angles), jnp.cos(angles)]))
                left = 2 * left
        return jnp.round(TOP * jnp.concatenate(found)) / TOP

    def whole(self) -> list[Int[ndarray, "out in"]]:
        """The weights. Raises CorruptFile if a file has others than -1, 0 and 1."""
        found = [np.asarray(layer, np.float64) for layer in self.layers]
        if not all(np.isin(layer, (-1, 0, 1)).all() for layer in found):
            raise CorruptFile("a ternary network has weights besides -1, 0 and 1")
        return [layer.astype(np.int64) for layer in found]

    def render(self, axes: Axes) -> Float[ndarray, "*grid channels"]:
        """1 where the network says so, else 0: in whole numbers, the same on every machine."""
        weights = [layer.astype(np.float64) for layer in self.whole()]
        entering = [_encoded(np.asarray(axis, np.float64), n) for axis, n in zip(axes, self.grid.shape, strict=True)]
        shape = tuple(len(axis) for axis in axes)
        n_points = math.prod(shape)
        values = np.empty((n_points, self.grid.channels), np.float32)
        for start in range(0, n_points, BLOCK):
            index = np.unravel_index(np.arange(start, min(start + BLOCK, n_points)), shape)
            x = np.concatenate(
                [np.full((1, len(index[0])), float(TOP)), *(e[:, i] for e, i in zip(entering, index, strict=True))]
            )
            values[start : start + BLOCK] = (_sums(weights, x) > 0).T
        return values.reshape(*shape, self.grid.channels)

    def in_single(self) -> set[str]:
        return set()

    def precise(self) -> Float[ndarray, "*grid channels"]:
        return self.render(self.grid.axes()).astype(np.float64)


def rounded(weights: Float[Array, "out in"]) -> Float[Array, "out in"]:
    """-1, 0 or 1: what is nearest in units of the mean magnitude (BitNet b1.58). Such weights stay as they are."""
    unit = jnp.maximum(jnp.mean(jnp.abs(weights)), LEAST_MEAN)
    return jnp.round(jnp.clip(weights / unit, -1, 1))


def _largest(values: Float[Array, "units points"]) -> Float[Array, " points"]:
    """The maxima by points. The gradient of `jnp.max` looks for values that equal them, and is not a number where a
    compiler made a value twice with other last bits.
    """
    return jnp.take_along_axis(values, jnp.argmax(values, 0)[None], 0)[0]


def _through(values: Array, used: Array) -> Array:
    """`used`, with the gradient of `values`."""
    return values + jax.lax.stop_gradient(used - values)


def _encoded(positions: Float[ndarray, " n"], n: int) -> Float[ndarray, "features n"]:
    """Sines and cosines of positions along an axis of `n` samples. All numbers are whole at samples, and exact."""
    table, found, left = waves(), [], 2 * positions + 1
    for _ in range(octaves(n)):
        left = np.mod(left, 2 * n)
        phase = np.floor(TURN // 2 * left / n).astype(np.int64) % TURN
        found += [table[phase], table[(phase + TURN // 4) % TURN]]
        left = 2 * left
    return np.stack(found).astype(np.float64)


def _sums(weights: list[Float[ndarray, "out in"]], x: Float[ndarray, "in points"]) -> Float[ndarray, "out points"]:
    """The last layer's sums. Whole numbers below 2^53 throughout, so matrix products in float64 are exact."""
    for layer in weights[:-1]:
        sums = (layer @ x).astype(np.int64)
        centred = len(sums) * sums - sums.sum(0)
        scaled = TOP * centred // np.maximum(np.abs(centred).max(0), 1)
        x = bends()[scaled + TOP].astype(np.float64)
    found: Float[ndarray, "out points"] = weights[-1] @ x
    return found
