"""Of docs/format.md: counted random numbers, D'OH and PRANC. From the page alone: see `tests.page_decoder`."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from tests.page_backbones import word
from tests.page_decoder import inner_shapes, own_coefficients, polynomial_sine, siren_values
from tests.page_stream import Shape


def bell(w: int) -> int:
    return sum(w.to_bytes(4, "little")) - 510


def signs(seed: int, first: int, rows: int, columns: int) -> Int[ndarray, "rows columns"]:
    def entry(i: int, j: int) -> int:
        return 1 - 2 * (word(seed, first + columns * (i // 32) + j) >> (i % 32) & 1)

    return np.array([[entry(i, j) for j in range(columns)] for i in range(rows)]).reshape(rows, columns)


def _doh_sums(fields: list[int], z: Float[ndarray, " k"], sizes: list[int]) -> Float[ndarray, " weights"]:
    _, seed, form = fields
    v = np.concatenate([np.cos(np.pi * z / 2), np.sin(np.pi * z / 2)]) if form == 2 else z
    return signs(4 * seed + 1, 0, sum(sizes), len(v)) @ v / math.sqrt(len(z))


def _pranc_sums(fields: list[int], z: Float[ndarray, " k"], sizes: list[int]) -> Float[ndarray, " weights"]:
    coefficients, seed, terms = fields
    if terms:
        n = sum(sizes) * terms
        order = sorted(range(n), key=lambda number: (word(4 * seed + 2, number), number))
        chosen = np.array([z[p % len(z)] for p in order]).reshape(-1, terms)
        sums: Float[ndarray, " weights"] = (signs(4 * seed + 1, 0, sum(sizes), terms) * chosen).sum(1)
        return sums / math.sqrt(terms)
    parts, place, used = [], 0, 0
    for size, own in zip(sizes, own_coefficients(coefficients, sizes), strict=True):
        parts.append(signs(4 * seed + 1, place, size, own) @ z[used : used + own] / math.sqrt(own))
        place, used = place + own * math.ceil(size / 32), used + own
    return np.concatenate(parts)


def weights_inside(
    number: int, fields: list[int], inner: list[int], tensors: list[Float[ndarray, "..."]], grid: Shape, channels: int
) -> list[Float[ndarray, "..."]]:
    """The arrays of the network inside."""
    shapes = inner_shapes(inner, grid, channels)
    sizes = [math.prod(shape) for shape in shapes]
    z, gains = (tensor.astype(np.float64) for tensor in tensors)
    sums = {12: _doh_sums, 13: _pranc_sums}[number](fields, z, sizes)
    start = [bell(word(4 * fields[1], i)) / math.sqrt(21845) for i in range(sum(sizes))]
    parts = [np.array(start), sums] if len(gains) == 2 else [sums]
    scales = np.repeat(2.0 ** (6 * gains), sizes, axis=1)
    ends = list(accumulate(sizes))
    row = (scales * parts).sum(0)
    return [row[end - size : end].reshape(shape) for end, size, shape in zip(ends, sizes, shapes, strict=True)]


def values(
    number: int, fields: list[int], inner: list[int], tensors: list[Float[ndarray, "..."]], grid: Shape, channels: int
) -> Float[ndarray, "*grid c"]:
    """What the network is on the grid's samples."""
    arrays = weights_inside(number, fields, inner, tensors, grid, channels)
    return siren_values([array.astype(np.float32) for array in arrays], inner[4:], grid, polynomial_sine)
