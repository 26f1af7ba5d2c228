"""A decoder written from docs/format.md alone, plain and slow. Its constants are read from the page; numbers that stand
here without a name stand so there. It imports nothing of the package that it is a check on.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "format.md").read_text()
Shape = tuple[int, ...]


def _constants() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    [block] = re.findall(r"```constants\n(.*?)```", PAGE, re.S)
    for line in block.splitlines():
        name, *values = line.split()
        found[name] = found.get(name, []) + values
    return found


CONSTANTS = _constants()
ONE = 1 << 62


def whole(name: str) -> list[int]:
    return [int(text) for text in CONSTANTS[name]]


# ---- weight stream ----


class Damaged(Exception):
    pass


LIMITLESS = 1 << 70


def between(value: int, least: int, greatest: int) -> int:
    """`value`, which must be so."""
    if not least <= value <= greatest:
        raise Damaged
    return value


def clip(value: int, least: int, greatest: int) -> int:
    return min(max(value, least), greatest)


class Stream:
    """The page's "Range decoder"."""

    def __init__(self, data: bytes):
        self.data, self.length = data + bytes(8), len(data)
        self.code, self.range, self.position = int.from_bytes(self.data[:4], "big"), (1 << 32) - 1, 4

    def symbol(self, starts: list[int], bits: int) -> int:
        point = self._point(bits)
        symbol = bisect_right(starts, point) - 1
        self._narrow(starts[symbol], starts[symbol + 1] - starts[symbol], bits)
        return symbol

    def number(self, n_bits: int) -> int:
        value = 0
        while n_bits > 0:
            bits = min(n_bits, 16)
            n_bits -= bits
            point = self._point(bits)
            self._narrow(point, 1, bits)
            value = value << bits | point
        return value

    def bit(self, frequency: int) -> int:
        return 1 - self.symbol([0, frequency, 1 << 16], 16)

    def _point(self, bits: int) -> int:
        point = self.code // (self.range >> bits)
        if point >= 1 << bits:
            raise Damaged
        return point

    def _narrow(self, start: int, size: int, bits: int) -> None:
        unit = self.range >> bits
        self.code -= start * unit
        self.range = size * unit
        while self.range < 1 << 24:
            if self.position == len(self.data):
                raise Damaged
            self.code = self.code * 256 + self.data[self.position]
            self.range *= 256
            self.position += 1

    def exp_golomb(self, order: int) -> int:
        zeros = 0
        while not self.number(1):
            zeros += 1
            if zeros + order > 33:
                raise Damaged
        return (1 << (zeros + order)) + self.number(zeros + order) - (1 << order)

    def magnitude_beyond(self, limit: int, order: int) -> int:
        negative = self.number(1)
        magnitude = self.exp_golomb(order) + limit + 1
        return -magnitude if negative else magnitude


def table_limit(table: int) -> int:
    octave, step = divmod(table - 17, 4)
    return 2 + math.floor((144, 171, 207, 243)[step] * 2.0 ** (octave - 4))


