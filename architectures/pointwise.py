"""What networks of a position alone have in common: width, depth, scales of the axes, and layers of sums and products.

SIREN and the networks that people compare it with are subclasses: `inrzip/architectures/siren.py`, `backbones.py`.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .base import Config, Grid, PointRepresentation, solve_width

MAX_WIDTH = 4096
MAX_DEPTH = 64
SCALE_UNIT = 8
"""Input scales are stored in eighths."""
SMALLEST_VARIANCE = 1e-12
"""Of sums: where they have none, a root has no slope."""

Shape = tuple[int, ...]
Layer = tuple[Float[Array, "out in"], Float[Array, " out"]]


@dataclasses.dataclass(frozen=True)
class PointwiseConfig(Config):
    """`depth` hidden layers of `width` units.

    `scales` holds, for each axis, eighths: an axis of scale 8 spans [-1, 1]; a larger scale spans more, and so raises
    the frequencies that a network starts with along that axis (long sounds need it).
    """

    width: int
    depth: int
    scales: tuple[int, ...]

    extra_settings: ClassVar[tuple[str, ...]] = ("scale",)
    rate_times_width: ClassVar[float] = math.inf
    """The largest learning rate of a width is this over the width."""

    @abc.abstractmethod
    def shapes(self, grid: Grid) -> list[Shape]:
        """Of the parameter arrays, in order."""

    @abc.abstractmethod
    def build(self, grid: Grid, key: PRNGKeyArray) -> PointRepresentation:
        """A freshly initialised network for signals on `grid`."""

    def n_parameters(self, grid: Grid) -> int:
        return sum(map(math.prod, self.shapes(grid)))

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        depth = settings.pop("depth", 0) or cls.default_depth(n_parameters)
        usual = tuple(map(cls.default_scale, grid.shape))
        scales = (settings.pop("scale"),) * len(usual) if "scale" in settings else usual
        width = settings.pop("width", 0) or solve_width(
            lambda width: cls(width, depth, scales).n_parameters(grid), n_parameters, 2, MAX_WIDTH
        )
        return cls(width, depth, scales, **settings)

    @staticmethod
    def default_depth(n_parameters: int) -> int:
        """Hidden layers that fitted best at a given size."""
        return 3 if n_parameters < 4_000 else 4 if n_parameters < 30_000 else 5

    @staticmethod
    def default_scale(n: int) -> int:
        """Scale of an axis of `n` samples, in eighths: 8 up to 1,000 samples, and growing with the length beyond."""
        return SCALE_UNIT * max(1, math.ceil(n / 1000))

    def learning_rate(self, peak: float, n_steps: int) -> float:
        return min(peak, self.rate_times_width / self.width)

    def check(self, grid: Grid) -> None:
        if not 1 <= self.width <= MAX_WIDTH or not 1 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"a network of {self.depth} layers of {self.width}")
        if len(self.scales) != len(grid.shape):
            raise ValueError(f"{len(self.scales)} scales for {len(grid.shape)} axes")


def scaled_positions(
    positions: Float[Array, "points dims"], grid: Grid, scales: Sequence[int]
) -> Float[Array, "dims points"]:
    """Positions in samples as coordinates around 0, an axis of scale 8 from -1 to 1. Features first: faster on CPUs."""
    lengths = jnp.asarray(grid.shape, jnp.float32)
    factors = np.asarray(scales, np.float32) / SCALE_UNIT
    return (((2 * positions + 1) / lengths - 1) * factors).T


def dense_shapes(sizes: Sequence[int]) -> list[Shape]:
    """Weight and bias of each layer between so many units."""
    return [shape for a, b in pairwise(sizes) for shape in ((b, a), (b,))]


Start = Callable[[PRNGKeyArray, int, int, int], Layer]
"""A layer before the fit, from a key, its number, and how many units enter and leave it."""


def started(shapes: Sequence[Shape], key: PRNGKeyArray, start: Start) -> list[Layer]:
    """The layers whose weights and biases have these shapes."""
    weights = shapes[::2]
    keys = jax.random.split(key, len(weights))
    return [start(k, i, n_in, n_out) for i, (k, (n_out, n_in)) in enumerate(zip(keys, weights, strict=True))]


def uniform_layer(key: PRNGKeyArray, n_in: int, n_out: int, bound: float, bias_bound: float) -> Layer:
    """A layer drawn uniformly from -bound to bound."""
    weight_key, bias_key = jax.random.split(key)
    weight = jax.random.uniform(weight_key, (n_out, n_in), jnp.float32, -bound, bound)
    return weight, jax.random.uniform(bias_key, (n_out,), jnp.float32, -bias_bound, bias_bound)


class Perceptron(PointRepresentation):
    """Layers x -> f(W x + b), and a linear last layer offset by one half, the middle of the range. Subclasses say what
    enters, and what f is.
    """

    layers: list[Layer]
    config: PointwiseConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    output_axis: ClassVar[int] = 0

    @abc.abstractmethod
    def activate(self, sums: Float[Array, "units points"]) -> Float[Array, "units points"]:
        """What follows W x + b in hidden layers."""

    def enter(self, positions: Float[Array, "points dims"]) -> Float[Array, "features points"]:
        """What the first layer sees."""
        return scaled_positions(positions, self.grid, self.config.scales)

    def predict(self, positions: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        x = self.enter(positions)
        *hidden, (weight, bias) = self.layers
        for w, b in hidden:
            x = self.activate(w @ x + b[:, None])
        return (weight @ x + bias[:, None] + 0.5).T

    def predict_sampled(
        self, positions: Float[Array, "points dims"], deviations: Perceptron, key: PRNGKeyArray
    ) -> Float[Array, "points channels"]:
        """What `predict` gives for weights that are drawn anew at each position, with these deviations: sums of units
        are drawn, which have the same distribution (Kingma et al., 2015, local reparameterisation).
        """
        x, last = self.enter(positions), len(self.layers) - 1
        for i, ((w, b), (dw, db)) in enumerate(zip(self.layers, deviations.layers, strict=True)):
            spread = jnp.sqrt(dw**2 @ x**2 + db[:, None] ** 2 + SMALLEST_VARIANCE)
            sums = w @ x + b[:, None]
            sums = sums + spread * jax.random.normal(jax.random.fold_in(key, i), sums.shape)
            x = sums + 0.5 if i == last else self.activate(sums)
        return x.T
