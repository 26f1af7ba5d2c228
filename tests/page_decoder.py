"""A decoder written from docs/format.md alone, plain and slow. Its constants are read from the page; numbers that stand
here without a name stand so there. It imports nothing of the package that it is a check on.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from itertools import pairwise
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


class Stream:
    """The page's "Range decoder"."""

    def __init__(self, data: bytes):
        self.data, self.length = data + bytes(8), len(data)
        self.code, self.range, self.position = int.from_bytes(self.data[:4], "big"), (1 << 32) - 1, 4

    def symbol(self, starts: list[int], bits: int) -> int:
        point = self._point(bits)
        symbol = max(i for i, start in enumerate(starts[:-1]) if start <= point)
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


def masses_of(family: int, table: int) -> list[int]:
    raw, limit = raw_masses(family, table), table_limit(table)
    both = [*raw[limit:0:-1], *raw]
    scaled = [(mass << 24) // sum(both) for mass in both]
    scaled[limit] += (1 << 24) - sum(scaled)
    return scaled


def starts_of(masses: list[int]) -> list[int]:
    n, before = len(masses), [sum(masses[:i]) for i in range(len(masses) + 1)]
    return [i + before[i] * ((1 << 16) - n) // before[n] for i in range(n + 1)]


LAPLACE = [masses_of(0, table) for table in range(32)]
SPREADS = [sum(abs(j - table_limit(t)) * m for j, m in enumerate(LAPLACE[t][:-1])) >> 16 for t in range(32)]


class SmallNumber:
    """The page's "Small signed numbers"."""

    def __init__(self, total: int):
        self.total, self.count = total, 1

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


def read_values(stream: Stream, n: int, scale: int, shape: int, centre: int) -> list[int]:
    if scale == 0:
        return [centre] * n
    i = scale - 1
    table, shift = (i, 0) if i < 32 else (28 + i % 4, (i - 32) // 4 + 1)
    masses, limit = masses_of(shape // 4, table), table_limit(table)
    weight, memory = whole("prior_weights")[shape % 4], whole("memories")[shape % 4]
    counts, values, block = [0] * len(masses), list[int](), 32
    while len(values) < n:
        size = min(n - len(values), block)
        starts = starts_of([max(1, weight) * m + (c << 24) * (weight > 0) for m, c in zip(masses, counts, strict=True)])
        symbols = [stream.symbol(starts, 16) for _ in range(size)]
        order = max(0, limit.bit_length() - 2)
        bins = [j - limit if j <= 2 * limit else stream.magnitude_beyond(limit, order) for j in symbols]
        low, left = [0] * size, shift
        while left:
            group = min(left, 16)
            left -= group
            low = [bits << group | stream.number(group) for bits in low]
        values += [centre + (b << shift) + bits - (1 << shift >> 1) for b, bits in zip(bins, low, strict=True)]
        for j in symbols:
            counts[j] += 1
        while sum(counts) > memory:
            counts = [c >> 1 for c in counts]
        block = min(len(values), 1024)
    return values


def read_tensors(data: bytes, shapes: list[Shape]) -> list[tuple[int, Int[ndarray, "..."]]]:
    """Step index and integers of every tensor, of a file of version 2 whose levels and codes are all of kind 0."""
    stream, last, of_rank = Stream(data), whole("first_before"), dict[int, list[int]]()
    steps, scales, forms, centres, level_kinds, code_kinds = map(SmallNumber, whole("first_numbers"))
    tensors = []
    for shape in shapes:
        step, scale, form = of_rank.get(len(shape), last)
        if level_kinds.read(stream):
            raise Damaged
        step += steps.read(stream)
        if code_kinds.read(stream):
            raise Damaged
        values: list[int] = []
        if math.prod(shape):
            scale += scales.read(stream)
            form += forms.read(stream) if scale else 0
            length = centres.read(stream)
            size = ((1 << abs(length) - 1) + stream.number(abs(length) - 1)) if length else 0
            values = read_values(stream, math.prod(shape), scale, form, size if length > 0 else -size)
        last = of_rank[len(shape)] = [step, scale, form]
        tensors.append((step, np.array(values, np.int64).reshape(shape)))
    if stream.position < stream.length:
        raise Damaged
    return tensors


def weight_of(step: int, integers: Int[ndarray, "..."]) -> Float[ndarray, "..."]:
    mantissa = float.fromhex(CONSTANTS["step_mantissas"][step % 8])
    return (integers.astype(np.float64) * (mantissa * 2.0 ** (step // 8 - 32))).astype(np.float32)


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


def decode_plain_image(data: bytes, sine: Any) -> tuple[list[Int[ndarray, "..."]], Shaped[ndarray, "h w c"]]:
    """A plain file with a SIREN, 8-bit samples and the default range: the integers, and the picture."""
    assert data[:3] == b"\x8d\x49\x5a" and data[3] == 0x28 and data[4] & 0xFC == 0
    assert zlib.crc32(data[:-4]) == struct.unpack("<I", data[-4:])[0]
    height, at = read_varint(data, 5)
    width, at = read_varint(data, at)
    grid, channels = (height + 1, width + 1), (1, 3, 4)[data[4] & 3]
    assert data[at] == 1
    payload = data[at + 1 : -4]
    fields, scales, begin = read_config(payload, 1)
    tensors = read_tensors(payload[begin:], _siren_shapes(fields, scales, grid, channels))
    values = siren_values([weight_of(*tensor) for tensor in tensors], scales, grid, sine)
    samples = np.rint(np.clip(values.astype(np.float64), 0, 1) * 255).astype(np.uint8)
    return [integers for _, integers in tensors], samples
