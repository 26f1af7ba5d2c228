"""E-NeRV and NeRV++ of docs/format.md, from the page alone, in float64. Like `tests.page_backbones`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Shape = tuple[int, ...]
Image = Float[ndarray, "h w c"]
Rows = Float[ndarray, "n c"]
Weights = Iterator[Float[ndarray, "..."]]


def stem(strides: list[int], shuffle: int, grid: Shape) -> tuple[int, int]:
    product = math.prod(strides) * shuffle
    return math.ceil(grid[1] / product), math.ceil(grid[2] / product)


def conv_shapes(kernel: int, a: int, b: int) -> list[Shape]:
    return [(kernel, kernel, a, b), (b,)]


def _dense_shapes(a: int, b: int) -> list[Shape]:
    return [(a, b), (b,)]


def _widths(channels: int, floor: int, n_blocks: int) -> list[int]:
    return [channels, *[max(channels // 2**i, min(floor, channels)) for i in range(n_blocks)]]


def enerv_shapes(fields: list[int], strides: list[int], grid: Shape, channels: int) -> list[Shape]:
    first, width, heads, hidden, frequencies, places, floor, shuffle = fields
    widths = _widths(first, floor, len(strides))
    shapes = _dense_shapes(2 * frequencies, hidden) + _dense_shapes(hidden, hidden) + _dense_shapes(hidden, width)
    shapes += _dense_shapes(4 * places, width)
    for n in (1, heads):
        inside, between = n * math.ceil(width / 4), math.ceil(width / 2)
        shapes += [(width, 3 * inside), *_dense_shapes(inside, width)]
        shapes += _dense_shapes(width, between) + _dense_shapes(between, width)
    shapes += _dense_shapes(width, first)
    for w in widths[:-1]:
        shapes += _dense_shapes(hidden, 2 * w)
    between = math.ceil(first / 4)
    shapes += conv_shapes(3, first, between * strides[0] ** 2) + conv_shapes(3, between, widths[1])
    for (a, b), stride in zip(pairwise(widths[1:]), strides[1:], strict=True):
        shapes += conv_shapes(3, a, b * stride**2)
    return shapes + conv_shapes(1, widths[-1], channels * shuffle**2)


def nervpp_shapes(fields: list[int], strides: list[int], grid: Shape, channels: int) -> list[Shape]:
    first, hidden, frequencies, expansion, feed, floor, shuffle = fields
    rows, columns = stem(strides, shuffle, grid)
    widths = _widths(first, floor, len(strides))
    shapes = _dense_shapes(2 * frequencies, 2 * hidden) + _dense_shapes(hidden, rows * columns * first)
    for (a, b), stride in zip(pairwise(widths), strides, strict=True):
        inner, wide = math.ceil(b * expansion / 3), math.ceil(b * feed / 3)
        shapes += conv_shapes(1, a, b) + conv_shapes(1, b, 2 * inner) + [(5, 5, inner)] + conv_shapes(1, inner, b)
        shapes += conv_shapes(3, b, b * stride**2)
        shapes += [(3, 3, b), *conv_shapes(1, b, wide), *conv_shapes(1, wide, b)]
    return shapes + conv_shapes(1, widths[-1], channels * shuffle**2)


# ---- parts ----


def gelu(x: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    y: Float[ndarray, "..."] = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return y


def encode(position: float, size: int, n_frequencies: int) -> Float[ndarray, " features"]:
    angles = [math.pi * 1.25**i * (position + 0.5) / size for i in range(n_frequencies)]
    return np.array([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


def _dense(x: Float[ndarray, "..."], weights: Weights) -> Float[ndarray, "..."]:
    y: Float[ndarray, "..."] = x @ next(weights) + next(weights)
    return y


def _pixel(x: Image, i: int, j: int) -> Float[ndarray, " c"]:
    """0 outside."""
    inside = 0 <= i < x.shape[0] and 0 <= j < x.shape[1]
    return x[i, j] if inside else np.zeros(x.shape[2])


def conv(x: Image, weights: Weights) -> Image:
    weight, bias = next(weights), next(weights)
    half = weight.shape[0] // 2
    out = np.zeros((*x.shape[:2], len(bias)))
    for i, j in np.ndindex(x.shape[:2]):
        out[i, j] = bias
        for u, v in np.ndindex(weight.shape[:2]):
            out[i, j] += _pixel(x, i + u - half, j + v - half) @ weight[u, v]
    return out


def depthwise(x: Image, weights: Weights) -> Image:
    weight = next(weights)
    half = weight.shape[0] // 2
    out = np.zeros(x.shape)
    for i, j in np.ndindex(x.shape[:2]):
        for u, v in np.ndindex(weight.shape[:2]):
            out[i, j] += _pixel(x, i + u - half, j + v - half) * weight[u, v]
    return out


def shuffled(x: Image, s: int) -> Image:
    h, w, c = x.shape
    out = np.zeros((h * s, w * s, c // s**2))
    for i, j, o in np.ndindex(out.shape):
        out[i, j, o] = x[i // s, j // s, (i % s * s + j % s) * out.shape[2] + o]
    return out


def enlarged(x: Image, s: int) -> Image:
    """Bilinear."""
    h, w, c = x.shape
    out = np.zeros((h * s, w * s, c))
    for i, j in np.ndindex(out.shape[:2]):
        p, q = min(max((i + 0.5) / s - 0.5, 0), h - 1), min(max((j + 0.5) / s - 0.5, 0), w - 1)
        for m, n in np.ndindex(h, w):
            out[i, j] += max(0, 1 - abs(p - m)) * max(0, 1 - abs(q - n)) * x[m, n]
    return out


def head(x: Image, weights: Weights, shuffle: int, grid: Shape) -> Image:
    frame: Image = (np.tanh(shuffled(conv(x, weights), shuffle)[: grid[1], : grid[2]]) + 1) / 2
    return frame


# ---- networks ----


def _transformer(x: Rows, weights: Weights, heads: int) -> Rows:
    each = math.ceil(x.shape[1] / 4)
    asked, known, told = np.split(x @ next(weights), 3, axis=1)
    heard = np.zeros((len(x), heads * each))
    for head_number in range(heads):
        part = slice(head_number * each, (head_number + 1) * each)
        for i in range(len(x)):
            likeness = np.exp(known[:, part] @ asked[i, part] / math.sqrt(each))
            heard[i, part] = likeness @ told[:, part] / likeness.sum()
    x = x + _dense(heard, weights)
    y: Rows = x + _dense(gelu(_dense(x, weights)), weights)
    return y


def enerv_frame(
    fields: list[int], strides: list[int], arrays: list[Float[ndarray, "..."]], time: float, grid: Shape
) -> Image:
    first, _, heads, _, frequencies, places, _, shuffle = fields
    weights = iter(arrays)
    rows, columns = stem(strides, shuffle, grid)
    z = gelu(_dense(gelu(_dense(encode(time, grid[0], frequencies), weights)), weights))
    when = gelu(_dense(z, weights))
    pairs = [(i, j) for i in range(rows) for j in range(columns)]
    places_of = np.array([[*encode(i, rows, places), *encode(j, columns, places)] for i, j in pairs])
    where = gelu(_dense(places_of, weights))
    tokens = _transformer(_transformer(where, weights, 1) * when, weights, heads)
    x = _dense(tokens, weights).reshape(rows, columns, first)
    styles = [_dense(z, weights) for _ in strides]
    for number, (style, stride) in enumerate(zip(styles, strides, strict=True)):
        c = x.shape[2]
        x = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-5)
        x = x * (1 + style[:c]) + style[c:]
        x = shuffled(conv(x, weights), stride)
        x = gelu(x if number else conv(x, weights))
    return head(x, weights, shuffle, grid)


def nervpp_frame(
    fields: list[int], strides: list[int], arrays: list[Float[ndarray, "..."]], time: float, grid: Shape
) -> Image:
    first, hidden, frequencies, _, _, _, shuffle = fields
    weights = iter(arrays)
    z = _dense(encode(time, grid[0], frequencies), weights)
    z = gelu(z[:hidden]) * z[hidden:]
    x = _dense(z, weights).reshape(*stem(strides, shuffle, grid), first)
    for stride in strides:
        x = conv(x, weights)
        past = enlarged(x, stride)
        gates, values = np.split(conv(x, weights), 2, axis=2)
        x = x + conv(gelu(gates) * depthwise(values, weights), weights)
        x = gelu(shuffled(conv(x, weights), stride))
        x = x + conv(gelu(conv(depthwise(x, weights), weights)), weights)
        x = x + past
    return head(x, weights, shuffle, grid)
