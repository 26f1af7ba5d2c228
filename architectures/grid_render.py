"""From latents to samples, in NumPy: what a decoder of latent grids does after the entropy coder.

Coarser grids are doubled in size step by step by learned symmetric filters, and a small network of 1x1 and 3x3
convolutions makes samples of them (Cool-Chic; see `architectures.grid_layout.Networks`). `architectures.grid_training`
has the same in JAX, with gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .grid_layout import FILTER_REACH, KERNEL_REACH, LEVELS, UPSAMPLING_REACH, Networks

Span = tuple[int, int]
"""First row (or column) and the one after the last."""
Plane = Float[ndarray, "rows columns"]
Planes = Float[ndarray, "grids rows columns"]

PIXELS_AT_ONCE = 1 << 15


def render(
    networks: Networks, window: Callable[[int, Span, Span], Plane], shape: tuple[int, int], rows: Span, columns: Span
) -> Float[ndarray, "rows columns channels"]:
    """Samples of a region of a signal of that shape, in normalised units.

    `window(level, rows, columns)` gives latents, times their step; it is asked only for what the region needs.
    """
    sizes = [(-(-shape[0] // 2**i), -(-shape[1] // 2**i)) for i in range(LEVELS)]
    inner = _grown(rows, shape[0], KERNEL_REACH), _grown(columns, shape[1], KERNEL_REACH)
    spans = [inner]
    for height, width in sizes[1:]:
        spans.append((_halved(spans[-1][0], height), _halved(spans[-1][1], width)))
    planes = window(LEVELS - 1, *spans[-1])[None]
    for i in reversed(range(LEVELS - 1)):
        (top, bottom), (left, right) = spans[i]
        coarse_rows, coarse_columns = spans[i + 1]
        planes = upsample(upsample(planes, networks.taps[i, 0], 1), networks.taps[i, 1], 2)
        planes = planes[:, top - 2 * coarse_rows[0] :, left - 2 * coarse_columns[0] :][
            :, : bottom - top, : right - left
        ]
        own = _filtered(window, i, spans[i], sizes[i], networks.filters[i])
        planes = np.concatenate([own[None], planes])
    missing = [
        (KERNEL_REACH - (span[0] - grown[0]), KERNEL_REACH - (grown[1] - span[1]))
        for span, grown in zip((rows, columns), inner, strict=True)
    ]
    values = synthesise(networks, np.pad(planes, [(0, 0), *missing], mode="edge"))
    return np.ascontiguousarray(np.moveaxis(values, 0, -1))


def _filtered(
    window: Callable[[int, Span, Span], Plane],
    level: int,
    spans: tuple[Span, Span],
    size: tuple[int, int],
    filters: Float[ndarray, "2 taps"],
) -> Plane:
    """A level's own latents, filtered. Beyond its ends a grid repeats them."""
    wide = [_grown(span, n, FILTER_REACH) for span, n in zip(spans, size, strict=True)]
    missing = [
        (FILTER_REACH - (span[0] - grown[0]), FILTER_REACH - (grown[1] - span[1]))
        for span, grown in zip(spans, wide, strict=True)
    ]
    plane = np.pad(window(level, wide[0], wide[1]), missing, mode="edge")
    return symmetric(symmetric(plane, filters[0], 0), filters[1], 1)


def symmetric(plane: Plane, taps: Float[ndarray, " taps"], axis: int) -> Plane:
    """A filter of seven samples; the result is six shorter."""
    n = plane.shape[axis] - 2 * FILTER_REACH
    at = [np.take(plane, range(i, i + n), axis) for i in range(2 * FILTER_REACH + 1)]
    pairs = [taps[i] * (at[FILTER_REACH - i] + at[FILTER_REACH + i]) for i in range(1, FILTER_REACH + 1)]
    total: Plane = taps[0] * at[FILTER_REACH] + sum(pairs)
    return total


def _grown(span: Span, n: int, by: int) -> Span:
    return max(span[0] - by, 0), min(span[1] + by, n)


def _halved(span: Span, n: int) -> Span:
    """What a span is made of on the next coarser grid of `n` rows or columns."""
    return max(span[0] // 2 - UPSAMPLING_REACH, 0), min((span[1] + 1) // 2 + UPSAMPLING_REACH, n)


def upsample(planes: Planes, taps: Float[ndarray, " taps"], axis: int) -> Planes:
    """Twice as many rows or columns. New samples lie a quarter before and after each old one; the ends repeat."""
    pads = [(0, 0)] * 3
    pads[axis] = (UPSAMPLING_REACH, UPSAMPLING_REACH)
    n = planes.shape[axis]
    wide = np.moveaxis(np.pad(planes, pads, mode="edge"), axis, 0)
    at = [wide[i : i + n] for i in range(5)]
    before = taps[0] * at[2] + taps[1] * at[1] + taps[2] * at[3] + taps[3] * at[0]
    after = taps[0] * at[2] + taps[1] * at[3] + taps[2] * at[1] + taps[3] * at[4]
    both = np.stack([before, after], 1).reshape(2 * n, *before.shape[1:])
    return np.moveaxis(both, 0, axis)


def synthesise(networks: Networks, planes: Planes) -> Float[ndarray, "channels rows columns"]:
    """Samples from all levels at full size, which have `KERNEL_REACH` more rows and columns on all sides."""
    n_levels, height, width = planes.shape
    values = np.empty((len(networks.narrow_bias), height - 2 * KERNEL_REACH, width - 2 * KERNEL_REACH), planes.dtype)
    at_once = max(1, PIXELS_AT_ONCE // width)
    for top in range(0, height - 2 * KERNEL_REACH, at_once):
        bottom = min(top + at_once, height - 2 * KERNEL_REACH)
        flat = np.ascontiguousarray(planes[:, top : bottom + 2 * KERNEL_REACH]).reshape(n_levels, -1)
        wide = np.maximum(networks.wide @ flat + networks.wide_bias[:, None], 0)
        trunk = networks.narrow @ wide + networks.straight @ flat + networks.narrow_bias[:, None]
        trunk = trunk.reshape(-1, bottom - top + 2 * KERNEL_REACH, width)
        values[:, top:bottom] = trunk[:, 1:-1, 1:-1] + _convolve(trunk, networks.kernel, networks.kernel_bias)
    return values


def _convolve(planes: Planes, kernel: Float[ndarray, "out in 3 3"], bias: Float[ndarray, " out"]) -> Planes:
    _, height, width = planes.shape
    out = np.empty((len(kernel), height - 2, width - 2), planes.dtype)
    for o, filters in enumerate(kernel):
        out[o] = bias[o]
        for plane, weights in zip(planes, filters, strict=True):
            for i in range(3):
                for j in range(3):
                    out[o] += weights[i, j] * plane[i : height - 2 + i, j : width - 2 + j]
    return out
