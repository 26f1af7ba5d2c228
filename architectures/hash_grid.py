"""Tables of features at several resolutions, read by interpolation, and a small network that makes values of them.

Instant-NGP's multi-resolution hash grid (Mueller et al., ACM Transactions on Graphics 41(4), 2022) over 1 to 4 axes.
Here a file has to hold every table, so tables are few and small: a level that fits its table has an entry for each of
its vertices, laid out like the grid, so that coders see neighbours; only finer levels share entries by a hash.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .base import Config, Grid, PointRepresentation, solve_width
from .pointwise import Shape

MAX_AXES = 4
MAX_LEVELS = 16
MAX_FEATURES = 16
MAX_LOG_TABLE = 24
MAX_RESOLUTION = 1 << 20
MAX_WIDTH = 1024
MAX_DEPTH = 8
HASH_FACTORS = (1, 2654435761, 805459861, 3674653429)
"""Of the axes: those of the paper."""

FEATURES = 2
LEVELS = 6
LOG_TABLE = 16
BASE = 2
DEPTH = 2
TABLE_START = 1e-2
"""Entries start between plus and minus this."""

Cells = tuple[int, ...]
"""How many cells a level has along each axis; there is one vertex more."""
Layer = tuple[Float[Array, "in out"], Float[Array, " out"]]


def resolution(level: int, n_levels: int, base: int, finest: int) -> int:
    """Cells along the longest axis: the greatest whole number that is not above base^(1-t) finest^t, t from 0 at the
    first level to 1 at the last. In whole numbers, so that all machines agree. A level alone is the last.
    """
    steps = n_levels - 1
    if level == steps:
        return finest
    power = base ** (steps - level) * finest**level
    low, high = base, finest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**steps <= power else (low, middle - 1)
    return low


def cells_of(n: int, grid: Grid) -> Cells:
    """The cells of a level with `n` along the longest axis: nearly cubes, and none smaller than a sample."""
    longest = max(grid.shape)
    return tuple(min(-(-n * (size - 1) // max(longest - 1, 1)), size - 1) for size in grid.shape)


def table_shape(cells: Cells, log_table: int, features: int) -> Shape:
    """(vertices of each axis, features), or (entries, features) if there are more vertices than entries."""
    vertices = tuple(n + 1 for n in cells)
    return (*vertices, features) if math.prod(vertices) <= 1 << log_table else (1 << log_table, features)


def interpolate(
    table: Float[Array, "... features"], cells: Cells, positions: Float[Array, "points dims"], grid: Grid
) -> Float[Array, "features points"]:
    """A level's features at positions: linear along each axis between the vertices of a cell."""
    lengths = np.maximum(np.asarray(grid.shape, np.float32) - 1, 1)
    ends = np.asarray(cells, np.float32)
    x = jnp.clip(positions * (ends / lengths), 0, ends)
    low = jnp.clip(jnp.floor(x), 0, np.maximum(ends - 1, 0))
    share = x - low
    below = low.astype(jnp.int32)
    rows, weights = [], []
    # an axis of one sample has one vertex, and no other side
    for corner in itertools.product(*[(0, 1) if n else (0,) for n in cells]):
        sides = np.asarray(corner)
        rows.append(_rows(below + sides, cells, table))
        weights.append(jnp.prod(jnp.where(sides == 1, share, 1 - share), axis=-1))
    entries = table.reshape(-1, table.shape[-1])[jnp.stack(rows)]
    return jnp.einsum("cp,cpf->fp", jnp.stack(weights), entries)


def _rows(vertices: Int[Array, "points dims"], cells: Cells, table: Float[Array, "... features"]) -> Array:
    """The table's rows of vertices: in order, or by the hash."""
    columns = [vertices[:, d] for d in range(len(cells))]
    if table.shape[:-1] == tuple(n + 1 for n in cells):
        row = columns[0]
        for column, n in zip(columns[1:], cells[1:], strict=True):
            row = row * (n + 1) + column
        return row
    mixed = jnp.zeros_like(columns[0], jnp.uint32)
    for column, factor in zip(columns, HASH_FACTORS, strict=False):
        mixed = mixed ^ (column.astype(jnp.uint32) * np.uint32(factor))
    return (mixed & np.uint32(math.prod(table.shape[:-1]) - 1)).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class TableConfig(Config):
    """`levels` tables of `features` numbers for an entry, of at most 2^`table` entries; `base` and `finest` cells along
    the longest axis in the first and last; a network of `depth` hidden layers of `width`.
    """

    levels: int
    features: int
    table: int
    base: int
    finest: int
    width: int
    depth: int

    @abc.abstractmethod
    def shapes(self, grid: Grid) -> list[Shape]:
        """Of the parameter arrays, in order."""

    def cells(self, grid: Grid) -> list[Cells]:
        """Of each level."""
        return [cells_of(resolution(level, self.levels, self.base, self.finest), grid) for level in range(self.levels)]

    def table_shapes(self, grid: Grid) -> list[Shape]:
        """Of each level's table."""
        return [table_shape(cells, self.table, self.features) for cells in self.cells(grid)]

    def layer_shapes(self, others: int, grid: Grid) -> list[Shape]:
        """Weight and bias of each layer, if `others` values enter beside the features."""
        sizes = [others + self.levels * self.features, *[self.width] * self.depth, grid.channels]
        return [shape for a, b in itertools.pairwise(sizes) for shape in ((a, b), (b,))]

    def n_parameters(self, grid: Grid) -> int:
        return sum(map(math.prod, self.shapes(grid)))

    def widened(self, grid: Grid, n_parameters: int) -> Self:
        """The same with the width that comes nearest to `n_parameters`."""
        width = solve_width(
            lambda width: dataclasses.replace(self, width=width).n_parameters(grid), n_parameters, 2, MAX_WIDTH
        )
        return dataclasses.replace(self, width=width)

    def check(self, grid: Grid) -> None:
        if len(grid.shape) > MAX_AXES:
            raise ValueError(f"a hash grid for {len(grid.shape)} axes")
        if not 1 <= self.levels <= MAX_LEVELS or not 1 <= self.features <= MAX_FEATURES:
            raise ValueError(f"{self.levels} levels of {self.features} features")
        if not 1 <= self.base <= self.finest <= MAX_RESOLUTION or self.table > MAX_LOG_TABLE:
            raise ValueError(f"{self.base} to {self.finest} cells, tables of 2^{self.table}")
        if not 1 <= self.width <= MAX_WIDTH or not 1 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"a network of {self.depth} layers of {self.width}")


