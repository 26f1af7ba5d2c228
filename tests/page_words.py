"""Of docs/format.md: codes 5 to 7. From the page alone: see `tests.page_decoder`."""

from __future__ import annotations

import math

from tests.page_stream import Damaged, Moving, Shape, SmallNumber, Stream, between, clip
from tests.page_tables import Code


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
