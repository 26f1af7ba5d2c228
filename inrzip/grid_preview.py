"""Large pictures begin with a small one of themselves, which is what small scales decode, and where a file that was cut
short takes its colours from.

It is needed because the latents of a picture are no pyramid of pictures: each level has one grid for all colours, so
that brightness is spread over all of them.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from inrzip.architectures.base import resample

FIRST_FROM = 4
"""Format version that had previews first."""
LEAST_HALVINGS = 3
MOST_SAMPLES = 1 << 17
"""A preview is the picture halved at least three times, and to at most so many samples."""
COARSER = 19
"""Tones by which it is coarser than the picture: lambda is twice as high."""
Span = tuple[int, int]


def halvings(shape: tuple[int, int]) -> int:
    """How often a picture is halved along both axes for its preview."""
    n = LEAST_HALVINGS
    while math.prod(size(shape, n)) > MOST_SAMPLES:
        n += 1
    return n


def size(shape: tuple[int, int], n: int) -> tuple[int, int]:
    """Rows and columns after `n` halvings."""
    return -(-shape[0] >> n), -(-shape[1] >> n)


def shrunk(values: Float[ndarray, "rows columns channels"], n: int) -> Float[ndarray, "less fewer channels"]:
    """Means of squares of 2^n by 2^n samples; those at the ends may be of fewer."""
    side = 1 << n
    for axis in (0, 1):
        starts = np.arange(0, values.shape[axis], side)
        counts = np.minimum(values.shape[axis] - starts, side).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        values = np.add.reduceat(values, starts, axis, dtype=np.float32) / counts.astype(np.float32)
    means: Float[ndarray, "less fewer channels"] = values
    return means


def enlarged(
    values: Float[ndarray, "less fewer channels"], n: int, rows: Span, columns: Span
) -> Float[ndarray, "rows columns channels"]:
    """Samples between those of what was halved `n` times; spans count samples of the large picture."""
    at = [(np.arange(*span) + 0.5) / (1 << n) - 0.5 for span in (rows, columns)]
    return resample(values, *at)


def aligned(span: Span, n: int, end: int) -> Span:
    """A span with the squares that it touches, and one more at each side, as far as there are any."""
    return max((span[0] >> n) - 1, 0) << n, min((((span[1] - 1) >> n) + 2) << n, end)


def corrected(
    values: Float[ndarray, "rows columns channels"],
    small: Float[ndarray, "less fewer channels"],
    lost: Bool[ndarray, "less fewer channels"],
    n: int,
) -> Float[ndarray, "rows columns channels"]:
    """Values whose means over squares are those of the preview, wherever something was lost. All begin at a square."""
    missing = np.where(lost, small - shrunk(values, n), np.float32(0))
    result: Float[ndarray, "rows columns channels"] = values + enlarged(
        missing, n, (0, values.shape[0]), (0, values.shape[1])
    )
    return result