def usual_levels(n_parameters: int) -> int:
    """Fewer for small networks, which would be nothing but coarse tables."""
    return min(max(n_parameters.bit_length() - 7, 1), LEVELS)


def usual_width(n_parameters: int) -> int:
    """Units of a layer that fitted well beside tables."""
    return min(max(round(math.sqrt(n_parameters) / 4), 3), 32)


@dataclasses.dataclass(frozen=True)
class HashConfig(TableConfig):
    """Tables and a network of rectified units."""

    number: ClassVar[int] = 11

    def shapes(self, grid: Grid) -> list[Shape]:
        return self.table_shapes(grid) + self.layer_shapes(0, grid)

    def build(self, grid: Grid, key: PRNGKeyArray) -> HashGrid:
        return HashGrid(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        usual = {
            "levels": usual_levels(n_parameters),
            "features": FEATURES,
            "table": LOG_TABLE,
            "base": min(BASE, settings.get("finest", BASE)),
            "finest": settings.get("base", BASE),
            "width": usual_width(n_parameters),
            "depth": DEPTH,
        }
        config = cls(**usual | settings)
        if "finest" not in settings:
            most = min(max(config.base, max(grid.shape) - 1), MAX_RESOLUTION)
            finest = solve_width(
                lambda finest: dataclasses.replace(config, finest=finest).n_parameters(grid),
                n_parameters,
                config.base,
                most,
            )
            config = dataclasses.replace(config, finest=finest)
        return config if "width" in settings else config.widened(grid, n_parameters)


class TableRepresentation(PointRepresentation):
    """Features of all levels, and layers that see them."""

    tables: eqx.AbstractVar[list[Float[Array, "... features"]]]
    layers: eqx.AbstractVar[list[Layer]]
    config: eqx.AbstractVar[TableConfig]

    def features(self, positions: Float[Array, "points dims"]) -> Float[Array, "features points"]:
        """Of all levels, the first level's first."""
        levels = zip(self.tables, self.config.cells(self.grid), strict=True)
        return jnp.concatenate([interpolate(table, cells, positions, self.grid) for table, cells in levels])


def rectified(x: Float[Array, "features points"], layers: Sequence[Layer]) -> Float[Array, "points channels"]:
    """max(x W + b, 0) -> .. -> x W + b + 1/2."""
    *hidden, (weight, bias) = layers
    for w, b in hidden:
        x = jax.nn.relu(w.T @ x + b[:, None])
    return (weight.T @ x + bias[:, None] + 0.5).T


class HashGrid(TableRepresentation):
    """Features of all levels, then rectified layers."""

    tables: list[Float[Array, "... features"]]
    layers: list[Layer]
    config: HashConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: HashConfig, grid: Grid, key: PRNGKeyArray):
        first, last = jax.random.split(key)
        self.tables = started_tables(config.table_shapes(grid), first)
        self.layers = started_layers(config.layer_shapes(0, grid), last)
        self.config, self.grid = config, grid

    def predict(self, positions: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        return rectified(self.features(positions), self.layers)


def started_tables(shapes: Sequence[Shape], key: PRNGKeyArray) -> list[Float[Array, "... features"]]:
    """Small entries."""
    keys = jax.random.split(key, len(shapes))
    return [
        jax.random.uniform(k, shape, jnp.float32, -TABLE_START, TABLE_START)
        for k, shape in zip(keys, shapes, strict=True)
    ]


def started_layers(shapes: Sequence[Shape], key: PRNGKeyArray) -> list[Layer]:
    """Layers whose rectified sums keep their variance (He et al., 2015); biases 0."""
    weights = shapes[::2]
    bounds = [math.sqrt(6 / n_in) for n_in, _ in weights]
    return [
        (jax.random.uniform(k, shape, jnp.float32, -bound, bound), jnp.zeros(shape[1], jnp.float32))
        for k, bound, shape in zip(jax.random.split(key, len(weights)), bounds, weights, strict=True)
    ]
