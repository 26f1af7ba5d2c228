"""Ternary networks of bit planes, as docs/format.md says, in Python's whole numbers. Like `tests.page_backbones`."""

from __future__ import annotations

import itertools
import math

import numpy as np
from jaxtyping import Int
from numpy import ndarray

Shape = tuple[int, ...]
NUMBER = 31
S = [round(2047 * math.sin(2 * math.pi * i / 1024)) for i in range(1024)]


def g(q: int) -> int:
    z = 4 * q / 2047
    return round(2047 / 4 * z * (1 + math.erf(z / math.sqrt(2))) / 2)


def frequencies(n: int) -> int:
    return max(1, (n - 1).bit_length())


def shapes(width: int, depth: int, grid: Shape, channels: int) -> list[Shape]:
    """`grid`: with the bits as its last axis."""
    sizes = [1 + 2 * sum(map(frequencies, grid)), *[width] * depth, channels]
    return [(b, a) for a, b in itertools.pairwise(sizes)]


def values(weights: list[Int[ndarray, "out in"]], grid: Shape) -> Int[ndarray, "*grid channels"]:
    """0 and 1, at every place."""
    layers = [[[int(w) for w in row] for row in layer] for layer in weights]
    found = [_value(layers, place, grid) for place in itertools.product(*map(range, grid))]
    return np.array(found).reshape(*grid, -1)


def _value(layers: list[list[list[int]]], place: Shape, grid: Shape) -> list[int]:
    x = [2047]
    for p, n in zip(place, grid, strict=True):
        for k in range(frequencies(n)):
            i = 512 * (2**k * (2 * p + 1) % (2 * n)) // n
            x += [S[i], S[(i + 256) % 1024]]
    for layer in layers[:-1]:
        h = [sum(w * a for w, a in zip(row, x, strict=True)) for row in layer]
        y = [len(h) * a - sum(h) for a in h]
        top = max(1, *map(abs, y))
        x = [g(2047 * a // top) for a in y]
    return [int(sum(w * a for w, a in zip(row, x, strict=True)) > 0) for row in layers[-1]]
