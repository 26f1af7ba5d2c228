"""SIREN (Sitzmann et al., NeurIPS 2020), the network of COIN (Dupont et al., 2021), over any number of coordinates."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .base import Grid
from .pointwise import Layer, Perceptron, PointwiseConfig, Shape, dense_shapes, started, uniform_layer

OMEGA_HIDDEN = 30.0


@dataclasses.dataclass(frozen=True)
class SirenConfig(PointwiseConfig):
    """A SIREN of `depth` hidden layers of `width` sines. COIN uses 5 to 13; shallower and wider ones train faster at
    equal bytes.

    Wider networks diverge sooner (measured on a photograph: one of 131 units at 3e-3 ends at 20.7 dB, at 2e-3 at
    28.1 dB). A rate of 0.2 over the width is 0.1 to 0.4 dB worse than 0.3. What that allows narrow networks, up to the
    recipe's peak, is measured in docs/compact.md.
    """

    number: ClassVar[int] = 1
    rate_times_width: ClassVar[float] = 0.3

    def shapes(self, grid: Grid) -> list[Shape]:
        return dense_shapes([len(grid.shape), *[self.width] * self.depth, grid.channels])

    def build(self, grid: Grid, key: PRNGKeyArray) -> Siren:
        return Siren(grid, started(self.shapes(grid), key, start_layer), self)


class Siren(Perceptron):
    """Sine layers x -> sin(30 (W x + b))."""

    config: SirenConfig = eqx.field(static=True)

    def activate(self, sums: Float[Array, "units points"]) -> Float[Array, "units points"]:
        return sine(OMEGA_HIDDEN * sums)


def start_layer(key: PRNGKeyArray, number: int, n_in: int, n_out: int) -> Layer:
    """SIREN section 3.2: U(-1/n, 1/n) first, U(-sqrt(6/n)/30, sqrt(6/n)/30) for other layers; small biases."""
    first = number == 0
    bound = 1 / n_in if first else math.sqrt(6 / n_in) / OMEGA_HIDDEN
    return uniform_layer(key, n_in, n_out, bound, 1 / math.sqrt(n_in) if first else bound)


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
