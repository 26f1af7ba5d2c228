"""Codebooks: the values of a tensor are a few codewords, one set of them for each group of its channels.

`inrzip.codebook_fit` finds them, after JLCM. Codewords are multiples of a step of the ladder, so that they cost a few
bits each. An integer counts codewords from the one nearest to zero, so that small integers are frequent, and stand for
small values, as with uniform steps.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.codecs.levels import DAMAGED, along
from inrzip.codecs.uniform import N_STEPS, step_size
from inrzip.errors import CorruptFile

MAX_GROUPS = 16
MAX_CODEWORDS = 256
MAX_MULTIPLE = 1 << 30
"""The largest magnitude of a codeword, in steps."""


@dataclasses.dataclass(frozen=True)
class Codebook:
    """Values are `codewords[groups[c]][home + integer] * step`, c being the channel along `axis` and `home` the place
    of the codeword nearest to zero.

    `codewords` of each group strictly increase. `groups` holds a number for each channel; it is empty if there is one
    group.
    """

    step_index: int
    axis: int
    codewords: tuple[tuple[int, ...], ...]
    groups: tuple[int, ...]
    number: ClassVar[int] = 3

    def __post_init__(self) -> None:
        sizes = [len(words) for words in self.codewords]
        if not 1 <= len(sizes) <= MAX_GROUPS or not all(1 <= size <= MAX_CODEWORDS for size in sizes):
            raise ValueError(f"codebooks of {sizes} codewords; 1 to {MAX_GROUPS} of 1 to {MAX_CODEWORDS} each can be")
        if any(abs(word) > MAX_MULTIPLE for words in self.codewords for word in words) or not all(
            low < high for words in self.codewords for low, high in itertools.pairwise(words)
        ):
            raise ValueError("codewords must increase, and be within 2^30 steps")
        if not 0 <= self.step_index < N_STEPS or self.axis < 0:
            raise ValueError(f"step {self.step_index}, axis {self.axis}")
        if (len(sizes) > 1) != bool(self.groups) or not all(0 <= group < len(sizes) for group in self.groups):
            raise ValueError(f"groups {self.groups} of {len(sizes)}: name one for each channel if there are several")

    def dequantise(self, integers: Int[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
        """The float32 nearest to each codeword times the step."""
        numbers = np.asarray(integers).astype(np.int64)
        sizes, homes, starts = self._of_channels(numbers.ndim)
        places = numbers + homes
        if ((places < 0) | (places >= sizes)).any():
            raise CorruptFile(DAMAGED.format("a codeword"))
        words = np.concatenate([np.array(words, np.float64) for words in self.codewords]) * step_size(self.step_index)
        values: Float[ndarray, "..."] = words.astype(np.float32)[starts + places]
        return values

    def homes(self) -> list[int]:
        """For each group, the place of its codeword nearest to zero; of two, the first."""
        return [int(np.argmin(np.abs(np.array(words, np.int64)))) for words in self.codewords]

    def _of_channels(self, rank: int) -> tuple[Int[ndarray, "..."], Int[ndarray, "..."], Int[ndarray, "..."]]:
        """The size, the home, and the start in the list of all codewords, of each channel's group; shaped to be
        combined with a tensor of `rank` axes.
        """
        sizes = np.array([len(words) for words in self.codewords], np.int64)
        rows = np.stack([sizes, np.array(self.homes(), np.int64), np.cumsum(sizes) - sizes])
        if not self.groups:
            return rows[0, 0], rows[1, 0], rows[2, 0]
        size, home, start = (along(row[np.array(self.groups, np.int64)], self.axis, rank) for row in rows)
        return size, home, start
