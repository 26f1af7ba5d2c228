"""NeuRBF (Chen et al., ICCV 2023): bells placed where the signal changes, waves of them, and a small network.

A point sees its nearest kernels: each a bell with a centre, a shape and weights of its own. A bell's height, its share
in the sum of the heights seen, enters sines of several frequencies, which the weights add up ("multi-frequency
composition"). Features of a coarse grid (`hash_grid`) stand beside them. The paper counts neither centres nor shapes;
here they are arrays like all others: fitted, rounded, coded.

Which kernels are near is looked up in a table of bins, made of the centres in whole numbers: so encoder and decoder
look at the same ones, in the same order, on every machine.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from functools import partial
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped
from numpy import ndarray

from .base import Grid, solve_width
from .hash_grid import (
    LOG_TABLE,
    MAX_RESOLUTION,
    Layer,
    TableConfig,
    TableRepresentation,
    rectified,
    started_layers,
    started_tables,
    usual_levels,
    usual_width,
)
from .pointwise import Shape
from .siren import sine

MAX_KERNELS = 1 << 14
MAX_NEAREST = 16
MAX_WAVES = 256
UNITS = 1 << 13
"""Units of whole-number positions in half the longest axis."""
CENTRE_UNITS = 1 << 10
"""Units of centres in half the longest axis. A step of a fit moves every parameter about as far in its own unit, and
centres should not go far (fits of 300 steps: 29.5 dB where they stay; 30.1, 30.3, 30.4 dB with 64, 256, 1024 units).
"""
MAX_UNITS = UNITS * 5 // 4
"""No centre counts as further out: squared distances along four axes stay below 2^31."""
MAX_BINS = 1 << 16
MAX_PAIRS = 1 << 26
"""Distances that are computed to fill the table of bins: with many kernels, bins are fewer and larger."""
BINS_AT_ONCE = 256
MAX_SAMPLE = 1 << 30
MAX_SQUARE = 1e30

FASTEST_WAVE = 16
"""The greatest angular frequency of waves over a bell's height; the least is 1."""
FASTEST_INNER = 10
"""The same of the sines after the first layer."""
GRID_LEVELS = 2
GRID_FEATURES = 2
GRID_SHARE = 0.5
"""Of the parameters, what the grid has."""
BASE = 4
DEPTH = 2
WAVES = 8
WEIGHT_START = 0.01
ROUND = math.sqrt(12)
"""The shape of kernels that are alike in all directions, and as wide as a cube that holds as much as each has."""
ITERATIONS = 10
"""Of weighted k-means."""
PLACED_POINTS = 1 << 16
"""Samples, at most, that kernels are placed by."""
EVENNESS = 1.0
"""How much all samples weigh alike, beside how much the signal changes there: as a part of the mean change."""
LEAST_VARIANCE = 1 / 12
"""Of a kernel's samples along any axis, in samples: that of a single one."""


