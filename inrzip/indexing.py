"""Which positions an index, or a range at some scale, means."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from types import EllipsisType
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .limits import MAX_DIMENSION


def scaled_size(start: int, stop: int, scale: float) -> int:
    """Output samples along an axis."""
    return max(1, round(min((stop - start) * scale, float(MAX_DIMENSION))))


def positions(start: int, stop: int, n: int, factor: int) -> Float[ndarray, " n"]:
    """Positions for `n` samples between two original ones, `factor` for each, evenly over its extent."""
    step = (stop - start) / n
    fine: Float[ndarray, " n"] = (np.arange(n * factor) + 0.5) / factor * step + start - 0.5
    return fine


def pick(key: int | slice, n: int) -> range:
    """The positions that an index means, without listing them. Raises IndexError."""
    if isinstance(key, slice):
        return range(n)[key]
    position = range(n)[key]
    return range(position, position + 1)


def expand(keys: Sequence[Any], ndim: int) -> list[int | slice]:
    """An index tuple with its ellipsis spelled out. Raises IndexError for what is not an int, slice or ellipsis."""
    if not all(isinstance(k, slice | EllipsisType | SupportsIndex) and not isinstance(k, bool) for k in keys):
        raise IndexError("only whole numbers, slices and one ellipsis index a compressed signal")
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1 or len(keys) - len(dots) > ndim:
        raise IndexError(f"too many indices for a signal of {ndim} axes")
    at = dots[0] if dots else len(keys)
    fill = [slice(None)] * (ndim - (len(keys) - len(dots)))
    spelled = [*keys[:at], *fill, *keys[at + 1 :]]
    return [k if isinstance(k, slice) else operator.index(k) for k in spelled]
