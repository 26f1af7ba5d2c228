"""Which indices a block of latents is coded as: the candidate at which its posterior is densest for what the prior is,
and where none suits, those of its halves.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from inrzip.architectures.counted_random import BELL_SCALE
from inrzip.codecs import relative_entropy
from inrzip.codecs.relative_entropy import Part

from .part_search import LEAST_GAP


@dataclasses.dataclass(frozen=True)
class Search:
    """For the indices of a block of a patch. `mean` and `deviation`: of its latents, in deviations of the prior;
    `price`: of a bit; `bits`: of the prior's indices, of which the first 2^`own` are used; `most`: as in `choose`.
    """

    block: int
    mean: Float[ndarray, " members"]
    deviation: Float[ndarray, " members"]
    price: float
    bits: int
    own: int
    most: int

    def best(self, part: Part, room: float, index: int | None = None) -> tuple[list[int], float]:
        """The indices of a part of it, split where that is worth more bits, and what is lost by them, in bits. `room`:
        bits that may be spent on splitting; `index`: the best one of a part that is not split.
        """
        here, wide = slice(part.first, part.last), 4.0**part.widened
        mean, deviation = self.mean[here], self.deviation[here]
        if index is None:
            scaled = mean[None] / wide, deviation[None] / wide
            [index] = relative_entropy.choose(
                self.block, self.bits, *scaled, most=self.most, index_bits=[self.own], first=part.first
            )
        unit = relative_entropy.candidates(self.block, int(index), 1, part.last)[0, part.first :] / BELL_SCALE
        gap = np.maximum(1 / deviation**2 - 1, LEAST_GAP)
        wanted = mean * (1 + 1 / gap)  # where the squared error alone would have it
        lost = self.price * float((gap * (unit * wide - wanted) ** 2).sum()) / (2 * math.log(2))
        halves = part.halves()
        least = len(halves) * self.own
        if lost <= least or room < least or part.widened == relative_entropy.MOST_WIDENED:
            return [int(index)], lost
        indices, rest = [relative_entropy.split_index(self.own)], 0.0
        for half in halves:
            found, left = self.best(half, (room - least) / len(halves))
            indices, rest = indices + found, rest + left
        extra = (len(indices) - 1) * self.own
        return (indices, rest) if lost - rest > extra else ([int(index)], lost)
