"""The networks of positions, evaluated as docs/format.md says, in float64 with NumPy: a check on what they decode to.

Like `tests.page_decoder` it imports nothing of the package; numbers without a name stand so on the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from jaxtyping import Complex, Float, Int
from numpy import ndarray

Shape = tuple[int, ...]
Weights = list[Float[ndarray, "..."]]
Points = Float[ndarray, "points _"]
MASK = (1 << 32) - 1


# ---- counted random numbers ----


def mixed(x: int) -> int:
    x ^= x >> 16
    x = x * 0x7FEB352D & MASK
    x ^= x >> 15
    x = x * 0x846CA68B & MASK
    return x ^ x >> 16


def word(seed: int, number: int) -> int:
    key = mixed((seed + 0x9E3779B9) & MASK)
    return mixed((mixed(number ^ key) + key) & MASK)


def bell(seed: int, number: int) -> int:
    return sum(word(seed, number).to_bytes(4, "little")) - 510


def drawn(draw: Callable[[int, int], int], seed: int, shape: Shape) -> Int[ndarray, "..."]:
    return np.array([draw(seed, i) for i in range(math.prod(shape))], np.int64).reshape(shape)


# ---- shapes ----


def layers(*sizes: int) -> list[Shape]:
    """Weight and bias from each size to the next."""
    return [shape for a, b in pairwise(sizes) for shape in ((b, a), (b,))]


def dense_shapes(fields: list[int], entries: list[int], grid: Shape, channels: int) -> list[Shape]:
    width, depth = fields
    return layers(len(grid), *[width] * depth, channels)


def relu_shapes(fields: list[int], entries: list[int], grid: Shape, channels: int) -> list[Shape]:
    width, depth = fields
    return layers(2 * math.ceil(width / 2), *[width] * depth, channels)


def wire_shapes(fields: list[int], entries: list[int], grid: Shape, channels: int) -> list[Shape]:
    width, depth = fields
    middle = [(2, width, width), (2, width)] * (depth - 1)
    return [(width, len(grid)), (width,), *middle, (2, channels, width), (channels,)]


def bacon_shapes(fields: list[int], entries: list[int], grid: Shape, channels: int) -> list[Shape]:
    width, depth = fields
    return [(depth + 1, width), *layers(*[width] * (depth + 1), channels)]


def poly_shapes(fields: list[int], entries: list[int], grid: Shape, channels: int) -> list[Shape]:
    width, depth = fields
    level: list[Shape] = [(width, len(grid)), (width,), (width, width), (width,)]
    return level * depth + layers(width, channels)


# ---- values ----


def coordinates(positions: Points, grid: Shape, scales: list[int]) -> Points:
    x: Points = ((2 * positions + 1) / np.array(grid) - 1) * np.array(scales) / 8
    return x


def perceptron(weights: Weights, x: Points, activate: Callable[[Points], Points]) -> Points:
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = activate(x @ weight.T + bias)
    values: Points = x @ weights[-2].T + weights[-1] + 0.5
    return values


def siren(fields: list[int], scales: list[int], weights: Weights, positions: Points, grid: Shape) -> Points:
    return perceptron(weights, coordinates(positions, grid, scales), lambda z: np.sin(30 * z))


def relu(fields: list[int], scales: list[int], weights: Weights, positions: Points, grid: Shape) -> Points:
    directions = drawn(bell, 1, (math.ceil(fields[0] / 2), len(grid))) * (10 / math.sqrt(21845))
    angles = coordinates(positions, grid, scales) @ directions.T
    return perceptron(weights, np.concatenate([np.sin(angles), np.cos(angles)], 1), lambda z: np.maximum(z, 0))


def finer(fields: list[int], scales: list[int], weights: Weights, positions: Points, grid: Shape) -> Points:
    return perceptron(weights, coordinates(positions, grid, scales), lambda z: np.sin(30 * (np.abs(z) + 1) * z))


def gauss(fields: list[int], scales: list[int], weights: Weights, positions: Points, grid: Shape) -> Points:
    return perceptron(weights, coordinates(positions, grid, scales), lambda z: np.exp(-((10 * z) ** 2)))


def wire(fields: list[int], scales: list[int], weights: Weights, positions: Points, grid: Shape) -> Points:
    first, bias, *middle, last, last_bias = weights
    z = coordinates(positions, grid, scales) @ first.T + bias + 0j
    for weight, offset in zip(middle[::2], middle[1::2], strict=True):
        z = wavelet(z) @ (weight[0] + 1j * weight[1]).T + offset[0] + 1j * offset[1]
    values: Points = (wavelet(z) @ (last[0] + 1j * last[1]).T).real + last_bias + 0.5
    return values


def wavelet(z: Complex[ndarray, "points units"]) -> Complex[ndarray, "points units"]:
    result: Complex[ndarray, "points units"] = np.exp(10j * z - np.abs(10 * z) ** 2)
    return result


def bacon(fields: list[int], scales: list[int], weights: Weights, positions: Points, grid: Shape) -> Points:
    width, depth = fields
    bands = np.array([min(math.ceil(n * s / (16 * (depth + 1))), 1000) for n, s in zip(grid, scales, strict=True)])
    turns = (drawn(word, 2, (depth + 1, width, len(grid))) * (2 * bands + 1) >> 32) - bands
    phases, *rest = weights
    y = coordinates(positions, grid, [8] * len(grid))
    waves = [np.sin(math.pi * y @ f.T + phase) for f, phase in zip(turns, phases, strict=True)]
    h = waves[0]
    for wave, weight, bias in zip(waves[1:], rest[:-2:2], rest[1:-2:2], strict=True):
        h = wave * (h @ weight.T + bias)
    values: Points = h @ rest[-2].T + rest[-1] + 0.5
    return values


def poly(fields: list[int], scales: list[int], weights: Weights, positions: Points, grid: Shape) -> Points:
    x = coordinates(positions, grid, scales)
    h: Points = np.ones((len(x), fields[0]))
    for a, b, w, c in zip(*(weights[i:-2:4] for i in range(4)), strict=True):
        h = np.clip(leaky(h * leaky(x @ a.T + b) @ w.T + c), -256, 256)
    values: Points = h @ weights[-2].T + weights[-1] + 0.5
    return values


def leaky(x: Points) -> Points:
    result: Points = np.maximum(x, 0.2 * x)
    return result


Network = Callable[[list[int], list[int], Weights, Points, Shape], Points]
SHAPES = {
    "ReLU": (5, relu_shapes),
    "FINER": (6, dense_shapes),
    "Gauss": (7, dense_shapes),
    "WIRE": (8, wire_shapes),
    "BACON": (9, bacon_shapes),
    "Poly": (10, poly_shapes),
}
VALUES: dict[int, Network] = {1: siren, 5: relu, 6: finer, 7: gauss, 8: wire, 9: bacon, 10: poly}
"""By the number of the architecture: values at positions, from fields, scales, tensors and the grid."""
