"""F-INR evaluated as docs/format.md says, point by point, in float64 with NumPy. Like `tests.page_backbones`."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tests.page_backbones import SHAPES, VALUES, Points, Shape, Weights, dense_shapes

INSIDE = {1: dense_shapes} | dict(SHAPES.values())


def outputs(mode: int, rank: int, n_axes: int, channels: int) -> list[int]:
    """How many numbers the network of each axis gives."""
    if mode != 2:
        return [rank] * n_axes
    ends = [1, *[rank] * (n_axes - 1), channels]
    return [a * b for a, b in itertools.pairwise(ends)]


def head_shapes(mode: int, rank: int, n_axes: int, channels: int) -> list[Shape]:
    return {1: [(channels, rank)], 2: [], 3: [(channels, *[rank] * n_axes)]}[mode]


def network_shapes(fields: list[int], entries: list[int], grid: Shape, channels: int) -> list[list[Shape]]:
    """Of each axis, the tensors of its network."""
    number, width, depth, _, *scales = entries
    counts = outputs(*fields, len(grid), channels)
    return [
        INSIDE[number]([width, depth], [scale], (n,), count)
        for scale, n, count in zip(scales, grid, counts, strict=True)
    ]


def shapes(fields: list[int], entries: list[int], grid: Shape, channels: int) -> list[Shape]:
    inside = itertools.chain.from_iterable(network_shapes(fields, entries, grid, channels))
    return [*inside, *head_shapes(*fields, len(grid), channels)]


def values(
    fields: list[int], entries: list[int], weights: Weights, positions: Points, grid: Shape, channels: int
) -> Points:
    (mode, rank), (number, width, depth, _, *scales) = fields, entries
    of_axis, rest = [], iter(weights)
    for axis, inside in enumerate(network_shapes(fields, entries, grid, channels)):
        own = [next(rest) for _ in inside]
        found = VALUES[number]([width, depth], [scales[axis]], own, positions[:, axis : axis + 1], (grid[axis],))
        of_axis.append(8 * (found - 0.5))
    if mode == 2:
        result = np.ones((len(positions), 1, 1))
        for factor in of_axis:
            result = result @ factor.reshape(len(positions), result.shape[2], -1)
        return np.asarray(result[:, 0]) + 0.5
    head = weights[-1]
    if mode == 1:
        return np.asarray(np.prod(of_axis, axis=0) @ head.T) + 0.5
    total = np.zeros((len(positions), channels))
    for place in itertools.product(range(rank), repeat=len(grid)):
        factor = math.prod(of_axis[axis][:, r] for axis, r in enumerate(place))
        total += np.outer(factor, head[(slice(None), *place)])
    return total + 0.5
