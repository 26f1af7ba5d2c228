"""The encoder's side of `inrzip.codecs.axis_tables`: the scale of each row and column, by alternating estimates.

At a scale that is a row's factor times a column's, the most likely factor of a column, for a Laplace density, is the
mean of its magnitudes over the rows' factors; and the other way round. All arithmetic is on integers.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.static_choice import N_LADDER, borders_256, mean_256

_ROUNDS = 2
_MAX_OFFSET = 24  # quarter octaves: a factor of 64
_FRACTION = 12  # bits of the factors' inverses
_SUM_BITS = 44  # magnitudes are scaled down until their sum has no more, so that no product overflows
_PSEUDO_COUNT = 8  # elements of the tensor's mean magnitude that every place is believed to have besides its own


def cell_sums(values: Int[ndarray, "*leading rows columns"], centre: int) -> Int[ndarray, "rows columns"]:
    """Sums of the magnitudes of int64 values along all but the last two axes."""
    sums: Int[ndarray, "rows columns"] = np.abs(values - centre).reshape(-1, *values.shape[-2:]).sum(axis=0)
    return sums


def axis_scales(
    sums: Int[ndarray, "rows columns"], n_leading: int, base: int, rows: bool, columns: bool
) -> tuple[Int[ndarray, " rows"] | None, Int[ndarray, " columns"] | None]:
    """For rows and for columns, if asked for, the difference of each one's scale to the scale `base` on the ladder.
    `sums` are those of `cell_sums`, each of `n_leading` magnitudes.
    """
    shift = max(0, int(sums.sum()).bit_length() - _SUM_BITS)
    scaled, count = sums >> shift, n_leading
    of_row, of_column = (np.zeros(n, np.int64) for n in sums.shape)
    for _ in range(_ROUNDS if rows and columns else 1):
        if columns:
            of_column = _offsets(scaled.T, of_row, base, count, shift)
        if rows:
            of_row = _offsets(scaled, of_column, base, count, shift)
    return of_row if rows else None, of_column if columns else None


def _offsets(
    sums: Int[ndarray, "places others"], of_other: Int[ndarray, " others"], base: int, count: int, shift: int
) -> Int[ndarray, " places"]:
    """The scales of places, less `base`, if each one's elements are divided by the factors of the `others`."""
    means = _means_256()
    inverse = (means[base] << _FRACTION) // means[np.clip(base + of_other, 0, N_LADDER - 1)]
    totals = ((sums @ inverse) >> _FRACTION) << shift
    expected = _PSEUDO_COUNT * int(means[base])
    mean = (256 * totals + expected) // (count * sums.shape[1] + _PSEUDO_COUNT)
    offsets: Int[ndarray, " places"] = np.clip(np.searchsorted(borders_256(), mean) - base, -_MAX_OFFSET, _MAX_OFFSET)
    return offsets


@functools.cache
def _means_256() -> Int[ndarray, " scales"]:
    return np.array([mean_256(scale) for scale in range(N_LADDER)], np.int64)
