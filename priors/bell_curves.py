"""Bell curves of any location and scale, tabulated in integers: what predictive coding turns into probabilities.

A curve is that of a random number X with the mean magnitude 1. Its table has two rows, for x = 0, 1/32, .. 32: the
chance that |X| > x; and x times the density of |X| at x, which gives the derivative by the logarithm of the scale. Both
are in `1 / 2**CURVE_BITS`. Densities come from one constant each by repeated multiplication, chances from them by the
trapezoidal rule, so that every machine has the same tables.
"""

from __future__ import annotations

import enum
import functools

import numpy as np
from jaxtyping import Int
from numpy import ndarray

CURVE_BITS = 46
STEPS = 32  # per unit of x
LENGTH = 32 * STEPS + 1

LOGIT_STEPS = 128  # logits are in 1/128
MAX_LOGIT = 12 * LOGIT_STEPS - 1
PROBABILITY_BITS = 12  # of the probabilities that a logit can be looked up for
FREQUENCY_BITS = 16  # of those that come out
_LEAST = 4  # of a frequency out of 2^16

_FIXED = 62  # fraction bits of the constants below
_ONE = 1 << _FIXED
_LAPLACE_ROOT = 4469799356029710114  # exp(-1 / 32)
_GAUSS_ROOT = 4610252700927136595  # exp(-1 / (32^2 pi))
_LOGISTIC_ROOT = 4416165660797809419  # 4^(-1 / 32)
_LOGIT_ROOT = 4575797593107614194  # exp(-1 / 128)
_OCTAVE_ROOT = 4599216278082138665  # 2^(-1 / 256)


class Curve(enum.IntEnum):
    """The shape of a curve. The value is stored in the file."""

    LOGISTIC = 0
    LAPLACE = 1
    GAUSS = 2


INFORMATION_16 = (23, 16, 32)
"""For each curve, 16 times the Fisher information of one value about the natural logarithm of the scale."""


def _powers(root: int, n: int) -> list[int]:
    """`root^0 .. root^(n-1)`, multiples of 2^-62."""
    powers = [_ONE]
    for _ in range(n - 1):
        powers.append(powers[-1] * root >> _FIXED)
    return powers


def _density(curve: Curve) -> list[int]:
    """The curve at x = 0, 1/32, .., in any unit."""
    if curve == Curve.LAPLACE:
        return _powers(_LAPLACE_ROOT, LENGTH)
    if curve == Curve.LOGISTIC:
        return [(z << 2 * _FIXED) // (_ONE + z) ** 2 for z in _powers(_LOGISTIC_ROOT, LENGTH)]
    density, factor = [_ONE], _GAUSS_ROOT  # exp(-x^2 / pi): the exponents grow by 1, 3, 5, ..
    square = _GAUSS_ROOT * _GAUSS_ROOT >> _FIXED
    for _ in range(LENGTH - 1):
        density.append(density[-1] * factor >> _FIXED)
        factor = factor * square >> _FIXED
    return density


@functools.cache
def curve_table(curve: Curve) -> Int[ndarray, "2 length"]:
    """The chances and the weighted densities of a curve; see the top of this module."""
    density = _density(curve)
    tails = [0]  # twice the trapezoids' sum, from the far end on
    for left, right in zip(density[-2::-1], density[:0:-1], strict=True):
        tails.append(tails[-1] + left + right)
    total = tails[-1]
    chances = [(tail << CURVE_BITS) // total for tail in reversed(tails)]
    weighted = [(2 * i * value << CURVE_BITS) // total for i, value in enumerate(density)]
    return np.array([chances, weighted], np.int64)


@functools.cache
def squash_table() -> Int[ndarray, " logits"]:
    """For the logits -MAX_LOGIT .. MAX_LOGIT, the probability, as a frequency out of 2^16."""
    upper = [(_ONE << FREQUENCY_BITS) // (_ONE + z) for z in _powers(_LOGIT_ROOT, MAX_LOGIT + 1)]
    upper = [min(frequency, (1 << FREQUENCY_BITS) - _LEAST) for frequency in upper]
    return np.array([(1 << FREQUENCY_BITS) - frequency for frequency in upper[:0:-1]] + upper, np.int64)


@functools.cache
def stretch_table() -> Int[ndarray, " probabilities"]:
    """For the probabilities 0, 1, .. `2**PROBABILITY_BITS`, as multiples of `2**-PROBABILITY_BITS`, the logit; those of
    0 and of 1 are the ones beside them.
    """
    frequencies = np.clip(np.arange((1 << PROBABILITY_BITS) + 1), 1, (1 << PROBABILITY_BITS) - 1)
    wanted = frequencies << (FREQUENCY_BITS - PROBABILITY_BITS)
    return np.searchsorted(squash_table(), wanted).astype(np.int64) - MAX_LOGIT


@functools.cache
def octave_table() -> Int[ndarray, " 256"]:
    """`2^(16 - i / 256)`."""
    return np.array([power >> (_FIXED - 16) for power in _powers(_OCTAVE_ROOT, 256)], np.int64)
