"""SIREN (Sitzmann et al., NeurIPS 2020), the network of COIN (Dupont et al., 2021), over any number of coordinates."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .base import Config, Grid, PointRepresentation, solve_width

OMEGA_HIDDEN = 30.0
MAX_WIDTH = 4096
MAX_DEPTH = 64
SCALE_UNIT = 8
"""Input scales are stored in eighths."""
RATE_TIMES_WIDTH = 0.3
"""The largest learning rate of a width is this over the width: wider networks diverge sooner (measured on a photograph:
one of 131 units at 3e-3 ends at 20.7 dB, at 2e-3 at 28.1 dB). 0.2 is 0.1 to 0.4 dB worse than 0.3.
"""


@dataclasses.dataclass(frozen=True)
class SirenConfig(Config):
    """A SIREN of `depth` hidden layers of `width` sines.

    `scales` holds, for each axis, eighths: an axis of scale 8 spans [-1, 1], as in the paper; a larger scale spans
    more, and so raises the frequencies that the first layer starts with along that axis (long sounds need it).
    """

    width: int
    depth: int
    scales: tuple[int, ...]

    number: ClassVar[int] = 1
    extra_settings: ClassVar[tuple[str, ...]] = ("scale",)

    def build(self, grid: Grid, key: PRNGKeyArray) -> Siren:
        return Siren(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        depth = settings.pop("depth", default_depth(n_parameters))
        scales = (
            (settings.pop("scale"),) * len(grid.shape) if "scale" in settings else tuple(map(default_scale, grid.shape))
        )

        def count(width: int) -> int:
            hidden = (depth - 1) * (width + 1) * width
            return (len(grid.shape) + 1) * width + hidden + (width + 1) * grid.channels

        return cls(
            settings.pop("width", 0) or solve_width(count, n_parameters, 2, MAX_WIDTH), depth, scales, **settings
        )

    def learning_rate(self, peak: float, n_steps: int) -> float:
        return min(peak, RATE_TIMES_WIDTH / self.width)

    def check(self, grid: Grid) -> None:
        if not 1 <= self.width <= MAX_WIDTH or not 1 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"SIREN of {self.depth} layers of {self.width}")
        if len(self.scales) != len(grid.shape):
            raise ValueError(f"{len(self.scales)} scales for {len(grid.shape)} axes")


def default_depth(n_parameters: int) -> int:
    """Hidden layers that fitted best at a given size (COIN uses 5 to 13; shallower and wider trains faster at equal
    bytes).
    """
    return 3 if n_parameters < 4_000 else 4 if n_parameters < 30_000 else 5


def default_scale(n: int) -> int:
    """Input scale for an axis of `n` samples, in eighths: 1 up to about 1,000 samples, and growing with the length
    beyond.
    """
    return SCALE_UNIT * max(1, math.ceil(n / 1000))


class Siren(PointRepresentation):
    """Sine layers x -> sin(30 (W x + b)), and a linear last layer offset by one half, the middle of the range."""

    layers: list[tuple[Float[Array, "out in"], Float[Array, " out"]]]
    config: SirenConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    output_axis: ClassVar[int] = 0

    def __init__(self, config: SirenConfig, grid: Grid, key: PRNGKeyArray):
        sizes = [len(grid.shape), *[config.width] * config.depth, grid.channels]
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = [
            _init_layer(k, n_in, n_out, first=i == 0)
            for i, (k, n_in, n_out) in enumerate(zip(keys, sizes[:-1], sizes[1:], strict=True))
        ]
        self.config = config
        self.grid = grid

    def predict(self, positions: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        lengths = jnp.asarray(self.grid.shape, jnp.float32)
        scales = jnp.asarray(self.config.scales, jnp.float32) / SCALE_UNIT
        x = (((2 * positions + 1) / lengths - 1) * scales).T  # features first: faster on CPUs
        *hidden, (weight, bias) = self.layers
        for w, b in hidden:
            x = sine(OMEGA_HIDDEN * (w @ x + b[:, None]))
        return (weight @ x + bias[:, None] + 0.5).T


def _init_layer(key: PRNGKeyArray, n_in: int, n_out: int, *, first: bool) -> tuple[Array, Array]:
    """SIREN section 3.2: U(-1/n, 1/n) first, U(-sqrt(6/n)/30, sqrt(6/n)/30) for other layers; small biases."""
    weight_key, bias_key = jax.random.split(key)
    bound = 1 / n_in if first else math.sqrt(6 / n_in) / OMEGA_HIDDEN
    weight = jax.random.uniform(weight_key, (n_out, n_in), jnp.float32, -bound, bound)
    bias_bound = 1 / math.sqrt(n_in) if first else bound
    return weight, jax.random.uniform(bias_key, (n_out,), jnp.float32, -bias_bound, bias_bound)


# sin(r) and cos(r) on [-pi/2, pi/2]: minimax fits, |error| < 1e-7
_SINE = (1.0, -0.16666648, 0.0083328988, -0.00019800819, 2.5903273e-06)
_COSINE = (0.99999994, -0.49999905, 0.041663576, -0.0013853635, 2.3152328e-05)


def _sine_and_cosine(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    turns = jnp.round(x * (1 / math.pi))
    # pi in two parts, so that the reduced angle keeps its accuracy
    r = (x - turns * 3.140625) - turns * 9.676536e-4
    sign = 1 - 2 * (turns - 2 * jnp.floor(turns * 0.5))
    square = r * r
    sin = r * _horner(_SINE, square)
    return sign * sin, sign * _horner(_COSINE, square)


def _horner(coefficients: tuple[float, ...], x: Float[Array, "..."]) -> Float[Array, "..."]:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value


@jax.custom_vjp
def sine(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """sin(x) for |x| up to some thousands by a polynomial: many times faster than the library's on CPUs, and apart from
    it: the same everywhere, but for the last bit where a compiler fuses operations.
    """
    return _sine_and_cosine(x)[0]


def _sine_forward(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    return _sine_and_cosine(x)


def _sine_backward(cosine: Float[Array, "..."], gradient: Float[Array, "..."]) -> tuple[Float[Array, "..."]]:
    return (cosine * gradient,)


sine.defvjp(_sine_forward, _sine_backward)
