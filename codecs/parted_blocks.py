"""Blocks of latents by relative entropy coding, each with as many bits as it is worth.

RECOMBINER (He et al., ICLR 2024) gives each block an index of 16 bits and has the fit make all blocks take just these.
What latents of real signals take is spread far more widely than that: here a block tells first how many bits its index
has, from none (its latents are 0) to 16, and how widely its candidates are spread, and then the index; or that it is
split, and its halves follow. What is told is coded with bits that are learned on the way (`learned_numbers`).

All blocks have the same candidates (`relative_entropy.candidates` of block 0), and an index of n bits is one of the
first 2^n. Whole numbers decide everything.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.codecs import relative_entropy
from inrzip.codecs.learned_numbers import NumberCounts, NumberDecoder, NumberEncoder
from inrzip.codecs.relative_entropy import SCALES_PER_OCTAVE
from inrzip.errors import CorruptFile

MAX_MEMBERS = 256
"""Latents of a block, at most: each candidate has so many words."""
MAX_BITS = 16
"""Of an index."""
SPREADS = tuple(SCALES_PER_OCTAVE * (2 * i - 1) // 2 for i in range(4))
"""What is added to the scales of a block's latents: half an octave less, then an octave more each time."""
NONE, SPLIT = 0, 1
"""Numbers of parts whose latents are 0, and that are split; one whose index has n bits has the number n + 1."""


PARTS_PER_BYTE, FREE_PARTS = 64, 1 << 17
"""A stream has at most so many parts for each of its bytes, and so many more: nobody makes much work of few bytes."""
BITS_OF_BYTE = 8


class Part(NamedTuple):
    """What is told of a block, or of a part of one: bits of the index, number of the spread, index."""

    bits: int
    spread: int = 0
    candidate: int = 0

    @property
    def number(self) -> int:
        """What it begins with."""
        return self.bits + 1 if self.bits > 0 else NONE if self.bits == 0 else SPLIT


NOTHING, HALVES = Part(0), Part(-1)
"""Latents of 0; and that a block is split: its halves follow, the larger one first."""

Block = tuple[Part, ...]
"""A block: one part, or halves' signs and their parts."""


def kind_of_bits(size: int, split: bool) -> Hashable:
    """How the number of a part of `size` latents is learned; `split`: whether it is a half."""
    return "bits", size.bit_length(), split


def kind_of_spread(size: int) -> Hashable:
    """How the number of the spread is learned."""
    return "spread", size.bit_length()


def halves(size: int) -> tuple[int, int]:
    """The sizes of both halves of a part."""
    return size - size // 2, size // 2


def sizes(block: Block, size: int) -> list[tuple[int, bool]]:
    """Latents of each part of a block, and whether it is a half."""
    found, left = [], [(size, False)]
    for part in block:
        found.append(left.pop())
        if part == HALVES:
            left += [(half, True) for half in reversed(halves(found[-1][0]))]
    return found


def write(encoder: NumberEncoder, block: Block, size: int) -> None:
    """Codes a block of `size` latents."""
    for part, (n, split) in zip(block, sizes(block, size), strict=True):
        encoder.number(kind_of_bits(n, split), part.number)
        if part.bits > 0:
            encoder.number(kind_of_spread(n), part.spread)
            encoder.plain(part.candidate, part.bits)


def learn(counts: NumberCounts, block: Block, size: int) -> None:
    """Counts what `write` tells besides indices."""
    for part, (n, split) in zip(block, sizes(block, size), strict=True):
        counts.learn(kind_of_bits(n, split), part.number)
        if part.bits > 0:
            counts.learn(kind_of_spread(n), part.spread)


def most_parts(n_bytes: int) -> int:
    """In a stream of so many bytes."""
    return PARTS_PER_BYTE * n_bytes + FREE_PARTS


def useful(blocks: Sequence[Block]) -> int:
    """How many blocks there are up to the last one that is not 0."""
    return next((i for i in range(len(blocks), 0, -1) if blocks[i - 1] != (NOTHING,)), 0)


