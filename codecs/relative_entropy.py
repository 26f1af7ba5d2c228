"""Relative entropy coding: a sample of a Gaussian posterior as the index of one among candidates from the prior.

Encoder and decoder can make the same candidates, which are random numbers that follow from a count; the encoder looks
for one that suits the posterior and writes its index (Havasi et al., MIRACLE, ICLR 2019). The decoder makes the chosen
candidate alone. Latents are coded in blocks, so that the search stays within 2^`bits` candidates.

Candidates are `bell` numbers of `inrzip.architectures.counted_random`, whole numbers that are nearly normal, times a
scale that is a whole number of at most 14 bits and a power of two: no float is rounded before the network is evaluated.

A block that no candidate suits is split: the last index says so, and an index for each half follows, which is of the
block's candidates again; one latent that is split has candidates that are four times as wide.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.architectures.counted_random import BELL_SCALE, bell, words
from inrzip.errors import CorruptFile

FIRST_SEED = 0x52454300
"""Block i of a level has the candidates of this seed plus i."""
SCALES_PER_OCTAVE = 8
MANTISSA_BITS = 20
"""What a mantissa times a bell number is divided by, as a power of two: a scale of 1 gives a variance of 1."""
MANTISSAS = tuple(round(2**MANTISSA_BITS / BELL_SCALE * 2 ** (i / SCALES_PER_OCTAVE)) for i in range(SCALES_PER_OCTAVE))
FARTHEST = 510 / BELL_SCALE
"""Deviations at which candidates end."""
MAX_MEMBERS = 128
"""Latents of a block, at most: each candidate has so many words of its own."""
WIDER = 2 * SCALES_PER_OCTAVE
"""What is added to the scale of a latent that is split: four times."""
MOST_WIDENED = 8
CACHED_BLOCKS = 2
NUMBERS_AT_ONCE = 1 << 15
"""What is made in one go: so few that they stay in the cache."""


def scale_values(scales: Int[ndarray, "..."]) -> Float[ndarray, "..."]:
    """Standard deviations of scales in eighths of octaves, float32."""
    mantissas = np.asarray(MANTISSAS, np.float64)[scales % SCALES_PER_OCTAVE]
    spread = mantissas * BELL_SCALE * np.exp2(scales // SCALES_PER_OCTAVE - MANTISSA_BITS)
    found: Float[ndarray, "..."] = spread.astype(np.float32)
    return found


def candidates(block: int, first: int, count: int, size: int, most: int = MAX_MEMBERS) -> Int[ndarray, "count size"]:
    """Bell numbers (-510 to 510) of the candidates from number `first` on, of a block of `size` latents, where blocks
    have `most` of them at most.
    """
    numbers = np.arange(first, first + count, dtype=np.uint32)[:, None]
    place = numbers * np.uint32(most) + np.arange(size, dtype=np.uint32)
    found: Int[ndarray, "count size"] = bell(words(FIRST_SEED + block, place))
    return found


def latents(numbers: Int[ndarray, "*n"], scales: Int[ndarray, "..."]) -> Float[ndarray, "*n"]:
    """The latents that bell numbers stand for: exact in float32."""
    products = numbers * np.asarray(MANTISSAS, np.int64)[scales % SCALES_PER_OCTAVE]  # below 2^24
    powers = (scales // SCALES_PER_OCTAVE - MANTISSA_BITS).astype(np.int32)
    found: Float[ndarray, "*n"] = np.ldexp(products.astype(np.float32), powers)
    return found


class Part(NamedTuple):
    """The latents `first` to `last` (not included) of a block, `widened` so many times."""

    first: int
    last: int
    widened: int

    def halves(self) -> list[Part]:
        """What it is split into."""
        if self.last - self.first == 1:
            return [self._replace(widened=self.widened + 1)]
        middle = (self.first + self.last + 1) // 2
        return [self._replace(last=middle), self._replace(first=middle)]


def split_index(bits: int) -> int:
    """What says, among indices of so many bits, that a block is split."""
    return (1 << bits) - 1


def take_block(source: Iterator[int], size: int, bits: int) -> tuple[int, ...]:
    """The indices of a block of `size` latents, each of so many bits; none if the source ends before they do."""
    taken, left = [], [Part(0, size, 0)]
    while left:
        part, index = left.pop(), next(source, None)
        if index is None:
            return ()
        taken.append(index)
        if index == split_index(bits):
            left += reversed(part.halves())
    return tuple(taken)


def decoded(block: int, indices: Sequence[int], bits: int | None, scales: Int[ndarray, " size"]) -> Float[ndarray, "s"]:
    """The latents of one block that was coded as these indices, each of so many bits; without `bits`, of an older file
    or a block that cannot be split. Raises CorruptFile if it is wider than any.
    """
    found, numbers = np.zeros(len(scales), np.float32), iter(indices)
    left = [Part(0, len(scales), 0)]
    while left:
        part, index = left.pop(), next(numbers)
        if bits is not None and index == split_index(bits):
            left += reversed(part.halves())
            continue
        if part.widened > MOST_WIDENED:
            raise CorruptFile("a latent is wider than any; get the file again")
        own = scales[part.first : part.last].astype(np.int64) + part.widened * WIDER
        found[part.first : part.last] = latents(candidates(block, index, 1, part.last)[0, part.first :], own)
    return found


@functools.lru_cache(maxsize=CACHED_BLOCKS)
def units(block: int, bits: int, size: int, members: int = MAX_MEMBERS) -> Float[ndarray, "2 size count"]:
    """Squares of all candidates, and themselves, in standard deviations."""
    found = np.empty((2, size, 1 << bits), np.float32)
    count = min(1 << bits, max(1, NUMBERS_AT_ONCE // size))
    for first in range(0, 1 << bits, count):
        part = candidates(block, first, min(count, (1 << bits) - first), size, members).astype(np.float32).T
        part *= np.float32(1 / BELL_SCALE)
        found[1, :, first : first + count] = part
        np.square(part, out=found[0, :, first : first + count])
    return found


def choose(
    block: int,
    bits: int,
    mean: Float[ndarray, "items size"],
    deviation: Float[ndarray, "items size"],
    rng: np.random.Generator | None = None,
    most: int = 0,
    index_bits: Sequence[int] | None = None,
    first: int = 0,
) -> Int[ndarray, " items"]:
    """For each item the index of a candidate of the block; `mean` and `deviation` of its posterior, of all latents or
    of those from `first` on, are in standard deviations of the prior. The last index is never chosen.

    Without `rng` it is the candidate at which the posterior is densest for what the prior is: the one with which the
    signal is likely to come out best, as all indices cost the same. With it, an index is drawn by ordered random coding
    (Theis and Yosri, 2022): among enough candidates the latents are distributed as the posterior is, and small indices
    are likelier than large ones.

    `index_bits`: of each item, where its index is one of the first few only.
    `most`: latents of the largest block of that number that is asked for; candidates are then made once for all.
    """
    size = first + mean.shape[1]
    by_square, by_unit = densities(mean, deviation, 0.0 if rng is None else -np.inf)
    squares, plain = units(block, bits, max(size, most))
    squares, plain = squares[first:size], plain[first:size]
    scores = by_square @ squares + by_unit @ plain
    if rng is not None:
        scores = scores + ordered_gumbels(rng, scores.shape[1]).astype(np.float32)
    limits = [bits] * len(scores) if index_bits is None else index_bits
    return np.array([np.argmax(row[: split_index(limit)]) for row, limit in zip(scores, limits, strict=True)], np.int64)


def densities(
    mean: Float[ndarray, "*n"], deviation: Float[ndarray, "*n"], least_gap: float = 0.0
) -> tuple[Float[ndarray, "*n"], Float[ndarray, "*n"]]:
    """What a latent's square and the latent itself, in deviations of the prior, are multiplied by in the logarithm of
    the posterior's density over the prior's. `least_gap`: of their precisions.
    """
    precision = 1 / np.square(deviation)
    by_square = -np.maximum(precision - 1, least_gap) / 2
    return by_square.astype(np.float32), (precision * mean).astype(np.float32)


def ordered_gumbels(rng: np.random.Generator, count: int) -> Float[ndarray, " count"]:
    """Gumbel noise that falls with the index: the logarithms of a Poisson process' times, negated."""
    return -np.log(np.cumsum(rng.exponential(size=count)))


def pack(indices: Sequence[int], bits: Sequence[int]) -> bytes:
    """Indices of so many bits each, highest bit first, zeros up to a whole byte."""
    text = "".join(f"{int(index):0{n}b}" for index, n in zip(indices, bits, strict=True))
    length = -(-len(text) // 8)
    return int(text.ljust(8 * length, "0") or "0", 2).to_bytes(length, "big")


class Unpacked:
    """Reads what `pack` wrote."""

    def __init__(self, data: bytes):
        self.left = 8 * len(data)
        self._text = f"{int.from_bytes(data, 'big'):0{self.left}b}" if data else ""

    def take(self, bits: int) -> int | None:
        """The next index, of so many bits; None if there are not as many."""
        if bits > self.left:
            return None
        at = len(self._text) - self.left
        self.left -= bits
        return int(self._text[at : at + bits], 2)

    def indices(self, bits: int) -> Iterator[int]:
        """As long as there are enough."""
        return iter(lambda: self.take(bits), None)


def unpack(data: bytes, bits: Iterable[int]) -> Iterator[int]:
    """Indices of so many bits each, as long as there are enough."""
    source = Unpacked(data)
    for n in bits:
        index = source.take(n)
        if index is None:
            return
        yield index
