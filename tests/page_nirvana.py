"""NIRVANA evaluated as docs/format.md says, in float64 with NumPy: a check on what it decodes to.

Like `tests.page_decoder` it imports nothing of the package; numbers without a name stand so on the page.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

Shape = tuple[int, ...]
Weights = list[Float[ndarray, "..."]]
Integers = list[Int[ndarray, "..."]]


def _convolutions(fields: list[int], strides: list[int], channels: int) -> list[tuple[int, int]]:
    """Channels in, and channels out for one frame."""
    _, _, _, _, _, wide, lower, shuffle = fields
    widths = [wide, *[lower] * len(strides)]
    ends = [*(lower * stride**2 for stride in strides), channels * shuffle**2]
    return list(zip(widths, ends, strict=True))


def shapes(fields: list[int], strides: list[int], grid: Shape, channels: int) -> list[Shape]:
    _, frames, patch, width, depth, wide, _, shuffle = fields
    side = patch // (math.prod(strides) * shuffle)
    sizes = [2, *[width] * depth, side * side * wide]
    found: list[Shape] = []
    for a, b in pairwise(sizes):
        found += [(a, b), (b,)]
    for a, b in _convolutions(fields, strides, channels):
        found += [(3, 3, a, frames * b), (frames * b,)]
    return found


def _gelu(x: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    result: Float[ndarray, "..."] = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return result


def _convolve(
    x: Float[ndarray, "h w a"], weight: Float[ndarray, "3 3 a b"], bias: Float[ndarray, " b"]
) -> Float[ndarray, "h w b"]:
    height, width, _ = x.shape
    y = np.zeros((height, width, len(bias))) + bias
    for i in range(height):
        for j in range(width):
            for u in range(3):
                for v in range(3):
                    if 0 <= i + u - 1 < height and 0 <= j + v - 1 < width:
                        y[i, j] += x[i + u - 1, j + v - 1] @ weight[u, v]
    return y


def _shuffled(x: Float[ndarray, "h w c"], s: int) -> Float[ndarray, "h2 w2 c2"]:
    height, width, total = x.shape
    n = total // s**2
    y = np.zeros((height * s, width * s, n))
    for u in range(s):
        for v in range(s):
            y[u::s, v::s] = x[:, :, (u * s + v) * n : (u * s + v + 1) * n]
    return y


def frame(
    fields: list[int], strides: list[int], weights: Weights, grid: Shape, channels: int, number: int
) -> Float[ndarray, "h w c"]:
    """One frame of a group, whose weights these are."""
    _, _, patch, _, depth, wide, _, shuffle = fields
    side = patch // (math.prod(strides) * shuffle)
    rows, columns = math.ceil(grid[1] / patch), math.ceil(grid[2] / patch)
    layers, convolutions = weights[: 2 * depth + 2], weights[2 * depth + 2 :]
    x = np.zeros((rows * side, columns * side, wide))
    for i in range(rows):
        for j in range(columns):
            z = np.array([(2 * i + 1) / rows - 1, (2 * j + 1) / columns - 1])
            for layer in range(depth):
                z = np.sin(30 * (z @ layers[2 * layer] + layers[2 * layer + 1]))
            z = z @ layers[-2] + layers[-1]
            x[i * side : (i + 1) * side, j * side : (j + 1) * side] = z.reshape(side, side, wide)
    for place, (_, n) in enumerate(_convolutions(fields, strides, channels)):
        mine = slice(number * n, (number + 1) * n)
        x = _convolve(x, convolutions[2 * place][..., mine], convolutions[2 * place + 1][mine])
        x = _shuffled(_gelu(x), strides[place]) if place < len(strides) else _shuffled(x, shuffle)
    return (np.tanh(x[: grid[1], : grid[2]]) + 1) / 2


def changed(before: Integers, changes: Integers) -> Integers:
    """The integers of a group, of those before and the changes."""
    return [old + change for old, change in zip(before, changes, strict=True)]