def raw_masses(family: int, table: int) -> list[int]:
    octaves, step = divmod(31 - table, 4)
    root = whole(("laplace_roots", "gauss_roots", "flat_roots")[family])[3 - step]
    for _ in range(octaves * (1, 2, 4)[family]):
        root = root * root >> 62
    limit = table_limit(table)
    if family == 0:
        q, escape = root * root >> 62, root
        masses = [ONE - root, (root * (ONE - q) >> 62) // 2]
        for _ in range(limit):
            masses.append(masses[-1] * q >> 62)
            escape = escape * q >> 62
        return [*masses[: limit + 1], escape]
    factors = []
    for exponent in ((1, 2), (1, 14, 36, 24))[family - 1]:
        factors.append(ONE)
        for _ in range(exponent):
            factors[-1] = factors[-1] * root >> 62
    masses = [ONE]
    for _ in range(limit + 1):
        masses.append(masses[-1] * factors[0] >> 62)
        for i in range(len(factors) - 1):
            factors[i] = factors[i] * factors[i + 1] >> 62
    return masses


@functools.cache
def masses_of(family: int, table: int) -> list[int]:
    raw, limit = raw_masses(family, table), table_limit(table)
    both = [*raw[limit:0:-1], *raw]
    scaled = [(mass << 24) // sum(both) for mass in both]
    scaled[limit] += (1 << 24) - sum(scaled)
    return scaled


def starts_of(masses: list[int]) -> list[int]:
    n, before = len(masses), [0, *accumulate(masses)]
    return [i + before[i] * ((1 << 16) - n) // before[n] for i in range(n + 1)]


LAPLACE = [masses_of(0, table) for table in range(32)]
SPREADS = [sum(abs(j - table_limit(t)) * m for j, m in enumerate(LAPLACE[t][:-1])) >> 16 for t in range(32)]


class SmallNumber:
    """The page's adaptive numbers."""

    def __init__(self, first: int):
        self.total, self.count = first, 1

    def read(self, stream: Stream) -> int:
        mean = self.total // self.count
        table = next((t for t in range(32) if SPREADS[t] >= mean), 31)
        limit = table_limit(table)
        value = stream.symbol(starts_of(LAPLACE[table]), 16) - limit
        if value > limit:
            value = stream.magnitude_beyond(limit, 0)
        if self.count == 4:
            self.total, self.count = self.total - self.total // 4, 3
        self.total, self.count = self.total + 256 * abs(value), self.count + 1
        return value


class Moving:
    """A number that is coded as the difference to the one before."""

    def __init__(self, first: int, value: int, least: int = -LIMITLESS, greatest: int = LIMITLESS):
        self.number, self.value, self.least, self.greatest = SmallNumber(first), value, least, greatest

    def read(self, stream: Stream) -> int:
        self.value = between(self.value + self.number.read(stream), self.least, self.greatest)
        return self.value


# ---- levels ----


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


# ---- codes 0 to 4 ----


def read_long(stream: Stream, length: int) -> int:
    magnitude = ((1 << abs(length) - 1) + stream.number(abs(length) - 1)) if length else 0
    return -magnitude if length < 0 else magnitude


def table_and_shift(scale: int) -> tuple[int, int]:
    i = scale - 1
    return (i, 0) if i < 32 else (28 + i % 4, (i - 32) // 4 + 1)


def read_escapes(stream: Stream, symbols: list[int], limit: int) -> list[int]:
    order = max(0, limit.bit_length() - 2)
    return [j - limit if j <= 2 * limit else stream.magnitude_beyond(limit, order) for j in symbols]


def with_low_bits(stream: Stream, bins: list[int], shift: int, centre: int) -> list[int]:
    low, left = [0] * len(bins), shift
    while left:
        group = min(left, 16)
        left -= group
        low = [bits << group | stream.number(group) for bits in low]
    values = [centre + (b << shift) + bits - (1 << shift >> 1) for b, bits in zip(bins, low, strict=True)]
    return [between(value, -(1 << 31), (1 << 31) - 1) for value in values]


def read_static(stream: Stream, n: int, masses: list[int], shift: int = 0, centre: int = 0) -> list[int]:
    starts = starts_of(masses)
    symbols = [stream.symbol(starts, 16) for _ in range(n)]
    return with_low_bits(stream, read_escapes(stream, symbols, len(masses) // 2 - 1), shift, centre)


def read_values(stream: Stream, n: int, scale: int, shape: int, centre: int) -> list[int]:
    """Code 0."""
    table, shift = table_and_shift(scale)
    masses, limit = masses_of(shape // 4, table), table_limit(table)
    weight, memory = whole("prior_weights")[shape % 4], whole("memories")[shape % 4]
    counts, values, block = [0] * len(masses), list[int](), 32
    while len(values) < n:
        size = min(n - len(values), block)
        starts = starts_of([max(1, weight) * m + (c << 24) * (weight > 0) for m, c in zip(masses, counts, strict=True)])
        symbols = [stream.symbol(starts, 16) for _ in range(size)]
        values += with_low_bits(stream, read_escapes(stream, symbols, limit), shift, centre)
        for j in symbols:
            counts[j] += 1
        while sum(counts) > memory:
            counts = [c >> 1 for c in counts]
        block = min(len(values), 1024)
    return values


def first_contexts(family: int, table: int) -> dict[tuple[str, int], int]:
    masses, limit = masses_of(family, table), table_limit(table)
    tails = [sum(masses)]
    for magnitude in range(limit + 1):
        tails.append(tails[-1] - masses[limit + magnitude] * (2 if magnitude else 1))

    def tail(magnitude: int) -> int:
        return tails[magnitude] if magnitude <= limit + 1 else 0

    def ratio(a: int, b: int) -> int:
        return (a << 24) // b if b else 1 << 23

    first = {("zero", s): ratio(tail(1), tail(0)) for s in (-1, 0, 1)} | {("sign", s): 1 << 23 for s in (-1, 0, 1)}
    first |= {("greater", n): ratio(tail(n + 1), tail(n)) for n in range(1, 11)}
    for k in range(35):
        a, m, z = 10 + 2**k, 10 + (3 << k >> 1), 10 + 2 ** (k + 1)
        first["prefix", k] = ratio(tail(z), tail(a))
        first["suffix", k] = ratio(tail(m) - tail(z), tail(a) - tail(z))
    return first


def read_in_contexts(stream: Stream, n: int, scale: int, shape: int, centre: int) -> list[int]:
    """Code 1."""
    table, shift = table_and_shift(scale)
    contexts = {name: [p, p] for name, p in first_contexts(shape // 4, table).items()}
    rates = whole("context_rates")[2 * (shape % 4) :]

    def bit(name: str, number: int) -> int:
        pair = contexts[name, number]
        value = stream.bit(clip((pair[0] + pair[1]) >> 9, 16, 65520))
        for i in (0, 1):
            pair[i] += ((value << 24) - pair[i]) >> rates[i]
        return value

    def magnitude() -> int:
        size = 1
        while size <= 10 and bit("greater", size):
            size += 1
        if size < 11:
            return size
        k, number = 0, 1
        while bit("prefix", k):
            k = between(k + 1, 0, 34)
        for i in range(k):
            number = 2 * number + (stream.bit(1 << 15) if i else bit("suffix", k))
        return number + 10

    bins, sign = list[int](), 0
    for _ in range(n):
        if bit("zero", sign):
            sign = 1 if bit("sign", sign) else -1
            bins.append(sign * magnitude())
        else:
            sign = 0
            bins.append(0)
    return with_low_bits(stream, bins, shift, centre)


class Code:
    """What a code has from tensor to tensor."""

    def __init__(self, stream: Stream):
        self.stream = stream

    def read(self, shape: Shape) -> list[int]:
        raise NotImplementedError


class ModelledCode(Code):
    def __init__(self, stream: Stream):
        super().__init__(stream)
        self.scales, self.shapes, self.centres = SmallNumber(1024), SmallNumber(256), SmallNumber(64)
        self.last, self.of_rank = whole("first_before")[1:], dict[int, list[int]]()

    def read(self, shape: Shape) -> list[int]:
        scale, form = self.of_rank.get(len(shape), self.last)
        scale = between(scale + self.scales.read(self.stream), 0, 140)
        if scale:
            form = between(form + self.shapes.read(self.stream), 0, 11)
        centre = read_long(self.stream, between(self.centres.read(self.stream), -32, 32))
        self.last = self.of_rank[len(shape)] = [scale, form]
        return self.values(shape, scale, form, centre) if scale else [centre] * math.prod(shape)

    def values(self, shape: Shape, scale: int, form: int, centre: int) -> list[int]:
        return read_values(self.stream, math.prod(shape), scale, form, centre)


class Contexts(ModelledCode):
    def values(self, shape: Shape, scale: int, form: int, centre: int) -> list[int]:
        return read_in_contexts(self.stream, math.prod(shape), scale, form, centre)


class AxisTables(ModelledCode):
    def __init__(self, stream: Stream):
        super().__init__(stream)
        self.spread = Moving(512, 17, 11, 26)

    def values(self, shape: Shape, scale: int, form: int, centre: int) -> list[int]:
        n, places = math.prod(shape), np.full(shape, scale - 1)
        for axis in range(-2, 0) if len(shape) > 1 else ():
            size = shape[axis]
            if size >= 3 and self.stream.number(1):
                offsets = read_static(self.stream, size, masses_of(1, self.spread.read(self.stream)))
                grain = next(grain for least, grain in ((400, 1), (100, 2), (0, 4)) if n // size >= least)
                moves = np.clip(offsets, -140, 140) * grain
                places = places + (moves if axis == -1 else moves[:, None])
        flat, values = np.clip(places, 0, 139).ravel(), np.zeros(n, np.int64)
        for i in sorted(set(flat.tolist())):
            table, shift = table_and_shift(i + 1)
            here = np.flatnonzero(flat == i)
            values[here] = read_static(self.stream, len(here), masses_of(form // 4, table), shift, centre)
        return [int(value) for value in values]


class MixtureTables(ModelledCode):
    def __init__(self, stream: Stream):
        super().__init__(stream)
        self.share, self.distance = Moving(768, 12, 0, 15), Moving(768, 8, 0)

    def values(self, shape: Shape, scale: int, form: int, centre: int) -> list[int]:
        table, shift = table_and_shift(scale)
        masses, share = masses_of(form // 4, table), self.share.read(self.stream)
        if share:
            narrower = between(table - self.distance.read(self.stream), 0, 31)
            narrow, margin = masses_of(form // 4, narrower), table_limit(table) - table_limit(narrower)
            spread = [0] * margin + narrow[:-1] + [0] * margin + narrow[-1:]
            masses = [(16 - share) * a + share * b for a, b in zip(masses, spread, strict=True)]
        return read_static(self.stream, math.prod(shape), masses, shift, centre)


class ShapedTables(ModelledCode):
    def __init__(self, stream: Stream):
        super().__init__(stream)
        self.corrections = [Moving(512, 0, -32, 32) for _ in range(6)]

    def values(self, shape: Shape, scale: int, form: int, centre: int) -> list[int]:
        table, shift = table_and_shift(scale)
        limit, root = table_limit(table), whole("sixty_fourth")[0]
        heights = [0, *(16 * correction.read(self.stream) for correction in self.corrections)]
        knots = [0, *(knot * SPREADS[table] for knot in whole("knots"))]
        masses = []
        for symbol, mass in enumerate(LAPLACE[table]):
            x = min(min(abs(symbol - limit), limit) << 11, knots[6])
            k = next(k for k in range(1, 7) if knots[k] >= x)
            e = heights[k - 1] + (heights[k] - heights[k - 1]) * (x - knots[k - 1]) // max(1, knots[k] - knots[k - 1])
            power = powers(root, 64)[e % 64] >> (40 - e // 64)
            masses.append(mass * power >> 22)
        return read_static(self.stream, math.prod(shape), masses, shift, centre)


# ---- codes 5 to 7 ----


class HuffmanWords(Code):
    common: tuple[list[int], list[int]] | None = None

    def read(self, shape: Shape) -> list[int]:
        if self.stream.number(1):
            table = self.common = self.common or self.table()
        else:
            table = self.table()
        values, lengths = table
        order = sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol))
        starts = [0]
        for symbol in order:
            starts.append(starts[-1] + 2 ** (16 - lengths[symbol]))
        symbols = [order[self.stream.symbol(starts, 16)] for _ in range(math.prod(shape))]
        return [values[j] if j < len(values) else self.stream.number(32) - (1 << 31) for j in symbols]

    def table(self) -> tuple[list[int], list[int]]:
        escape, count = self.stream.number(1), between(self.stream.exp_golomb(4) + 1, 1, 4096)
        gaps, first = SmallNumber(64), self.stream.exp_golomb(6)
        values = [(first + 1) // 2 if first % 2 else -first // 2]
        for _ in range(count - 1):
            values.append(values[-1] + 1 + max(0, gaps.read(self.stream)))
        between(values[0], -(1 << 31), (1 << 31) - 1), between(values[-1], -(1 << 31), (1 << 31) - 1)
        length = Moving(256, 6)
        lengths = [length.read(self.stream) for _ in range(count + escape)]
        if min(lengths) < 0 or max(lengths) > 16 or sum(2 ** (16 - n) for n in lengths) != 1 << 16:
            raise Damaged
        return values, lengths


class Raw(Code):
    def __init__(self, stream: Stream):
        super().__init__(stream)
        self.width, self.least = Moving(256, 8, 0, 32), Moving(256, 0, -(1 << 31), (1 << 31) - 1)

    def read(self, shape: Shape) -> list[int]:
        width, least = self.width.read(self.stream), self.least.read(self.stream)
        numbers, left = [0] * math.prod(shape), width
        while left:
            group = min(left, 16)
            left -= group
            numbers = [bits << group | self.stream.number(group) for bits in numbers]
        return [least + number for number in numbers]


class Sparse(Code):
    def __init__(self, stream: Stream):
        super().__init__(stream)
        self.words = HuffmanWords(stream)

    def read(self, shape: Shape) -> list[int]:
        n = math.prod(shape)
        m = between(self.stream.exp_golomb(max(0, n.bit_length() - 2)), 0, n)
        kept = [m == n] * n
        if 0 < m < n:
            starts = [0, clip(((n - m) << 16) // n, 1, 65535), 1 << 16]
            kept = [self.stream.symbol(starts, 16) == 1 for _ in range(n)]
        values = iter(self.words.read((sum(kept),)) if any(kept) else ())
        return [next(values) if has_value else 0 for has_value in kept]


# ---- codes 8 and 9 ----


def powers(root: int, n: int) -> list[int]:
    found = [ONE]
    for _ in range(n - 1):
        found.append(found[-1] * root >> 62)
    return found


def _curve(number: int) -> tuple[list[int], list[int]]:
    [root] = whole(("logistic_root", "laplace_root", "gauss_root")[number])
    density = powers(root, 1025)
    if number == 0:
        density = [(z << 124) // (ONE + z) ** 2 for z in density]
    if number == 2:
        density, factor = [ONE], root
        for _ in range(1024):
            density.append(density[-1] * factor >> 62)
            factor = factor * (root * root >> 62) >> 62
    tails = [0] * 1025
    for i in range(1023, -1, -1):
        tails[i] = tails[i + 1] + density[i] + density[i + 1]
    return [(tail << 46) // tails[0] for tail in tails], [(2 * i * d << 46) // tails[0] for i, d in enumerate(density)]


CURVES = [_curve(number) for number in range(3)]
_UPPER = [min((1 << 78) // (ONE + z), 65532) for z in powers(whole("logit_root")[0], 1536)]
SQUASH = {z: _UPPER[z] if z >= 0 else 65536 - _UPPER[-z] for z in range(-1535, 1536)}
STRETCH = [next(z for z in SQUASH if SQUASH[z] >= clip(p, 1, 4095) << 4) for p in range(4097)]
OCTAVE = [power >> 46 for power in powers(whole("octave_root")[0], 256)]


class Prediction(Code):
    dependent = False

    def __init__(self, stream: Stream):
        super().__init__(stream)
        self.equal, self.coefficients, self.lengths = SmallNumber(32), SmallNumber(1024), SmallNumber(64)
        self.numbers = [SmallNumber(first) for first in (64, 1024, 128, 128, 64, 32)]
        self.last, self.of_rank = whole("model_before"), dict[int, list[int]]()

    def read(self, shape: Shape) -> list[int]:
        if self.equal.read(self.stream):
            return [self._constant()] * math.prod(shape)
        limits = zip(whole("model_least"), whole("model_greatest"), strict=True)
        before = self.of_rank.get(len(shape), self.last)
        fields = []
        for old, number, (least, greatest) in zip(before, self.numbers, limits, strict=True):
            fields.append(between(old + number.read(self.stream), least, greatest))
        sizes = view_shape(shape, fields[0])
        coefficients = [between(self.coefficients.read(self.stream), -127, 127) if n > 1 else 0 for n in sizes]
        constant = self._constant()
        self.last = self.of_rank[len(shape)] = fields
        predicted = Predicted(self.stream, sizes, fields, coefficients, constant, self.dependent)
        return from_view(predicted.read(), shape, fields[0])

    def _constant(self) -> int:
        return read_long(self.stream, between(self.lengths.read(self.stream), -35, 35))


class DependentPrediction(Prediction):
    dependent = True


class Predicted:
    """The integers of one tensor."""

    def __init__(
        self,
        stream: Stream,
        sizes: Shape,
        fields: list[int],
        coefficients: list[int],
        constant: int,
        dependent: bool,
    ):
        _, scale, curve, variance, locality, paired = fields
        self.stream, self.sizes, self.coefficients, self.constant = stream, sizes, coefficients, constant
        self.chances, self.moments = CURVES[curve]
        self.information, self.locality = whole("information")[curve], whole("localities")[locality]
        self.effects: dict[tuple[str | int, ...], list[int]] = {(): [scale << 22, 3 << 19]}
        for axis, size in enumerate(sizes):
            first = whole("variances")[variance] << 19 if size > 1 else 0
            self.effects |= {(axis, place): [0, first] for place in range(size)}
        self.effects |= {("pair", *pair): [0, paired << 19] for pair in np.ndindex(sizes[2:])}
        self.trellis = Trellis() if dependent else None
        self.bits: dict[tuple[int, str, int], list[int]] = {}
        self.quantiser = self.centre = self.log = self.middle = 0

    def read(self) -> list[int]:
        integers, scores, values = list[int](), dict[Shape, int](), dict[Shape, int]()
        for place in np.ndindex(self.sizes):
            neighbours = [tuple(p - (i == axis) for i, p in enumerate(place)) for axis in range(4)]
            predicted = sum(c * values.get(n, 0) for c, n in zip(self.coefficients, neighbours, strict=True))
            self.centre = clip(8 * self.constant + predicted, -(1 << 37), 1 << 37)
            local = self.locality * sum(scores.get(n, 0) for n in neighbours) >> 5
            effects = [self.effects[()], *(self.effects[key] for key in enumerate(place))]
            effects.append(self.effects[("pair", *place[2:])])
            self.log = clip(sum(effect[0] for effect in effects) + 5909 * local, -5 << 24, 33 << 24)
            self.quantiser = 0 if self.trellis is None else 1 + self.trellis.state % 2
            integer, score = self._integer()
            integers.append(between(integer, -(1 << 31), (1 << 31) - 1))
            self._learn(effects, score)
            scores[place] = clip(score + local, -6144, 6144)
            values[place] = integer if self.trellis is None else self.trellis.value(integer)
        return integers

    def _learn(self, effects: list[list[int]], score: int) -> None:
        gain = (1 << 40) // ((1 << 24) + (self.information * sum(effect[1] for effect in effects) >> 4))
        for effect in effects:
            v = effect[1]
            step = ((v * gain >> 16) * score + (1 << 11)) >> 12
            effect[0] += (94548 * step + (1 << 15)) >> 16
            effect[1] -= ((v * v >> 24) * gain >> 16) * self.information >> 4
        effects[0][1] += 168

    def _edge(self, k: int) -> int:
        if self.quantiser < 2:
            return 2 * k - 1 if self.quantiser == 0 else 4 * k - 2
        return 4 * k - 4 if k > 1 else 2 * k - 1 if k >= 0 else 4 * k

    def _at(self, entries: list[int], up: int, magnitude: int) -> int:
        """C or M at a magnitude."""
        distance = 32 * self._edge(self.middle + magnitude) - self.centre
        if not up:
            distance = self.centre - 32 * self._edge(self.middle - magnitude + 1)
        x = distance * OCTAVE[(self.log >> 16) % 256] >> (7 + (self.log >> 24))
        i = x >> 10
        return 0 if i >= 1024 else entries[i] + ((entries[i + 1] - entries[i]) * (x % 1024) >> 10)

    def _bit(self, kind: str, number: int, a: int, b: int) -> int:
        state = self.bits.setdefault((self.quantiser, kind, number), [1 << 16, 0])
        logit = STRETCH[min((a << 12) // b, 4096) if b else 2048]
        frequency = SQUASH[clip((state[0] * logit + state[1]) >> 16, -1535, 1535)]
        bit = self.stream.bit(frequency)
        error = (bit << 16) - frequency
        state[0] += (error * logit + (1 << 15)) >> 16
        state[1] += error >> 5
        return bit

    def _integer(self) -> tuple[int, int]:
        """The integer and its score."""
        size = (abs(self.centre) + 128) >> 7 if abs(self.centre) >= 32 else 0
        odd = size if self.centre > 0 else -size
        self.middle = ((self.centre + 32) >> 6, (self.centre + 64) >> 7, odd)[self.quantiser]
        above, below = (self._at(self.chances, up, 1) for up in (1, 0))
        if not self._bit("zero", 0, above + below, 1 << 47):
            moment = sum(self._at(self.moments, up, 1) for up in (1, 0))
            return self.middle, -((moment << 12) // max((1 << 47) - above - below, 1))
        up = self._bit("sign", 0, above, above + below)
        low, high, k = above if up else below, self._at(self.chances, up, 2), 0
        while self._bit("prefix", k, high, low):
            k = between(k + 1, 0, 34)
            low, high = high, self._at(self.chances, up, 2 ** (k + 1))
        first = 2**k
        for i in range(k - 1, -1, -1):
            half = first + 2**i
            middle = self._at(self.chances, up, half)
            kind, number = ("small", half) if half < 32 else ("large", k) if i == k - 1 else ("other", 0)
            if self._bit(kind, number, middle - high, low - high):
                low, first = middle, half
            else:
                high = middle
        score = 12288
        if low != high:
            moment = self._at(self.moments, up, first) - self._at(self.moments, up, first + 1)
            score = min((moment << 12) // (low - high), score)
        return self.middle + first if up else self.middle - first, score


CODES: tuple[type[Code], ...] = (
    ModelledCode,
    Contexts,
    AxisTables,
    MixtureTables,
    ShapedTables,
    HuffmanWords,
    Raw,
    Sparse,
    Prediction,
    DependentPrediction,
)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """`levels` and `code`: their kinds. `integers`: as the code sees them."""

    levels: int
    code: int
    integers: Int[ndarray, "..."]
    weights: Float[ndarray, "..."]


def read_tensors(data: bytes, shapes: list[Shape], version: int = 2) -> list[Tensor]:
    """The page's "Weight stream"."""
    stream, tensors = Stream(data), []
    levels, codes = Levels(stream), [code(stream) for code in CODES]
    place = Moving(32, 0, 0, len(CODES) - 1)
    for shape in shapes:
        viewed, meaning = levels.read(shape) if version > 1 else levels.read_uniform(shape)
        number = whole("code_order")[place.read(stream) if version > 1 else 0]
        values = codes[number].read(viewed) if math.prod(shape) else []
        integers = np.array([between(v, -(1 << 31), (1 << 31) - 1) for v in values], np.int64).reshape(viewed)
        tensors.append(Tensor(levels.kind.value, number, integers, meaning(integers).astype(np.float32)))
    if stream.position < stream.length:
        raise Damaged
    return tensors


# ---- payloads ----


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def read_config(data: bytes, number: int) -> tuple[list[int], list[int], int]:
    """Single fields, the list, and where the weight stream begins."""
    fields, at = [], 0
    for _ in range((2, 5, 7)[number - 1]):
        value, at = read_varint(data, at)
        fields.append(value)
    length, at = read_varint(data, at)
    entries = []
    for _ in range(length):
        value, at = read_varint(data, at)
        entries.append(value)
    return fields, entries, at


def _siren_shapes(fields: list[int], entries: list[int], grid: Shape, channels: int) -> list[Shape]:
    width, depth = fields
    sizes = [len(grid), *[width] * depth, channels]
    return [shape for a, b in pairwise(sizes) for shape in ((b, a), (b,))]


def _stem(strides: list[int], shuffle: int, grid: Shape) -> tuple[int, int]:
    product = math.prod(strides) * shuffle
    return math.ceil(grid[1] / product), math.ceil(grid[2] / product)


def _conv(kernel: int, a: int, b: int) -> list[Shape]:
    return [(kernel, kernel, a, b), (b,)]


def _nerv_shapes(fields: list[int], strides: list[int], grid: Shape, channels: int) -> list[Shape]:
    width, hidden, frequencies, floor, shuffle = fields
    rows, columns = _stem(strides, shuffle, grid)
    stem = rows * columns * width
    widths = [width, *[max(width // 2**i, min(floor, width)) for i in range(len(strides))]]
    shapes: list[Shape] = [(2 * frequencies, hidden), (hidden,), (hidden, stem), (stem,)]
    for (a, b), stride in zip(pairwise(widths), strides, strict=True):
        shapes += _conv(3, a, b * stride**2)
    return shapes + _conv(1, widths[-1], channels * shuffle**2)


def _hnerv_shapes(fields: list[int], strides: list[int], grid: Shape, channels: int) -> list[Shape]:
    embedding, width, reduction, kernel, floor, head, shuffle = fields
    shapes = [(grid[0], *_stem(strides, shuffle, grid), embedding), *_conv(1, embedding, width)]
    for i, stride in enumerate(strides):
        narrower = max(round(10 * width / reduction), min(floor, width))
        shapes += _conv(min(1 + 2 * i, kernel), width, narrower * stride**2)
        width = narrower
    return shapes + _conv(head, width, channels * shuffle**2)


SHAPES = {"SIREN": (1, _siren_shapes), "NeRV": (2, _nerv_shapes), "HNeRV": (3, _hnerv_shapes)}


def polynomial_sine(x: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    f = np.float32
    c = [f(text) for text in CONSTANTS["sine"]]
    t = np.rint(x * f(1 / math.pi))
    r = (x - t * f(3.140625)) - t * f(9.676536e-4)
    s = r * r
    return np.where(t % 2 == 0, f(1), f(-1)) * (r * (c[0] + s * (c[1] + s * (c[2] + s * (c[3] + s * c[4])))))


def siren_values(
    weights: list[Float[ndarray, "..."]], scales: list[int], grid: Shape, sine: Any
) -> Float[ndarray, "*grid c"]:
    positions = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, len(grid))
    x = ((2 * positions + 1) / np.array(grid) - 1).astype(np.float32) * np.array(scales, np.float32) / 8
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = sine(np.float32(30) * (x @ weight.T + bias))
    values: Float[ndarray, "*grid c"] = (x @ weights[-2].T + weights[-1] + np.float32(0.5)).reshape(*grid, -1)
    return values


def decode_plain_image(data: bytes, sine: Any) -> tuple[list[Tensor], Shaped[ndarray, "h w c"]]:
    """A plain file with a SIREN, 8-bit samples and the default range: the tensors, and the picture."""
    assert data[:3] == b"\x8d\x49\x5a" and data[3] == 0x28 and data[4] & 0xFC == 0
    assert zlib.crc32(data[:-4]) == struct.unpack("<I", data[-4:])[0]
    height, at = read_varint(data, 5)
    width, at = read_varint(data, at)
    grid, channels = (height + 1, width + 1), (1, 3, 4)[data[4] & 3]
    assert data[at] == 1
    payload = data[at + 1 : -4]
    fields, scales, begin = read_config(payload, 1)
    tensors = read_tensors(payload[begin:], _siren_shapes(fields, scales, grid, channels))
    values = siren_values([tensor.weights for tensor in tensors], scales, grid, sine)
    samples = np.rint(np.clip(values.astype(np.float64), 0, 1) * 255).astype(np.uint8)
    return tensors, samples