def tellable(blocks: Sequence[Block]) -> int:
    """How many of the first blocks a stream may hold: all, but where hardly any has an index."""
    found = parts = bits = 0
    for number, block in enumerate(blocks, 1):
        parts, bits = parts + len(block), bits + sum(max(part.bits, 0) for part in block)
        if parts <= most_parts(bits // BITS_OF_BYTE):
            found = number
    return found


def read(decoder: NumberDecoder, size: int) -> Block:
    """The inverse of `write`. Raises CorruptFile."""
    found, left = [], [(size, False)]
    while left:
        n, split = left.pop()
        number = decoder.number(kind_of_bits(n, split))
        if number == SPLIT:
            if n == 1:
                raise CorruptFile("a latent is split; get the file again")
            found.append(HALVES)
            left += [(half, True) for half in reversed(halves(n))]
            continue
        if number > MAX_BITS + 1:
            raise CorruptFile(f"an index of {number - 1} bits; get the file again")
        if number == NONE:
            found.append(NOTHING)
            continue
        spread = decoder.number(kind_of_spread(n))
        if spread >= len(SPREADS):
            raise CorruptFile("latents are spread more widely than any; get the file again")
        found.append(Part(number - 1, spread, decoder.plain(number - 1)))
    return tuple(found)


class BlockReader:
    """The blocks of a stream. With `partial` it may end too early: then those are found that are wholly there."""

    def __init__(self, data: bytes, partial: bool = False):
        self.numbers = NumberDecoder(data)
        self._left, self._partial = most_parts(len(data)), partial

    def take(self, size: int) -> Block | None:
        """The next block; None where a stream that may be partial ends before it does. Raises CorruptFile."""
        try:
            block = read(self.numbers, size)
        except CorruptFile:
            if self._partial:
                return None
            raise
        self._left -= len(block)
        if self._partial and (self._left < 0 or self.numbers.overrun):
            return None
        if self._left < 0:
            raise CorruptFile("there is more in it than its bytes can tell; get the file again")
        return block

    def finish(self) -> None:
        """Call after the last block. Raises CorruptFile if bytes are left, but of a stream that may be partial."""
        if not self._partial:
            self.numbers.finish()


FoundT = TypeVar("FoundT")


def whole_or_partial(read_as: Callable[[bool], FoundT], partial: bool) -> FoundT:
    """What `read_as` finds in a stream that is whole, or with `partial`, if it is not, in a part of one: the end of a
    stream that was not cut short is known by its length alone.
    """
    if partial:
        try:
            return read_as(False)
        except CorruptFile:
            return read_as(True)
    return read_as(False)


def values(block: Block, scales: Int[ndarray, " size"]) -> Float[ndarray, " size"]:
    """The latents of a block, float32."""
    found, first = np.zeros(len(scales), np.float32), 0
    for part, (n, _) in zip(block, sizes(block, len(scales)), strict=True):
        if part == HALVES:
            continue
        if part.bits > 0:
            own = scales[first : first + n].astype(np.int64) + SPREADS[part.spread]
            found[first : first + n] = relative_entropy.latents(candidates(part.candidate, 1, n)[0], own)
        first += n
    return found


def candidates(first: int, count: int, size: int) -> Int[ndarray, "count size"]:
    """Bell numbers of the candidates from number `first` on."""
    return relative_entropy.candidates(0, first, count, size, MAX_MEMBERS)


def costs(counts: NumberCounts, size: int, split: bool) -> tuple[float, float, Float[ndarray, "spreads bits"]]:
    """What is told of a part of `size` latents takes now, in bits: if they are 0, if it is split (besides its halves),
    and for each spread and each number of bits from 1 on, with the index.
    """
    kind = kind_of_bits(size, split)
    lengths = np.array([counts.cost(kind, n + 1) + n for n in range(1, MAX_BITS + 1)])
    spreads = np.array([counts.cost(kind_of_spread(size), i) for i in range(len(SPREADS))])
    return counts.cost(kind, NONE), counts.cost(kind, SPLIT), spreads[:, None] + lengths


def scale_factors() -> Sequence[float]:
    """By how much each spread makes candidates wider."""
    return [2 ** (spread / SCALES_PER_OCTAVE) for spread in SPREADS]
