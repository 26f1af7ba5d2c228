"""Frames moved along fields of displacements: what a decoder of motion does, and its derivatives, for fits.

A field is the sum of planes of whole numbers at several spacings, each bilinear between its nodes. It is rounded to
1/64 of a pixel, exactly: which samples are read does not depend on the machine.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.codecs.kernels import kernel

SPACINGS = (64, 32, 16, 8)
"""Pixels between the nodes of each level, coarse to fine."""
FRACTIONS = 64
"""Parts of a pixel."""
TAPS, BEFORE = 6, 2
"""Samples that are weighted along each axis, and how many of them lie before the place."""
LOBES = 3
"""Of the windowed sine that weights them (Lanczos)."""
ROWS_PER_THREAD = 48

Frame = Float[ndarray, "rows columns channels"]
Plane = Float[ndarray, "rows columns"]
Field = Int[ndarray, "axes rows columns"]


def node_shape(shape: tuple[int, int], spacing: int) -> tuple[int, int]:
    """Nodes along each axis: the first is the first sample, the last is the last sample's or beyond it."""
    rows, columns = (-(-(n - 1) // spacing) + 1 for n in shape)
    return rows, columns


@functools.lru_cache(maxsize=64)
def spreading(n: int, spacing: int) -> Float[ndarray, "samples nodes"]:
    """What each node gives to each of `n` samples, exact in double precision."""
    places = np.arange(n) / spacing
    n_nodes = -(-(n - 1) // spacing) + 1
    shares: ndarray = np.maximum(1 - np.abs(places[:, None] - np.arange(n_nodes)), 0)
    shares.flags.writeable = False
    return shares


def spread(pyramid: Sequence[ndarray], shape: tuple[int, int]) -> Float[ndarray, "planes rows columns"]:
    """The sum of all levels (planes, rows, columns) at all samples: bilinear, and exact for whole numbers."""
    height, width = shape
    total = np.zeros((pyramid[0].shape[0], height, width))
    for planes, spacing in zip(pyramid, SPACINGS, strict=True):
        total += spreading(height, spacing) @ planes @ spreading(width, spacing).T
    return total


@functools.cache
def weights() -> Float[ndarray, "fractions taps"]:
    """The samples' weights for each fraction of a pixel, in whole 1/4096, which sum to 1."""
    unit = 4096
    places = np.arange(TAPS) - BEFORE - np.arange(FRACTIONS)[:, None] / FRACTIONS
    table = np.sinc(places) * np.sinc(places / LOBES)
    whole = np.round(table / table.sum(1, keepdims=True) * unit)
    whole[np.arange(FRACTIONS), np.argmax(whole, 1)] += unit - whole.sum(1)
    weights: ndarray = np.asarray(whole / unit, np.float32)
    return weights


@functools.cache
def slopes() -> Float[ndarray, "fractions taps"]:
    """How the weights change along a pixel, about."""
    around = np.concatenate([weights(), np.roll(weights()[:1], 1, 1)])
    table: ndarray = np.asarray(np.gradient(around, axis=0)[:-1] * FRACTIONS, np.float32)
    return table


@kernel("void(float32[:,:,::1], int32[:,:,::1], float32[:,::1], float32[:,:,::1], int64, int64)")
def _moved(reference: Frame, field: Field, table: ndarray, out: Frame, begin: int, end: int) -> None:
    height, width, channels = reference.shape
    for y in range(begin, end):
        for x in range(out.shape[1]):
            down, right = y * FRACTIONS + field[0, y, x], x * FRACTIONS + field[1, y, x]
            top, left = down // FRACTIONS, right // FRACTIONS
            down, right = down - top * FRACTIONS, right - left * FRACTIONS
            for c in range(channels):
                value = np.float32(0)
                for i in range(TAPS):
                    row = min(max(top + i - BEFORE, 0), height - 1)
                    along = np.float32(0)
                    for j in range(TAPS):
                        along += table[right, j] * reference[row, min(max(left + j - BEFORE, 0), width - 1), c]
                    value += table[down, i] * along
                out[y, x, c] = value


@kernel("void(float32[:,::1], float32[:,:,::1], float32[:,::1], float32[:,::1], float32[:,:,::1], int64, int64)")
def _moved_with_slopes(
    reference: Plane, field: ndarray, table: ndarray, slope: ndarray, out: ndarray, begin: int, end: int
) -> None:
    height, width = reference.shape
    for y in range(begin, end):
        for x in range(out.shape[2]):
            down = int(np.floor((y + field[0, y, x]) * FRACTIONS + 0.5))
            right = int(np.floor((x + field[1, y, x]) * FRACTIONS + 0.5))
            top, left = down // FRACTIONS, right // FRACTIONS
            down, right = down - top * FRACTIONS, right - left * FRACTIONS
            value, by_row, by_column = np.float32(0), np.float32(0), np.float32(0)
            for i in range(TAPS):
                row = min(max(top + i - BEFORE, 0), height - 1)
                along, change = np.float32(0), np.float32(0)
                for j in range(TAPS):
                    sample = reference[row, min(max(left + j - BEFORE, 0), width - 1)]
                    along += table[right, j] * sample
                    change += slope[right, j] * sample
                value += table[down, i] * along
                by_row += slope[down, i] * along
                by_column += table[down, i] * change
            out[0, y, x], out[1, y, x], out[2, y, x] = value, by_row, by_column


def moved(reference: Frame, field: Field) -> Frame:
    """A frame whose sample at p is that of `reference` at p + field(p), in 1/`FRACTIONS` of a pixel. Beyond its edges a
    frame repeats them.
    """
    out = np.empty((*field.shape[1:], reference.shape[2]), np.float32)
    whole, places = np.ascontiguousarray(reference, np.float32), np.ascontiguousarray(field, np.int32)
    _by_rows(lambda begin, end: _moved(whole, places, weights(), out, begin, end), len(out))
    return out


def moved_precisely(reference: Frame, field: Field) -> Frame:
    """What `moved` gives, in double precision."""
    height, width, _ = reference.shape
    places = [np.arange(n) * FRACTIONS for n in (height, width)]
    (top, down), (left, right) = (
        np.divmod(place + field[axis], FRACTIONS) for axis, place in enumerate((places[0][:, None], places[1][None]))
    )
    table = weights().astype(np.float64)
    out = np.zeros(reference.shape)
    for i in range(TAPS):
        row = np.clip(top + i - BEFORE, 0, height - 1)
        for j in range(TAPS):
            column = np.clip(left + j - BEFORE, 0, width - 1)
            out += (table[down, i] * table[right, j])[..., None] * reference[row, column]
    return out


def moved_with_slopes(reference: Plane, field: Float[ndarray, "2 rows columns"]) -> Float[ndarray, "3 rows columns"]:
    """The same of one plane and a field in pixels; and its derivatives by both displacements."""
    out = np.empty((3, *field.shape[1:]), np.float32)
    places = np.ascontiguousarray(field, np.float32)
    _by_rows(
        lambda begin, end: _moved_with_slopes(reference, places, weights(), slopes(), out, begin, end), field.shape[1]
    )
    return out


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1)


def _by_rows(work: Callable[[int, int], object], n: int) -> None:
    """Calls `work` for parts of `n` rows, side by side."""
    parts = max(1, min(os.cpu_count() or 1, n // ROWS_PER_THREAD))
    if parts == 1:
        work(0, n)
        return
    ends = [n * i // parts for i in range(parts + 1)]
    for done in [_pool().submit(work, begin, end) for begin, end in itertools.pairwise(ends)]:
        done.result()
