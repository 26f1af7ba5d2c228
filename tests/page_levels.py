"""Of docs/format.md: shapes, views and levels. From the page alone: see `tests.page_decoder`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from tests.page_stream import (
    CONSTANTS,
    LIMITLESS,
    Damaged,
    Moving,
    Shape,
    SmallNumber,
    Stream,
    between,
    starts_of,
    whole,
)


def four_axes(shape: Shape) -> Shape:
    padded = (1, 1, 1, 1, *shape)
    return (math.prod(padded[:-3]), *padded[-3:])


def view_shape(shape: Shape, split: int) -> Shape:
    h, w, c, o = four_axes(shape)
    if split != 1 and not (2 <= split <= 8 and o > 0 and o % split**2 == 0):
        raise Damaged
    return (h * split, w * split, c, o // split**2)


def from_view(viewed: list[Any], shape: Shape, split: int) -> list[Any]:
    """Elements of a view, in the row order of the tensor."""
    sizes, tensor = view_shape(shape, split), list[Any]()
    for y, x, i, channel in np.ndindex(four_axes(shape)):
        (u, v), k = divmod(channel // sizes[3], split), channel % sizes[3]
        row, column = y * split + split - 1 - u, x * split + split - 1 - v
        tensor.append(viewed[((row * sizes[1] + column) * sizes[2] + i) * sizes[3] + k])
    return tensor


class Trellis:
    def __init__(self) -> None:
        self.state = 0

    def value(self, integer: int) -> int:
        value = 2 * integer - ((integer > 0) - (integer < 0)) * (self.state % 2)
        self.state = whole("trellis")[2 * self.state + integer % 2]
        return value


Floats = Float[ndarray, "..."]
Meaning = Callable[[Int[ndarray, "..."]], Floats]


def step_size(step: int) -> float:
    return float.fromhex(CONSTANTS["step_mantissas"][step % 8]) * 2.0 ** (step // 8 - 32)


def halves(patterns: Any) -> Floats:
    array = np.asarray(patterns, np.int64)
    if ((array < 0) | (array > 65535)).any():
        raise Damaged
    floats = array.astype(np.uint16).view(np.float16).astype(np.float64)
    if not np.isfinite(floats).all():
        raise Damaged
    return floats


class Levels:
    """The page's "Levels"."""

    def __init__(self, stream: Stream):
        self.stream = stream
        self.kind = Moving(32, 0, 0, 5)
        self.steps, self.last, self.of_rank = SmallNumber(2048), whole("first_before")[0], dict[int, int]()
        self.offsets = SmallNumber(512)
        self.split = Moving(256, 1)
        self.size, self.firsts, self.gaps = Moving(256, 8, 1, 256), SmallNumber(4096), SmallNumber(1024)

    def read(self, shape: Shape) -> tuple[Shape, Meaning]:
        """The shape that the code sees, and what turns integers of it into weights (float64, of the tensor's shape)."""
        kinds = (self.read_uniform, self._channels, self._trellis, self._codebook, self._minmax, self._halves)
        return kinds[self.kind.read(self.stream)](shape)

    def _step(self, shape: Shape) -> int:
        before = self.of_rank.get(len(shape), self.last)
        self.last = self.of_rank[len(shape)] = between(before + self.steps.read(self.stream), 0, 511)
        return self.last

    def _axis(self, shape: Shape) -> int:
        rank = len(shape)
        return between(rank - 1 - self.stream.number((rank - 1).bit_length()) if rank else -1, 0, rank - 1)

    def read_uniform(self, shape: Shape) -> tuple[Shape, Meaning]:
        step = step_size(self._step(shape))
        return shape, lambda integers: integers * step

    def _channels(self, shape: Shape) -> tuple[Shape, Meaning]:
        step = self._step(shape)
        numbers, least, greatest = np.full(shape, step), step, step
        for axis, n in enumerate(shape):
            if self.stream.number(1):
                grain = self.stream.number(2)
                offsets = [self.offsets.read(self.stream) << grain for _ in range(n)]
                least, greatest = least + min(offsets, default=0), greatest + max(offsets, default=0)
                numbers = numbers + np.array(offsets).reshape([n if i == axis else 1 for i in range(len(shape))])
        between(least, 0, 511), between(greatest, 0, 511)
        return shape, lambda integers: integers * np.vectorize(step_size, otypes=[float])(numbers)

    def _trellis(self, shape: Shape) -> tuple[Shape, Meaning]:
        step, split = step_size(self._step(shape)), self.split.read(self.stream)

        def meaning(integers: Int[ndarray, "..."]) -> Floats:
            trellis = Trellis()
            values = [trellis.value(k) for k in integers.ravel().tolist()]
            return np.array(from_view(values, shape, split), np.float64).reshape(shape) * step

        return view_shape(shape, split), meaning

    def _codebook(self, shape: Shape) -> tuple[Shape, Meaning]:
        step, n = step_size(self._step(shape)), max(1, math.prod(shape))
        books = [self._book(n) for _ in range(between(self.stream.exp_golomb(0) + 1, 1, min(16, n)))]
        groups = np.zeros(shape, np.int64)
        if len(books) > 1:
            axis, group = self._axis(shape), 0
            counts, found = [[1] * len(books) for _ in books], []
            for _ in range(shape[axis]):
                row = counts[group]
                group = self.stream.symbol(starts_of(row), 16)
                row[group] += 4
                found.append(group)
            groups = groups + np.array(found).reshape([-1 if i == axis else 1 for i in range(len(shape))])

        def meaning(integers: Int[ndarray, "..."]) -> Floats:
            words = []
            for k, group in zip(integers.ravel().tolist(), groups.ravel().tolist(), strict=True):
                home = min(range(len(books[group])), key=lambda i: (abs(books[group][i]), i))
                words.append(books[group][between(home + k, 0, len(books[group]) - 1)])
            return np.array(words, np.float64).reshape(shape) * step

        return shape, meaning

    def _book(self, n: int) -> list[int]:
        size, gap = between(self.size.read(self.stream), 1, n), 0
        words = [self.firsts.read(self.stream)]
        for _ in range(size - 1):
            gap += self.gaps.read(self.stream)
            words.append(words[-1] + between(gap, 1, LIMITLESS))
        between(words[0], -(1 << 30), 1 << 30), between(words[-1], -(1 << 30), 1 << 30)
        return words

    def _minmax(self, shape: Shape) -> tuple[Shape, Meaning]:
        axis = None if self.stream.number(1) else self._axis(shape)
        pruned, count = self.stream.number(1), 1 if axis is None else shape[axis]
        pairs = halves([self.stream.number(16) for _ in range(2 * count)]).reshape(2, -1)
        minima, scales = (row.reshape([-1 if i == axis else 1 for i in range(len(shape))]) for row in pairs)
        if not pruned:
            return shape, lambda integers: minima + integers * scales
        return shape, lambda integers: np.where(integers == 0, 0, minima + (integers - 1) * scales)

    def _halves(self, shape: Shape) -> tuple[Shape, Meaning]:
        return shape, halves