@dataclasses.dataclass(frozen=True)
class NeurbfConfig(TableConfig):
    """`kernels`, of which a point sees the `nearest`, with `waves` weights each; and a small hash grid. The fields of
    that and of the network come first.
    """

    kernels: int
    nearest: int
    waves: int

    number: ClassVar[int] = 15

    def shapes(self, grid: Grid) -> list[Shape]:
        dims, kernels = len(grid.shape), self.kernels
        own = [(kernels, dims), (kernels, dims * (dims + 1) // 2), (kernels, self.waves), (self.waves,)]
        return self.table_shapes(grid) + self.layer_shapes(self.waves, grid) + own

    def build(self, grid: Grid, key: PRNGKeyArray) -> Neurbf:
        return Neurbf(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        usual = {
            "levels": min(usual_levels(n_parameters), GRID_LEVELS),
            "features": GRID_FEATURES,
            "table": LOG_TABLE,
            "base": min(BASE, settings.get("finest", BASE)),
            "finest": settings.get("base", BASE),
            "width": usual_width(n_parameters),
            "depth": DEPTH,
            "kernels": settings.get("nearest", 1),
            "nearest": settings.get("nearest", 1),
            "waves": WAVES,
        }
        config = cls(**usual | settings)
        if "finest" not in settings:
            longest = max(grid.shape)
            fewest = config.n_parameters(grid)
            most = min(max(config.base, longest - 1), MAX_RESOLUTION)
            finest = solve_width(
                lambda finest: dataclasses.replace(config, finest=finest).n_parameters(grid),
                fewest + max(0, int((n_parameters - fewest) * GRID_SHARE)),
                config.base,
                most,
            )
            config = dataclasses.replace(config, finest=finest)
        nearest = usual_nearest(len(grid.shape))
        if "kernels" not in settings:
            kernels = solve_width(
                lambda kernels: dataclasses.replace(config, kernels=kernels).n_parameters(grid),
                n_parameters,
                config.nearest,
                MAX_KERNELS,
            )
            config = dataclasses.replace(config, kernels=kernels)
        if "nearest" not in settings:
            config = dataclasses.replace(config, nearest=min(nearest, config.kernels))
        return config if "width" in settings else config.widened(grid, n_parameters)

    def check(self, grid: Grid) -> None:
        super().check(grid)
        if not 1 <= self.nearest <= min(MAX_NEAREST, self.kernels) or self.kernels > MAX_KERNELS:
            raise ValueError(f"{self.nearest} nearest of {self.kernels} kernels")
        if not 1 <= self.waves <= MAX_WAVES:
            raise ValueError(f"{self.waves} waves")


class Neurbf(TableRepresentation):
    """Waves of the nearest bells, beside features of a grid -> x + sin(m x) of x = W x + b -> max(W x + b, 0) -> .. ->
    W x + b + 1/2.
    """

    tables: list[Float[Array, "... features"]]
    layers: list[Layer]
    centres: Float[Array, "kernels dims"]
    shapes: Float[Array, "kernels entries"]
    weights: Float[Array, "kernels waves"]
    phases: Float[Array, " waves"]
    near: Int[Array, "bins nearest"]
    config: NeurbfConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: NeurbfConfig, grid: Grid, key: PRNGKeyArray):
        dims, keys = len(grid.shape), jax.random.split(key, 4)
        ends = jnp.asarray(grid.shape, jnp.float32) * (CENTRE_UNITS / max(grid.shape))
        self.centres = jax.random.uniform(keys[0], (config.kernels, dims), jnp.float32, -ends, ends)
        self.shapes = jnp.tile(_flat(np.eye(dims, dtype=np.float32) * ROUND), (config.kernels, 1))
        self.weights = jax.random.uniform(
            keys[1], (config.kernels, config.waves), jnp.float32, -WEIGHT_START, WEIGHT_START
        )
        self.phases = jnp.zeros(config.waves, jnp.float32)
        self.tables = started_tables(config.table_shapes(grid), keys[2])
        self.layers = started_layers(config.layer_shapes(config.waves, grid), keys[3])
        self.config, self.grid = config, grid
        self.near = nearest_kernels(self.centres, grid, config.nearest)

    def placed(self, samples: Shaped[ndarray, "part ..."] | None, low: float, high: float) -> Neurbf:
        if samples is None:
            return self
        centres, shapes = place_kernels(samples, self.config.kernels, reach(self.config.kernels, self.grid))
        arrays = jnp.asarray(centres, jnp.float32), jnp.asarray(_flat(shapes), jnp.float32)
        module: Neurbf = eqx.tree_at(lambda m: (m.centres, m.shapes), self, arrays)
        return module.settled()

    def settled(self) -> Neurbf:
        near = nearest_kernels(self.centres, self.grid, self.config.nearest)
        module: Neurbf = eqx.tree_at(lambda m: m.near, self, near)
        return module

    def finish(self, samples: Shaped[ndarray, "part ..."] | None, low: float, high: float) -> Neurbf:
        return self.settled()

    def predict(self, positions: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        config, grid = self.config, self.grid
        near = self.near[bin_of(positions, grid, config.kernels)].T
        away = (scaled(positions, grid) - self.centres[near] / CENTRE_UNITS) * np.float32(
            max(grid.shape) / 2 / reach(config.kernels, grid)
        )
        heights = bells(away, self.shapes[near])
        angles = frequencies(FASTEST_WAVE, config.waves)[:, None] * heights[:, None] + self.phases[:, None]
        sums = jnp.einsum("kwp,kpw->wp", sine(angles), self.weights[near])
        (weight, bias), *rest = self.layers
        x = weight.T @ jnp.concatenate([sums, self.features(positions)]) + bias[:, None]
        x = x + sine(frequencies(FASTEST_INNER, config.width)[:, None] * x)
        return rectified(x, rest)


def usual_nearest(dims: int) -> int:
    """Kernels that a point sees: 4 of a picture, 8 of a volume, as in the paper."""
    return 2 ** min(dims, 3) if dims > 1 else 3


def frequencies(fastest: int, count: int) -> Float[ndarray, " count"]:
    """From 1 to the fastest, each as many times the one before."""
    return (float(fastest) ** (np.arange(count) / max(count - 1, 1))).astype(np.float32)


def reach(kernels: int, grid: Grid) -> float:
    """The edge, in samples, of a cube as large as what there is of the grid for each kernel."""
    edge: float = (grid.n_points / kernels) ** (1 / len(grid.shape))
    return edge


def scaled(positions: Float[Array, "points dims"], grid: Grid) -> Float[Array, "points dims"]:
    """Positions in samples as coordinates around 0: the longest axis spans -1 to 1, others less."""
    lengths = np.asarray(grid.shape, np.float32)
    return (2 * positions + (1 - lengths)) / np.float32(max(grid.shape))


def _flat(lower: Float[ndarray, "*kernels dims dims"]) -> Float[ndarray, "*kernels entries"]:
    """A lower triangular matrix without its zeros, row by row."""
    rows, columns = np.tril_indices(lower.shape[-1])
    flat: Float[ndarray, "*kernels entries"] = lower[..., rows, columns]
    return flat


def bells(
    away: Float[Array, "nearest points dims"], shapes: Float[Array, "nearest points entries"]
) -> Float[Array, "nearest points"]:
    """Heights 1 / (1 + |A^T d|^2) at distances d, over their sum; A is lower triangular. Far ones are not 0."""
    dims, square = away.shape[-1], jnp.zeros(away.shape[:-1])
    for column in range(dims):
        rows = range(column, dims)
        square += sum(shapes[..., row * (row + 1) // 2 + column] * away[..., row] for row in rows) ** 2
    heights = 1 / (1 + jnp.minimum(square, MAX_SQUARE))
    return heights / heights.sum(axis=0)


# ---- which kernels are near ----


def bin_edge(grid: Grid, kernels: int) -> int:
    """Of a cubic bin, in samples: the least with which there are not too many bins."""
    most = min(MAX_BINS, MAX_PAIRS // kernels)
    low, high = 1, max(grid.shape)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if math.prod(_bins(grid, middle)) <= most else (middle + 1, high)
    return low


def _bins(grid: Grid, edge: int) -> Shape:
    return tuple(-(-n // edge) for n in grid.shape)


def bin_of(positions: Float[Array, "points dims"], grid: Grid, kernels: int) -> Int[Array, " points"]:
    """The bin of each position; outside of the grid, the nearest one."""
    edge, number = bin_edge(grid, kernels), jnp.zeros(positions.shape[:1], jnp.int32)
    for d, count in enumerate(_bins(grid, edge)):
        sample = jnp.clip(jnp.floor(positions[:, d] + 0.5), 0, MAX_SAMPLE).astype(jnp.int32)
        number = number * count + jnp.minimum(sample // edge, count - 1)
    return number


@partial(jax.jit, static_argnums=(1, 2))
def nearest_kernels(centres: Float[Array, "kernels dims"], grid: Grid, nearest: int) -> Int[Array, "bins nearest"]:
    """For each bin, the kernels with their centres nearest to its middle, nearest first, of two as near that of the
    lower number. Whole numbers decide, so that it is the same everywhere.
    """
    edge = bin_edge(grid, len(centres))
    places = jnp.clip(jnp.round(jnp.nan_to_num(centres) * (UNITS // CENTRE_UNITS)), -MAX_UNITS, MAX_UNITS).astype(
        jnp.int32
    )
    middles = [_middles(n, edge, max(grid.shape)) for n in grid.shape]
    n_bins = math.prod(map(len, middles))
    padded = np.minimum(np.arange(-(-n_bins // BINS_AT_ONCE) * BINS_AT_ONCE), n_bins - 1)

    def of(bins: Int[Array, " some"]) -> Int[Array, "some nearest"]:
        index = jnp.unravel_index(bins, [len(axis) for axis in middles])
        squares = [
            (jnp.asarray(axis)[i][:, None] - places[:, d]) ** 2
            for d, (axis, i) in enumerate(zip(middles, index, strict=True))
        ]
        left, found = sum(squares[1:], squares[0]), []
        for _ in range(nearest):
            found.append(jnp.argmin(left, axis=1).astype(jnp.int32))
            left = left.at[jnp.arange(len(bins)), found[-1]].set(np.iinfo(np.int32).max)
        return jnp.stack(found, axis=1)

    table: Array = jax.lax.map(of, jnp.asarray(padded.reshape(-1, BINS_AT_ONCE), jnp.int32))
    return table.reshape(-1, nearest)[:n_bins]


def _middles(n: int, edge: int, longest: int) -> Int[ndarray, " bins"]:
    """Of an axis of `n` samples, the middles of bins in units, rounded."""
    twice = 2 * edge * np.arange(-(-n // edge), dtype=np.int64) + edge - n
    return ((2 * UNITS * twice + longest) // (2 * longest)).astype(np.int32)


# ---- where kernels begin ----


def place_kernels(
    samples: Shaped[ndarray, "*grid channels"], kernels: int, reach_in_samples: float
) -> tuple[Float[ndarray, "kernels dims"], Float[ndarray, "kernels dims dims"]]:
    """Centres, and lower triangular A, of kernels that stand closer where the samples change: k-means (Lloyd) in which
    a sample weighs as its gradient is long, and the inverse covariance A A^T of what belongs to each.
    """
    from scipy.spatial import cKDTree

    rng, shape = np.random.default_rng(0), samples.shape[:-1]
    changes = _changes(samples).ravel()
    n = changes.size
    seen = np.arange(n) if n <= PLACED_POINTS else np.sort(rng.choice(n, PLACED_POINTS, replace=False))
    weights = changes[seen] + EVENNESS * changes.mean() + np.finfo(np.float64).tiny
    points = np.stack(np.unravel_index(seen, shape), axis=-1).astype(np.float64)
    some = rng.choice(len(seen), kernels, replace=kernels > len(seen), p=weights / weights.sum())
    centres = points[some] + rng.uniform(-0.5, 0.5, (kernels, len(shape)))
    for _ in range(ITERATIONS):
        owner = cKDTree(centres).query(points)[1]
        mass = np.bincount(owner, weights, kernels)
        sums = np.stack([np.bincount(owner, weights * points[:, d], kernels) for d in range(len(shape))], axis=-1)
        centres = np.where(mass[:, None] > 0, sums / np.maximum(mass, np.finfo(np.float64).tiny)[:, None], centres)
    owner = cKDTree(centres).query(points)[1]
    mass = np.maximum(np.bincount(owner, weights, kernels), np.finfo(np.float64).tiny)
    away = points - centres[owner]
    covariance = np.empty((kernels, len(shape), len(shape)))
    for i, j in itertools.product(range(len(shape)), repeat=2):
        covariance[:, i, j] = np.bincount(owner, weights * away[:, i] * away[:, j], kernels) / mass
    covariance += LEAST_VARIANCE * np.eye(len(shape))
    lower = np.linalg.cholesky(np.linalg.inv(covariance)) * reach_in_samples
    lengths = np.array(shape)
    return (2 * centres + 1 - lengths) * (CENTRE_UNITS / lengths.max()), lower


def _changes(samples: Shaped[ndarray, "*grid channels"]) -> Float[ndarray, "*grid"]:
    """How much the samples change at each, in all directions and channels: the length of the gradient."""
    values, squares = samples.astype(np.float32), np.zeros(samples.shape[:-1], np.float64)
    for axis, n in enumerate(samples.shape[:-1]):
        if n > 1:
            squares += np.square(np.gradient(values, axis=axis)).sum(axis=-1)
    return np.sqrt(squares)
