"""Samples as whole numbers from 0 on, in the order of planes that is coded, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.context import Samples

COLOURS = 3


RARE_SHARE, RARE_SAMPLES = 0.75, 200
"""Where at most this part of all values between the least and the greatest is there, each for so many samples or more,
it is the number of a value among those that are there that is coded.
"""


class Scale(NamedTuple):
    """Samples are `low` and multiples of `step` above it; if `used` is not empty, only those that it lists, in order.
    `bits` hold a multiple, or its place in the list.
    """

    low: int
    step: int
    bits: int
    used: tuple[int, ...] = ()


def plane_order(channels: int) -> tuple[int, ...]:
    """Channels in coding order: of colours green first, from which the others are predicted."""
    rest = tuple(range(channels))
    return (1, 0, *rest[2:]) if channels >= COLOURS else rest


def compact(samples: Int[ndarray, "*grid channels"], order: Sequence[int]) -> tuple[Samples, Scale]:
    """Channels first, in coding order, as whole numbers from 0 on without common factors or long gaps."""
    low = int(samples.min())
    above = samples.astype(np.int64) - low
    there = np.unique(above)
    step = int(np.gcd.reduce(there)) or 1
    there //= step
    multiples = np.moveaxis(above // step, -1, 0)[list(order)]
    if len(there) > RARE_SHARE * (there[-1] + 1) or samples.size < RARE_SAMPLES * len(there):
        return multiples.astype(np.int32), Scale(low, step, int(there[-1]).bit_length())
    found = np.searchsorted(there, multiples).astype(np.int32)
    return found, Scale(low, step, (len(there) - 1).bit_length(), tuple(there.tolist()))


def expand(samples: Samples, scale: Scale, order: Sequence[int]) -> Int[ndarray, "*grid channels"]:
    """The inverse of `compact`. Numbers beyond a list of values count as its last."""
    multiples = samples.astype(np.int64)
    if scale.used:
        multiples = np.array(scale.used, np.int64)[np.minimum(multiples, len(scale.used) - 1)]
    return np.moveaxis((multiples * scale.step + scale.low)[np.argsort(order)], 0, -1)
