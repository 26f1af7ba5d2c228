"""Of docs/format.md: codes 0 to 4. From the page alone: see `tests.page_decoder`."""

from __future__ import annotations

import math

import numpy as np

from tests.page_stream import (
    LAPLACE,
    SPREADS,
    Moving,
    Shape,
    SmallNumber,
    Stream,
    between,
    clip,
    masses_of,
    powers,
    starts_of,
    table_limit,
    whole,
)


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
