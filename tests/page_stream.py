"""Of docs/format.md: constants, the range coder, probability tables. From the page alone: see `tests.page_decoder`."""

from __future__ import annotations

import functools
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

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

    def symbol(self, starts: Sequence[int], bits: int) -> int:
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


def powers(root: int, n: int) -> list[int]:
    found = [ONE]
    for _ in range(n - 1):
        found.append(found[-1] * root >> 62)
    return found
