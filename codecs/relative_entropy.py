"""Relative entropy coding: a sample of a Gaussian posterior as the index of one among candidates from the prior.

Encoder and decoder can make the same candidates, which are random numbers that follow from a count; the encoder looks
for one that suits the posterior and writes its index (Havasi et al., MIRACLE, ICLR 2019). The decoder makes the chosen
candidate alone. Latents are coded in blocks, so that the search stays within 2^`bits` candidates.

Candidates are `bell` numbers of `inrzip.architectures.counted_random`, whole numbers that are nearly normal, times a
scale that is a whole number of at most 14 bits and a power of two: no float is rounded before the network is evaluated.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.architectures.counted_random import BELL_SCALE, bell, words

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


def decoded(block: int, index: int, scales: Int[ndarray, " size"]) -> Float[ndarray, " size"]:
    """The latents of one block that were coded as `index`."""
    return latents(candidates(block, index, 1, len(scales))[0], scales)


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
) -> Int[ndarray, " items"]:
    """For each item the index of a candidate of the block; `mean` and `deviation` of its posterior are in standard
    deviations of the prior.

    Without `rng` it is the candidate nearest to the mean in deviations of the posterior: the one with which the signal
    is likely to come out best. With it, an index is drawn by ordered random coding (Theis and Yosri, 2022): among
    enough candidates the latents are distributed as the posterior is, and small indices are likelier than large ones.

    `index_bits`: of each item, where its index is one of the first few only.
    `most`: latents of the largest block of that number that is asked for; candidates are then made once for all.
    """
    size = mean.shape[1]
    precision = 1 / np.square(deviation)
    by_square = -precision / 2 + (0 if rng is None else 0.5)
    squares, plain = units(block, bits, max(size, most))
    scores = by_square.astype(np.float32) @ squares[:size] + (precision * mean).astype(np.float32) @ plain[:size]
    if rng is not None:
        scores = scores + ordered_gumbels(rng, scores.shape[1]).astype(np.float32)
    limits = [bits] * len(scores) if index_bits is None else index_bits
    return np.array([np.argmax(row[: 1 << limit]) for row, limit in zip(scores, limits, strict=True)], np.int64)


def ordered_gumbels(rng: np.random.Generator, count: int) -> Float[ndarray, " count"]:
    """Gumbel noise that falls with the index: the logarithms of a Poisson process' times, negated."""
    return -np.log(np.cumsum(rng.exponential(size=count)))


def pack(indices: Sequence[int], bits: Sequence[int]) -> bytes:
    """Indices of so many bits each, highest bit first, zeros up to a whole byte."""
    text = "".join(f"{int(index):0{n}b}" for index, n in zip(indices, bits, strict=True))
    length = -(-len(text) // 8)
    return int(text.ljust(8 * length, "0") or "0", 2).to_bytes(length, "big")


def unpack(data: bytes, bits: Iterable[int]) -> Iterator[int]:
    """Indices of so many bits each, as long as there are enough."""
    total, left = int.from_bytes(data, "big"), 8 * len(data)
    text = f"{total:0{left}b}" if left else ""
    at = 0
    for n in bits:
        if at + n > left:
            return
        yield int(text[at : at + n], 2)
        at += n
