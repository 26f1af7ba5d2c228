"""The networks that SIREN is compared with: each a function of a position, each with the same settings as SIREN.

ReLU with Fourier features (Tancik et al., 2020), FINER (Liu et al., CVPR 2024), Gauss (Ramasinghe and Lucey, 2022),
WIRE (Saragadam et al., CVPR 2023), BACON (Lindell et al., CVPR 2022) and Poly-INR (Singh et al., CVPR 2023) as a
network of one signal. Fixed random numbers come from `counted_random`, so that a file decodes anywhere.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy import ndarray

from .base import Grid, PointRepresentation
from .counted_random import BELL_SCALE, bell_array, words
from .pointwise import (
    SCALE_UNIT,
    Layer,
    Perceptron,
    PointwiseConfig,
    Shape,
    dense_shapes,
    scaled_positions,
    started,
    uniform_layer,
)
from .siren import sine

FEATURES_SEED = 1
FEATURES_SIGMA = 10.0
"""Standard deviation of the Fourier features' angular frequencies, in radians over half an axis of scale 8."""
FINER_OMEGA = 30.0
FINER_BIAS = 1.0
GAUSS_SCALE = 10.0
GAUSS_START = 0.3
WIRE_OMEGA = 10.0
WIRE_SCALE = 10.0
WIRE_START = 0.3
BACON_SEED = 2
BACON_HALF_BAND = 4
MAX_TURNS = 1000
"""Turns over an axis, in one layer: float32 tells no finer angles."""
POLY_LEAK = 0.2
POLY_LIMIT = 256.0
POLY_SLOPE = 3.0
POLY_GAIN = 0.5


def _random(key: PRNGKeyArray, n_in: int, n_out: int, gain: float) -> Layer:
    """Uniform with the variance gain / n_in, biases 0."""
    return uniform_layer(key, n_in, n_out, math.sqrt(3 * gain / n_in), 0.0)


# ---- ReLU with Fourier features ----


