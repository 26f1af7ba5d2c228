"""Networks of frames of docs/format.md, from the page alone, in float64. Like `tests.page_backbones`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

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


def enerv_stem_shapes(fields: list[int]) -> list[Shape]:
    first, width, heads, hidden, frequencies, places, _, _ = fields
    shapes = _dense_shapes(2 * frequencies, hidden) + _dense_shapes(hidden, hidden) + _dense_shapes(hidden, width)
    shapes += _dense_shapes(4 * places, width)
    for n in (1, heads):
        inside, between = n * math.ceil(width / 4), math.ceil(width / 2)
        shapes += [(width, 3 * inside), *_dense_shapes(inside, width)]
        shapes += _dense_shapes(width, between) + _dense_shapes(between, width)
    return shapes + _dense_shapes(width, first)


def enerv_shapes(fields: list[int], strides: list[int], grid: Shape, channels: int) -> list[Shape]:
    first, _, _, hidden, _, _, floor, shuffle = fields
    widths = _widths(first, floor, len(strides))
    shapes = enerv_stem_shapes(fields)
    for w in widths[:-1]:
        shapes += _dense_shapes(hidden, 2 * w)
    between = math.ceil(first / 4)
    shapes += conv_shapes(3, first, between * strides[0] ** 2) + conv_shapes(3, between, widths[1])
    for (a, b), stride in zip(pairwise(widths[1:]), strides[1:], strict=True):
        shapes += conv_shapes(3, a, b * stride**2)
    return shapes + conv_shapes(1, widths[-1], channels * shuffle**2)


def mvc_shapes(fields: list[int], lists: list[int], grid: Shape, channels: int) -> list[Shape]:
    """`lists`: the number of scenes, the scenes, the strides."""
    embedding, *inner = fields
    n_scenes, strides = lists[0], lists[1 + lists[0] :]
    assert sum(lists[1 : 1 + n_scenes]) == grid[0]
    each = _dense_shapes(embedding, inner[1]) + enerv_shapes(inner, strides, grid, channels)
    return [(grid[0], *stem(strides, inner[-1], grid), embedding)] + n_scenes * each


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


def hinerv_shapes(fields: list[int], strides: list[int], grid: Shape, channels: int) -> list[Shape]:
    features, local, first, floor, depth, expansion, shuffle = fields
    rows, columns = stem(strides, shuffle, grid)
    times = [grid[0], math.ceil(grid[0] / 2)]
    widths = [max(first // 2**i, min(floor, first)) for i in range(len(strides))]
    shapes: list[Shape] = [(n, rows, columns, features) for n in times] + conv_shapes(3, 2 * features, first)
    before = widths[0]
    for i, (w, s) in enumerate(zip(widths, strides, strict=True)):
        last = i == len(strides) - 1
        shapes += conv_shapes(1, before, w) + [(n, s, s, local) for n in times] + [(2 * local, w)]
        wide = w if last else expansion * w
        for _ in range(1 if last else depth):
            shapes += [(3, 3, w), *conv_shapes(1, w, wide), *conv_shapes(1, wide, w)]
        before = w
    return shapes + conv_shapes(1, before, channels * shuffle**2)


def boost_shapes(fields: list[int], inner: list[int], grid: Shape, channels: int) -> list[Shape]:
    """With NeRV, HNeRV or E-NeRV inside."""
    frequencies, time = fields
    stem_shapes, widths, kernels, strides, shuffle = _inside(inner, grid)
    shapes = stem_shapes + _dense_shapes(2 * frequencies, time) + _dense_shapes(time, time)
    for (a, b), kernel, stride in zip(pairwise(widths), kernels, strides, strict=True):
        shapes += conv_shapes(min(kernel, 3), a, b * stride**2)
        shapes += 2 * _dense_shapes(time, 2 * b) + 2 * conv_shapes(3, b, b)
    return shapes + conv_shapes(3, widths[-1], channels * shuffle**2)


def _inside(inner: list[int], grid: Shape) -> tuple[list[Shape], list[int], list[int], list[int], int]:
    """Of a network inside Boost: the shapes of its stem, channels, kernels, strides and shuffle."""
    number, n_fields = inner[0], {2: 5, 3: 7, 17: 8}[inner[0]]
    fields, strides = inner[1 : 1 + n_fields], inner[2 + n_fields :]
    assert inner[1 + n_fields] == len(strides)
    if number == 3:
        embedding, first, reduction, kernel, floor, _, shuffle = fields
        widths = [first]
        for _ in strides:
            widths.append(max(round(10 * widths[-1] / reduction), min(floor, widths[-1])))
        shapes = [(grid[0], *stem(strides, shuffle, grid), embedding), *conv_shapes(1, embedding, first)]
        return shapes, widths, [min(1 + 2 * i, kernel) for i in range(len(strides))], strides, shuffle
    first, floor, shuffle = fields[0], fields[-2], fields[-1]
    widths = _widths(first, floor, len(strides))
    if number == 2:
        rows, columns = stem(strides, shuffle, grid)
        shapes = _dense_shapes(2 * fields[2], fields[1]) + _dense_shapes(fields[1], rows * columns * first)
    else:
        shapes = enerv_stem_shapes(fields)
    return shapes, widths, [3] * len(strides), strides, shuffle


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


def enerv_stem(
    fields: list[int], strides: list[int], weights: Weights, time: float, grid: Shape, context: Rows | float = 0.0
) -> tuple[Image, Float[ndarray, " hidden"]]:
    """Before the first stage, and z. `context`: what MVC adds to positions."""
    first, _, heads, _, frequencies, places, _, shuffle = fields
    rows, columns = stem(strides, shuffle, grid)
    z = gelu(_dense(gelu(_dense(encode(time, grid[0], frequencies), weights)), weights))
    when = gelu(_dense(z, weights))
    pairs = [(i, j) for i in range(rows) for j in range(columns)]
    places_of = np.array([[*encode(i, rows, places), *encode(j, columns, places)] for i, j in pairs])
    where = gelu(_dense(places_of, weights) + context)
    tokens = _transformer(_transformer(where, weights, 1) * when, weights, heads)
    return _dense(tokens, weights).reshape(rows, columns, first), z


def enerv_frame(
    fields: list[int],
    strides: list[int],
    arrays: list[Float[ndarray, "..."]],
    time: float,
    grid: Shape,
    context: Rows | float = 0.0,
) -> Image:
    weights = iter(arrays)
    x, z = enerv_stem(fields, strides, weights, time, grid, context)
    styles = [_dense(z, weights) for _ in strides]
    for number, (style, stride) in enumerate(zip(styles, strides, strict=True)):
        c = x.shape[2]
        x = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-5)
        x = x * (1 + style[:c]) + style[c:]
        x = shuffled(conv(x, weights), stride)
        x = gelu(x if number else conv(x, weights))
    return head(x, weights, fields[-1], grid)


def mvc_frame(
    fields: list[Any], strides: list[int], arrays: list[Float[ndarray, "..."]], time: float, grid: Shape
) -> Image:
    """The last of `fields` is the list of scenes."""
    *fields, scenes = fields
    embeddings, each = arrays[0], (len(arrays) - 1) // len(scenes)
    number, first = 0, 0
    while number + 1 < len(scenes) and time >= first + scenes[number]:
        number, first = number + 1, first + scenes[number]
    time = min(max(time, first), first + scenes[number] - 1)
    low = math.floor(time)
    high = min(low + 1, len(embeddings) - 1)
    told = embeddings[low] * (low + 1 - time) + embeddings[high] * (time - low)
    own = arrays[1 + number * each : 1 + (number + 1) * each]
    context = told.reshape(-1, told.shape[-1]) @ own[0] + own[1]
    return enerv_frame(fields[1:], strides, own[2:], time - first, (scenes[number], *grid[1:]), context)


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


def _at(grids: Float[ndarray, "n ..."], time: float, n_frames: int) -> Float[ndarray, "..."]:
    """Between two of the grids of fewer frames."""
    place = time * (len(grids) - 1) / max(n_frames - 1, 1)
    low = min(max(math.floor(place), 0), len(grids) - 1)
    high, part = min(low + 1, len(grids) - 1), min(max(place - low, 0), 1)
    found: Float[ndarray, "..."] = grids[low] * (1 - part) + grids[high] * part
    return found


def _normal(x: Image) -> Image:
    mean = x.mean(-1, keepdims=True)
    found: Image = (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-6)
    return found


def normal_hinerv_frame(*network: Any) -> Image:
    return hinerv_frame(*network, between=_normal)


def hinerv_frame(
    fields: list[int],
    strides: list[int],
    arrays: list[Float[ndarray, "..."]],
    time: float,
    grid: Shape,
    between: Callable[[Image], Image] = lambda x: x,
) -> Image:
    _, _, _, _, depth, _, shuffle = fields
    weights = iter(arrays)
    x = np.concatenate([_at(next(weights), time, grid[0]) for _ in range(2)], -1)
    x = conv(x, weights)
    for number, stride in enumerate(strides):
        x = enlarged(conv(between(x), weights), stride)
        local = np.concatenate([_at(next(weights), time, grid[0]) for _ in range(2)], -1) @ next(weights)
        for i, j in np.ndindex(x.shape[:2]):
            x[i, j] += local[i % stride, j % stride]
        for _ in range(1 if number == len(strides) - 1 else depth):
            x = x + conv(gelu(conv(between(depthwise(x, weights)), weights)), weights)
    return head(x, weights, shuffle, grid)


def boost_frame(
    fields: list[int], inner: list[int], arrays: list[Float[ndarray, "..."]], time: float, grid: Shape
) -> Image:
    frequencies, _ = fields
    _, widths, _, strides, shuffle = _inside(inner, grid)
    weights = iter(arrays)
    if inner[0] == 3:
        x = gelu(conv(_at(next(weights), time, grid[0]), weights))
    elif inner[0] == 2:
        z = gelu(_dense(gelu(_dense(encode(time, grid[0], inner[3]), weights)), weights))
        x = z.reshape(*stem(strides, shuffle, grid), widths[0])
    else:
        x, _ = enerv_stem(inner[1:9], strides, weights, time, grid)
    when = np.sin(_dense(encode(time, grid[0], frequencies), weights))
    when = np.sin(_dense(when, weights))
    for stride in strides:
        x = shuffled(np.sin(conv(x, weights)), stride)
        scales = [_dense(when, weights) for _ in range(2)]
        y, c = x, x.shape[2]
        for number, scale in enumerate(scales):
            y = conv(y * (1 + scale[:c]) + scale[c:], weights)
            y = y if number else gelu(y)
        x = x + y
    return head(x, weights, shuffle, grid)
