"""Hash grids and NeuRBF, written from docs/format.md alone: shapes, and values at every sample of a grid.

It imports nothing of the package that it is a check on. Arithmetic is in float64, so that it is near to whatever order
of float32 operations a decoder has.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from tests.page_stream import Shape

Weights = list[Float[ndarray, "..."]]
PRIMES = (1, 2654435761, 805459861, 3674653429)


def _cells(levels: int, base: int, finest: int, grid: Shape) -> list[Shape]:
    longest, every = max(grid), []
    for level in range(levels):
        n = base if level < levels - 1 else finest
        while 0 < level < levels - 1 and (n + 1) ** (levels - 1) <= base ** (levels - 1 - level) * finest**level:
            n += 1
        every.append(tuple(min(math.ceil(n * (m - 1) / max(longest - 1, 1)), m - 1) for m in grid))
    return every


def hash_shapes(fields: list[int], entries: list[int], grid: Shape, channels: int, others: int = 0) -> list[Shape]:
    levels, features, table, base, finest, width, depth = fields
    shapes: list[Shape] = []
    for cells in _cells(levels, base, finest, grid):
        vertices = tuple(n + 1 for n in cells)
        shapes.append((*(vertices if math.prod(vertices) <= 2**table else (2**table,)), features))
    sizes = [others + levels * features, *[width] * depth, channels]
    return shapes + [shape for a, b in itertools.pairwise(sizes) for shape in ((a, b), (b,))]


def neurbf_shapes(fields: list[int], entries: list[int], grid: Shape, channels: int) -> list[Shape]:
    kernels, _, waves = fields[7:]
    dims = len(grid)
    own: list[Shape] = [(kernels, dims), (kernels, dims * (dims + 1) // 2), (kernels, waves), (waves,)]
    return hash_shapes(fields[:7], entries, grid, channels, waves) + own


def _positions(grid: Shape) -> Int[ndarray, "points dims"]:
    return np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, len(grid))


def _features(fields: list[int], tables: Weights, grid: Shape) -> Float[ndarray, "points features"]:
    levels, _, _, base, finest = fields[:5]
    every = []
    for table, cells in zip(tables, _cells(levels, base, finest, grid), strict=True):
        vertices, rows = tuple(n + 1 for n in cells), []
        for position in _positions(grid).tolist():
            x = [p * n / max(m - 1, 1) for p, n, m in zip(position, cells, grid, strict=True)]
            low = [min(int(value), max(n - 1, 0)) for value, n in zip(x, cells, strict=True)]
            total = np.zeros(table.shape[-1])
            for corner in itertools.product(*[(0, 1) if n else (0,) for n in cells]):
                share = math.prod(v - i if side else 1 - (v - i) for v, i, side in zip(x, low, corner, strict=True))
                place = [i + side for i, side in zip(low, corner, strict=True)]
                if table.shape[:-1] == vertices:
                    entry = table[tuple(place)]
                else:
                    mixed = 0
                    for i, prime in zip(place, PRIMES, strict=False):
                        mixed ^= i * prime % 2**32
                    entry = table[mixed % len(table)]
                total += share * entry
            rows.append(total)
        every.append(np.stack(rows))
    return np.concatenate(every, axis=1)


def _rectified(x: Float[ndarray, "points n"], layers: Weights) -> Float[ndarray, "points channels"]:
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        x = np.maximum(x @ weight + bias, 0)
    values: Float[ndarray, "points channels"] = x @ layers[-2] + layers[-1] + 0.5
    return values


def hash_values(fields: list[int], weights: Weights, grid: Shape) -> Float[ndarray, "*grid channels"]:
    levels = fields[0]
    return _rectified(_features(fields, weights[:levels], grid), weights[levels:]).reshape(*grid, -1)


def neurbf_values(fields: list[int], weights: Weights, grid: Shape) -> Float[ndarray, "*grid channels"]:
    levels, width, (kernels, nearest, waves) = fields[0], fields[5], fields[7:]
    *rest, centres, shapes, strengths, phases = weights
    longest, dims = max(grid), len(grid)
    edge = 1
    while math.prod(-(-n // edge) for n in grid) > min(2**16, 2**26 // kernels):
        edge += 1
    scale = longest / 2 / (math.prod(grid) / kernels) ** (1 / dims)
    places = np.clip(np.rint(centres.astype(np.float64) * 8), -10240, 10240)
    sums = []
    for position in _positions(grid):
        middle = [
            math.floor(8192 * (2 * edge * (p // edge) + edge - n) / longest + 0.5)
            for p, n in zip(position.tolist(), grid, strict=True)
        ]
        near = np.argsort(((places - middle) ** 2).sum(axis=1), kind="stable")[:nearest]
        x = (2 * position + 1 - np.array(grid)) / longest
        heights = np.empty(nearest)
        for i, kernel in enumerate(near):
            lower = np.zeros((dims, dims))
            lower[np.tril_indices(dims)] = shapes[kernel]
            heights[i] = 1 / (1 + np.sum((lower.T @ ((x - centres[kernel] / 1024) * scale)) ** 2))
        heights /= heights.sum()
        angles = _spread(16, waves) * heights[:, None] + phases
        sums.append((np.sin(angles) * strengths[near]).sum(axis=0))
    entering = np.concatenate([np.stack(sums), _features(fields, rest[:levels], grid)], axis=1)
    first, bias, *layers = rest[levels:]
    x = entering @ first + bias
    return _rectified(x + np.sin(_spread(10, width) * x), layers).reshape(*grid, -1)


def _spread(fastest: float, count: int) -> Float[ndarray, " count"]:
    return np.array([fastest ** (i / max(count - 1, 1)) for i in range(count)])