@dataclasses.dataclass(frozen=True)
class ReluConfig(PointwiseConfig):
    """Rectified layers over sines and cosines of random directions, together as many as `width`, or one more."""

    number: ClassVar[int] = 5
    rate_times_width: ClassVar[float] = 1.0

    def features(self) -> int:
        """Sines and cosines that enter."""
        return 2 * -(-self.width // 2)

    def shapes(self, grid: Grid) -> list[Shape]:
        return dense_shapes([self.features(), *[self.width] * self.depth, grid.channels])

    def build(self, grid: Grid, key: PRNGKeyArray) -> FourierRelu:
        return FourierRelu(grid, started(self.shapes(grid), key, self._start), self)

    def _start(self, key: PRNGKeyArray, number: int, n_in: int, n_out: int) -> Layer:
        return _random(key, n_in, n_out, 2.0 if number < self.depth else 0.1)


class FourierRelu(Perceptron):
    """Layers x -> max(W x + b, 0) over [sin(B p), cos(B p)], B fixed."""

    def enter(self, positions: Float[Array, "points dims"]) -> Float[Array, "features points"]:
        x = scaled_positions(positions, self.grid, self.config.scales)
        directions = bell_array(FEATURES_SEED, (self.layers[0][0].shape[1] // 2, len(self.grid.shape)))
        angles = (directions * np.float32(FEATURES_SIGMA / BELL_SCALE)).astype(np.float32) @ x
        return jnp.concatenate([sine(angles), sine(angles + np.float32(math.pi / 2))])

    def activate(self, sums: Float[Array, "units points"]) -> Float[Array, "units points"]:
        return jax.nn.relu(sums)


# ---- FINER ----


@dataclasses.dataclass(frozen=True)
class FinerConfig(PointwiseConfig):
    """Sines whose frequency grows with their argument."""

    number: ClassVar[int] = 6
    rate_times_width: ClassVar[float] = 0.3

    def shapes(self, grid: Grid) -> list[Shape]:
        return dense_shapes([len(grid.shape), *[self.width] * self.depth, grid.channels])

    def build(self, grid: Grid, key: PRNGKeyArray) -> Finer:
        return Finer(grid, started(self.shapes(grid), key, start_finer), self)


class Finer(Perceptron):
    """Layers x -> sin(30 (|z| + 1) z), z = W x + b; gradients take |z| + 1 for a constant."""

    def activate(self, sums: Float[Array, "units points"]) -> Float[Array, "units points"]:
        return sine(FINER_OMEGA * jax.lax.stop_gradient(jnp.abs(sums) + 1) * sums)


def start_finer(key: PRNGKeyArray, number: int, n_in: int, n_out: int) -> Layer:
    """As SIREN's layers, but for the first one's larger biases."""
    first = number == 0
    bound = 1 / n_in if first else math.sqrt(6 / n_in) / FINER_OMEGA
    return uniform_layer(key, n_in, n_out, bound, FINER_BIAS if first else bound)


# ---- Gauss ----


@dataclasses.dataclass(frozen=True)
class GaussConfig(PointwiseConfig):
    """Bells in place of sines."""

    number: ClassVar[int] = 7
    rate_times_width: ClassVar[float] = 0.8

    def shapes(self, grid: Grid) -> list[Shape]:
        return dense_shapes([len(grid.shape), *[self.width] * self.depth, grid.channels])

    def build(self, grid: Grid, key: PRNGKeyArray) -> Gauss:
        return Gauss(grid, started(self.shapes(grid), key, start_gauss), self)


class Gauss(Perceptron):
    """Layers x -> exp(-(10 (W x + b))^2)."""

    def activate(self, sums: Float[Array, "units points"]) -> Float[Array, "units points"]:
        return jnp.exp(-((GAUSS_SCALE * sums) ** 2))


def start_gauss(key: PRNGKeyArray, number: int, n_in: int, n_out: int) -> Layer:
    """Uniform, the first layer wider."""
    bound = (GAUSS_START if number else 1) / math.sqrt(n_in)
    return uniform_layer(key, n_in, n_out, bound, bound)


# ---- WIRE ----


@dataclasses.dataclass(frozen=True)
class WireConfig(PointwiseConfig):
    """Complex Gabor wavelets; `width` counts complex units, whose weights are pairs."""

    number: ClassVar[int] = 8
    rate_times_width: ClassVar[float] = 0.35

    def shapes(self, grid: Grid) -> list[Shape]:
        first = dense_shapes([len(grid.shape), self.width])
        rest = dense_shapes([*[self.width] * self.depth, grid.channels])
        return first + [(2, *shape) for shape in rest[:-1]] + rest[-1:]

    def build(self, grid: Grid, key: PRNGKeyArray) -> Wire:
        return Wire(self, grid, key)


class Wire(PointRepresentation):
    """Layers z -> exp(10 i z - |10 z|^2) of complex z = W x + b, W real in the first; the real part of the last layer,
    whose bias is real.
    """

    layers: list[Layer]
    config: WireConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: WireConfig, grid: Grid, key: PRNGKeyArray):
        shapes = config.shapes(grid)
        self.config, self.grid, self.layers = config, grid, []
        for i, (weight, bias) in enumerate(zip(shapes[::2], shapes[1::2], strict=True)):
            bound = (WIRE_START if i else 1) / math.sqrt(weight[-1])
            w, b = jax.random.split(jax.random.fold_in(key, i))
            self.layers.append(
                (
                    jax.random.uniform(w, weight, jnp.float32, -bound, bound),
                    jax.random.uniform(b, bias, jnp.float32, -bound, bound),
                )
            )

    def predict(self, positions: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        (weight, bias), *hidden, (last, last_bias) = self.layers
        real = weight @ scaled_positions(positions, self.grid, self.config.scales) + bias[:, None]
        imaginary = jnp.zeros_like(real)
        for (w_re, w_im), (b_re, b_im) in hidden:
            x, y = _wavelet(real, imaginary)
            real, imaginary = w_re @ x - w_im @ y + b_re[:, None], w_re @ y + w_im @ x + b_im[:, None]
        x, y = _wavelet(real, imaginary)
        return (last[0] @ x - last[1] @ y + last_bias[:, None] + 0.5).T


def _wavelet(real: Array, imaginary: Array) -> tuple[Array, Array]:
    """Real and imaginary part of exp(i omega z - |scale z|^2)."""
    size = jnp.exp(-WIRE_OMEGA * imaginary - WIRE_SCALE**2 * (real**2 + imaginary**2))
    return size * sine(WIRE_OMEGA * real + np.float32(math.pi / 2)), size * sine(WIRE_OMEGA * real)


# ---- BACON ----


@dataclasses.dataclass(frozen=True)
class BaconConfig(PointwiseConfig):
    """Products of sines of fixed whole frequencies, band-limited by construction. `scales` say how much of the band up
    to the Nyquist frequency all layers share: 8 is all of it.
    """

    number: ClassVar[int] = 9
    rate_times_width: ClassVar[float] = 2.0

    @staticmethod
    def default_scale(n: int) -> int:
        return BACON_HALF_BAND

    def check(self, grid: Grid) -> None:
        super().check(grid)
        if max(self.scales) > SCALE_UNIT:
            raise ValueError(f"scales {self.scales} go beyond the Nyquist frequency")

    def shapes(self, grid: Grid) -> list[Shape]:
        phases = [(self.depth + 1, self.width)]
        return phases + dense_shapes([*[self.width] * (self.depth + 1), grid.channels])

    def build(self, grid: Grid, key: PRNGKeyArray) -> Bacon:
        return Bacon(self, grid, key)


class Bacon(PointRepresentation):
    """h_0 = sin(2 pi F_0 x + p_0), h_i = sin(2 pi F_i x + p_i) (A_i h_(i-1) + b_i), and a linear last layer."""

    phases: Float[Array, "layers width"]
    layers: list[Layer]
    config: BaconConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    output_axis: ClassVar[int] = 0

    def __init__(self, config: BaconConfig, grid: Grid, key: PRNGKeyArray):
        self.config, self.grid = config, grid
        shapes = config.shapes(grid)
        first, *keys = jax.random.split(key, 1 + len(shapes[1::2]))
        self.phases = jax.random.uniform(first, shapes[0], jnp.float32, -math.pi, math.pi)
        self.layers = [
            _random(k, n_in, n_out, 2.0 if n_out == config.width else 0.1)
            for k, (n_out, n_in) in zip(keys, shapes[1::2], strict=True)
        ]

    def frequencies(self) -> Float[ndarray, "layers width dims"]:
        """Whole numbers of turns over each axis, drawn evenly from each layer's band."""
        grid, config = self.grid, self.config
        shape = (config.depth + 1, config.width, len(grid.shape))
        drawn = np.asarray(words(BACON_SEED, np.arange(math.prod(shape), dtype=np.uint32))).reshape(shape)
        parts = 2 * SCALE_UNIT * (config.depth + 1)
        bands = np.array([min(-(-n * s // parts), MAX_TURNS) for n, s in zip(grid.shape, config.scales, strict=True)])
        return np.asarray((drawn.astype(np.int64) * (2 * bands + 1) >> 32) - bands, np.float32)

    def predict(self, positions: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        x = scaled_positions(positions, self.grid, [SCALE_UNIT] * len(self.grid.shape)) * np.float32(math.pi)
        waves = [sine(turns @ x + phase[:, None]) for turns, phase in zip(self.frequencies(), self.phases, strict=True)]
        *hidden, (weight, bias) = self.layers
        value = waves[0]
        for wave, (w, b) in zip(waves[1:], hidden, strict=True):
            value = wave * (w @ value + b[:, None])
        return (weight @ value + bias[:, None] + 0.5).T


# ---- Poly-INR ----


@dataclasses.dataclass(frozen=True)
class PolyConfig(PointwiseConfig):
    """Polynomials, piecewise: sums, products and largest values are all there is."""

    number: ClassVar[int] = 10
    rate_times_width: ClassVar[float] = 1.0

    def shapes(self, grid: Grid) -> list[Shape]:
        dims, width = len(grid.shape), self.width
        level = [(width, dims), (width,), (width, width), (width,)]
        return level * self.depth + dense_shapes([width, grid.channels])

    @staticmethod
    def default_depth(n_parameters: int) -> int:
        return 6

    def build(self, grid: Grid, key: PRNGKeyArray) -> Poly:
        return Poly(self, grid, key)


class Poly(PointRepresentation):
    """h_0 = 1, h_l = r(W_l (h_(l-1) r(A_l x + b_l)) + c_l) within +-256, r a leaky rectifier; a linear last layer."""

    levels: list[tuple[Layer, Layer]]
    last: Layer
    config: PolyConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    output_axis: ClassVar[int] = 0

    def __init__(self, config: PolyConfig, grid: Grid, key: PRNGKeyArray):
        self.config, self.grid = config, grid
        dims, width = len(grid.shape), config.width
        *keys, last = jax.random.split(key, 2 * config.depth + 1)
        self.levels = [
            (uniform_layer(a, dims, width, POLY_SLOPE, POLY_SLOPE), _random(b, width, width, POLY_GAIN))
            for a, b in zip(keys[::2], keys[1::2], strict=True)
        ]
        self.last = _random(last, width, grid.channels, 0.1)

    def predict(self, positions: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        x = scaled_positions(positions, self.grid, self.config.scales)
        value: Array | float = 1.0
        for (slope, offset), (weight, bias) in self.levels:
            product = value * _leaky(slope @ x + offset[:, None])
            value = jnp.clip(_leaky(weight @ product + bias[:, None]), -POLY_LIMIT, POLY_LIMIT)
        weight, bias = self.last
        return (weight @ value + bias[:, None] + 0.5).T


def _leaky(x: Array) -> Array:
    return jnp.maximum(x, POLY_LEAK * x)
