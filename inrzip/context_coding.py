"""Samples as whole numbers from 0 on, in the order of planes that is coded, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.context import Samples

COLOURS = 3


class Scale(NamedTuple):
    """Samples are `low` and multiples of `step` above it; `bits` hold how many."""

    low: int
    step: int
    bits: int


def plane_order(channels: int) -> tuple[int, ...]:
    """Channels in coding order: of colours green first, from which the others are predicted."""
    rest = tuple(range(channels))
    return (1, 0, *rest[2:]) if channels >= COLOURS else rest


def compact(samples: Int[ndarray, "*grid channels"], order: Sequence[int]) -> tuple[Samples, Scale]:
    """Channels first, in coding order, as whole numbers from 0 on without common factors."""
    low, high = int(samples.min()), int(samples.max())
    shifted = samples.astype(np.int64) - low
    step = _common_factor(shifted) or 1
    return np.moveaxis(shifted // step, -1, 0)[list(order)].astype(np.int32), Scale(
        low, step, ((high - low) // step).bit_length()
    )


def expand(samples: Samples, scale: Scale, order: Sequence[int]) -> Int[ndarray, "*grid channels"]:
    """The inverse of `compact`."""
    planes = samples.astype(np.int64) * scale.step + scale.low
    return np.moveaxis(planes[np.argsort(order)], 0, -1)


def _common_factor(values: Int[ndarray, "..."]) -> int:
    found = 0
    for value in np.unique(values[:1]):  # most signals have no common factor, as their first row tells
        found = math.gcd(found, int(value))
    return found if found == 1 else int(np.gcd.reduce(np.unique(values)))
