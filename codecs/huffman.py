"""Huffman codes of integers, as INR papers have them (HNeRV, NeRV, NeCGS), but with the table in the stream: a
baseline.

A canonical Huffman code of at most 16 bits is a set of intervals of [0, 2^16) whose sizes are powers of two: a word of
`l` bits is one of size 2^(16 - l). So words are written with the range coder, which spends `l` bits on each. A table
serves one tensor, or all of a network's that do better with a common one.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.bit_counter import BitCounter, cost_of
from inrzip.codecs.levels import DAMAGED
from inrzip.codecs.model_choice import BIT
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.side_numbers import AdaptiveNumber, decode_exp_golomb, encode_exp_golomb
from inrzip.errors import CorruptFile

MAX_LENGTH = 16
MAX_SYMBOLS = 4096
"""Values with a word of their own; where there are more, the rarest share an escape."""
_ESCAPED_BITS = 32
_COUNT_ORDER = 4
_FIRST_ORDER = 6
_MIDDLE_LENGTH = 6
_INT32 = 1 << 31


@dataclasses.dataclass(frozen=True)
class HuffmanTable:
    """The code: increasing `values`, and the `lengths` of their words in bits; with `escape`, one more length, of the
    word before each value that has none of its own, as 32 raw bits.
    """

    values: tuple[int, ...]
    lengths: tuple[int, ...]
    escape: bool

    @classmethod
    def of(cls, tensors: Iterable[Int[ndarray, "..."]]) -> Self:
        """The shortest code for all values of `tensors`, of which there is at least one."""
        counts: Counter[int] = Counter()
        for tensor in tensors:
            values, seen = np.unique(tensor, return_counts=True)
            counts.update(dict(zip(values.tolist(), seen.tolist(), strict=True)))
        frequent = sorted(counts, key=lambda value: (-counts[value], value))
        own, rest = (
            (frequent, []) if len(counts) <= MAX_SYMBOLS else (frequent[: MAX_SYMBOLS - 1], frequent[MAX_SYMBOLS - 1 :])
        )
        own.sort()
        weights = [counts[value] for value in own] + ([sum(counts[value] for value in rest)] if rest else [])
        return cls(tuple(own), tuple(word_lengths(weights)), bool(rest))

    def __post_init__(self) -> None:
        sizes = [1 << (MAX_LENGTH - length) for length in self.lengths]
        if sum(sizes) != 1 << MAX_LENGTH or len(self.lengths) != len(self.values) + self.escape:
            raise ValueError(f"words of {self.lengths} bits for {len(self.values)} values are no complete code")

    def order(self) -> list[int]:
        """Symbols (places in `lengths`) in the order of their words: short ones first, then by value."""
        return sorted(range(len(self.lengths)), key=lambda symbol: (self.lengths[symbol], symbol))

    def starts(self) -> list[int]:
        """Where each interval starts, in that order; and the end."""
        sizes = [1 << (MAX_LENGTH - self.lengths[symbol]) for symbol in self.order()]
        return [0, *np.cumsum(sizes).tolist()]

    def symbols(self, values: Int[ndarray, " n"]) -> Int[ndarray, " n"]:
        """The symbol of each value; the escape's is the last, and -1 stands for a value that cannot be coded."""
        own = np.array(self.values, np.int64)
        places = np.minimum(np.searchsorted(own, values), len(own) - 1)
        return np.where(own[places] == values, places, len(own) if self.escape else -1)

    def cost(self, values: Int[ndarray, " n"]) -> int | None:
        """What the words of `values` take, in 1 / 4096 bit; None if there are none for some."""
        symbols = self.symbols(values)
        if len(symbols) and symbols.min() < 0:
            return None
        lengths = np.array(self.lengths, np.int64)
        escaped = int((symbols == len(self.values)).sum())
        return BIT * (int(lengths[symbols].sum()) + _ESCAPED_BITS * escaped)

    def encode(self, encoder: RangeEncoder, values: Int[ndarray, " n"]) -> None:
        """Writes the words of `values`, then the escaped values."""
        symbols = self.symbols(values)
        starts = np.array(self.starts(), np.int64)
        rank = np.argsort(self.order())[symbols]
        encoder.encode_block(starts[rank], starts[rank + 1] - starts[rank], MAX_LENGTH)
        for value in values[symbols == len(self.values)].tolist():
            encoder.encode_bits(value + _INT32, _ESCAPED_BITS)

    def decode(self, decoder: RangeDecoder, n: int) -> Int[ndarray, " n"]:
        """Reads `n` values."""
        ranks = np.array(decoder.decode_block(self.starts(), n, MAX_LENGTH), np.int64)
        symbols = np.array(self.order(), np.int64)[ranks]
        values = np.array([*self.values, 0], np.int64)[symbols]
        for place in np.flatnonzero(symbols == len(self.values)).tolist():
            values[place] = decoder.decode_bits(_ESCAPED_BITS) - _INT32
        return values

    def write(self, encoder: RangeEncoder) -> None:
        """Writes the table: the first value, distances between values, differences of lengths."""
        encoder.encode_bits(int(self.escape), 1)
        encode_exp_golomb(encoder, len(self.values) - 1, _COUNT_ORDER)
        gaps, changes = AdaptiveNumber(64), AdaptiveNumber(256)
        encode_exp_golomb(encoder, 2 * abs(self.values[0]) - (self.values[0] > 0), _FIRST_ORDER)
        for gap in np.diff(self.values).tolist():
            gaps.encode(encoder, gap - 1)
        before = _MIDDLE_LENGTH
        for length in self.lengths:
            changes.encode(encoder, length - before)
            before = length

    @classmethod
    def read(cls, decoder: RangeDecoder) -> Self:
        """Reads a table. Raises `CorruptFile`."""
        escape = bool(decoder.decode_bits(1))
        count = 1 + decode_exp_golomb(decoder, _COUNT_ORDER)
        if count > MAX_SYMBOLS:
            raise CorruptFile(DAMAGED.format("a number of words"))
        gaps, changes = AdaptiveNumber(64), AdaptiveNumber(256)
        folded = decode_exp_golomb(decoder, _FIRST_ORDER)
        values = [-folded // 2 if folded % 2 == 0 else (folded + 1) // 2]
        for _ in range(count - 1):
            values.append(values[-1] + 1 + max(0, gaps.decode(decoder)))
        lengths, length = [], _MIDDLE_LENGTH
        for _ in range(count + escape):
            length += changes.decode(decoder)
            lengths.append(length)
        inside = values[0] >= -_INT32 and values[-1] < _INT32
        if not inside or min(lengths) < 0 or max(lengths) > MAX_LENGTH:
            raise CorruptFile(DAMAGED.format("a word"))
        try:
            return cls(tuple(values), tuple(lengths), escape)
        except ValueError:
            raise CorruptFile(DAMAGED.format("a code")) from None


def word_lengths(counts: Sequence[int]) -> list[int]:
    """Lengths in bits, at most 16, of a Huffman code for symbols with these positive counts (Huffman, 1952).

    Where a word would be longer, counts are halved, which makes the rare ones more alike, until none is.
    """
    counts = list(counts)
    while True:
        lengths = [0] * len(counts)
        heap = [(count, i, [i]) for i, count in enumerate(counts)]
        heapq.heapify(heap)
        while len(heap) > 1:
            a, b = heapq.heappop(heap), heapq.heappop(heap)
            members = a[2] + b[2]
            for member in members:
                lengths[member] += 1
            heapq.heappush(heap, (a[0] + b[0], a[1], members))
        if max(lengths) <= MAX_LENGTH:
            return lengths
        counts = [(count + 1) // 2 for count in counts]


class HuffmanCoder:
    """An `IntegerCoder`: for each tensor that is not empty, whether it has a table of its own, that table, and words.

    The common table comes before the first tensor that uses it. The encoder has to know it beforehand, so it is made
    with `surveying`; without a common table, each tensor has its own.
    """

    number: ClassVar[int] = 5

    def __init__(self, common: HuffmanTable | None = None) -> None:
        self._common = common
        self._written = False

    @classmethod
    def surveying(cls, tensors: Iterable[Int[ndarray, "..."]]) -> Self:
        """The coder that takes least for all these tensors, which are then to be coded in this order."""
        flat = [_flat(tensor) for tensor in tensors if tensor.size]
        if not flat:
            return cls()
        own = [_own_cost(values) for values in flat]
        common = HuffmanTable.of(flat)
        users = [values for values, cost in zip(flat, own, strict=True) if (common.cost(values) or 0) < cost]
        if not users:
            return cls()
        common = HuffmanTable.of(users)
        saved = sum(max(0, cost - _cost_in(common, values)) for values, cost in zip(flat, own, strict=True))
        return cls(common if saved > _table_cost(common) else None)

    def cost(self, values: Int[ndarray, "..."]) -> int:
        """See `IntegerCoder`. The common table is counted with the first tensor that uses it."""
        return cost_of(self, lambda coder, encoder: coder.encode(encoder, values))

    def encode(self, encoder: RangeEncoder, values: Int[ndarray, "..."]) -> None:
        """See `IntegerCoder`."""
        if not values.size:
            return
        flat = _flat(values)
        table = self._common
        common = table is not None and _cost_in(table, flat) < _own_cost(flat)
        encoder.encode_bits(int(common), 1)
        if table is None or not common:
            table = HuffmanTable.of([flat])
            table.write(encoder)
        elif not self._written:
            table.write(encoder)
            self._written = True
        table.encode(encoder, flat)

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...]) -> Int[ndarray, "..."]:
        """See `IntegerCoder`."""
        if not math.prod(shape):
            return np.zeros(shape, np.int32)
        if not decoder.decode_bits(1):
            table = HuffmanTable.read(decoder)
        else:
            if self._common is None:
                self._common = HuffmanTable.read(decoder)
            table = self._common
        return table.decode(decoder, math.prod(shape)).astype(np.int32).reshape(shape)


def _flat(tensor: Int[ndarray, "..."]) -> Int[ndarray, " n"]:
    return tensor.astype(np.int64).ravel()


def _table_cost(table: HuffmanTable) -> int:
    counter = BitCounter()
    table.write(counter)
    return counter.cost


def _own_cost(values: Int[ndarray, " n"]) -> int:
    table = HuffmanTable.of([values])
    return _table_cost(table) + (table.cost(values) or 0)


def _cost_in(table: HuffmanTable, values: Int[ndarray, " n"]) -> int:
    """What the words of `values` take, more than any code of its own if there are none for some."""
    cost = table.cost(values)
    return 1 << 62 if cost is None else cost
