"""Trees of networks evaluated as docs/format.md says, point by point, in float64. Like `tests.page_backbones`."""

from __future__ import annotations

import math

import numpy as np

from tests.page_backbones import Points, Shape, Weights

ACTIVATIONS = {
    1: lambda z: np.sin(30 * z),
    6: lambda z: np.sin(30 * (np.abs(z) + 1) * z),
    7: lambda z: np.exp(-((10 * z) ** 2)),
}


def edges(levels: int, grid: Shape) -> list[int]:
    return [math.ceil(n / 2 ** (levels - 1)) for n in grid]


def blocks(level: int, levels: int, grid: Shape) -> list[int]:
    return [math.ceil(n / (e * 2 ** (levels - 1 - level))) for n, e in zip(grid, edges(levels, grid), strict=True)]


def shapes(fields: list[int], entries: list[int], grid: Shape, channels: int) -> list[Shape]:
    _, levels, width, depth = fields
    found: list[Shape] = []
    entering = 2 * len(grid)
    for level in range(levels):
        count = math.prod(blocks(level, levels, grid))
        for _ in range(depth):
            found += [(count, width, entering), (count, width)]
            entering = width
    return [*found, (count, channels, width), (count, channels)]


def values(fields: list[int], scales: list[int], weights: Weights, positions: Points, grid: Shape) -> Points:
    backbone, levels, _, depth = fields
    found = []
    for p in positions:
        sample = [min(max(math.floor(q + 0.5), 0), n - 1) for q, n in zip(p, grid, strict=True)]
        block = [i // e for i, e in zip(sample, edges(levels, grid), strict=True)]
        outer = [((2 * q + 1) / n - 1) * s / 8 for q, n, s in zip(p, grid, scales, strict=True)]
        inner = [
            ((2 * (q - e * i) + 1) / e - 1) * s / 8
            for q, i, e, s in zip(p, block, edges(levels, grid), scales, strict=True)
        ]
        x = np.array(outer + inner)
        for layer in range(levels * depth):
            level = layer // depth
            number = 0
            for i, count in zip(block, blocks(level, levels, grid), strict=True):
                number = number * count + i // 2 ** (levels - 1 - level)
            x = ACTIVATIONS[backbone](weights[2 * layer][number] @ x + weights[2 * layer + 1][number])
        found.append(weights[-2][number] @ x + weights[-1][number] + 0.5)
    return np.array(found)
