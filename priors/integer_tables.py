"""Integer probability tables of zero-centred bell curves, at a ladder of scales: what the weight coder starts from.

All arithmetic is in integers, so that every machine builds the same tables. A curve is tabulated for the values -limit
to limit, and an escape for all others. With `b` the scale in units of the quantisation step, the families are

- Laplace: the mass of a Laplace density over a bin of width 1, which is a two-sided geometric distribution: with `s =
  exp(-1 / (2 b))`, `P(0) = 1 - s` and `P(k) = s^(2|k| - 1) (1 - s^2) / 2`;
- Gauss: `P(k)` proportional to `exp(-k^2 / (pi b^2))`;
- flat: `P(k)` proportional to `exp(-(k / a)^4)`, `a = b Gamma(1/4) / Gamma(1/2)`, for weights still near a uniform
  initialisation.

In all three the mean absolute value is about `b`, so that a scale means the same in each.
"""

from __future__ import annotations

import enum
import functools

import numpy as np
from jaxtyping import Int
from numpy import ndarray

STEPS_PER_OCTAVE = 4
N_TABLES = 32  # table i has b = 2^((i - 17) / 4): from 0.053, where 1 weight in 13,000 is not 0, to 11.3
UNIT_TABLE = 17  # the table with b = 1
MASS_BITS = 24  # the masses of a table sum to 2**24
TOTAL_BITS = 16  # the frequencies made of them sum to 2**16

_FIXED = 62  # fraction bits of the constants below
_ONE = 1 << _FIXED
_TAIL = 9  # tables end at 9 b, where a Laplace curve has 1 / 8000 of its mass left

# For the four widest tables (b = 2^2.75 .. 2^3.5), as multiples of 2^-62: exp(-1 / (2 b)), exp(-1 / (pi b^2)) and
# exp(-1 / a^4).
_LAPLACE_ROOTS = (4281348697255054412, 4332278087304955804, 4375573053418261291, 4412314346821917877)
_GAUSS_ROOTS = (4579362515137443539, 4588806318181072281, 4595495847497832944, 4600231944024878246)
_FLAT_ROOTS = (4611557401192693596, 4611621709361652035, 4611653863782422009, 4611669941076880368)


class Family(enum.IntEnum):
    """The shape of a curve. The value is stored in the file."""

    LAPLACE = 0
    GAUSS = 1
    FLAT = 2


def _times(a: int, b: int) -> int:
    return a * b >> _FIXED


def _power(root: int, exponent: int) -> int:
    result = _ONE
    for _ in range(exponent):
        result = _times(result, root)
    return result


def _root(roots: tuple[int, ...], table: int, order: int) -> int:
    """The constant of a table: that of the widest table a whole number of octaves above, squared `order` times for each
    octave.
    """
    octaves, step = divmod(N_TABLES - 1 - table, STEPS_PER_OCTAVE)
    root = roots[STEPS_PER_OCTAVE - 1 - step]
    for _ in range(octaves * order):
        root = _times(root, root)
    return root


def _laplace_masses(table: int) -> list[int]:
    """Masses of 0, 1, .. limit (of one sign only) and of the escape."""
    root = _root(_LAPLACE_ROOTS, table, 1)
    ratio = _times(root, root)
    masses, mass, rest = [_ONE - root], _times(root, _ONE - ratio) // 2, root
    for _ in range(limit(table)):
        masses.append(mass)
        mass, rest = _times(mass, ratio), _times(rest, ratio)
    return [*masses, rest]


def _exponential_masses(table: int, root: int, differences: tuple[int, ...]) -> list[int]:
    """`root^f(k)` for k = 0, 1, .. limit, and a little for the escape; `differences` are those of the polynomial f at
    0.
    """
    factors = [_power(root, exponent) for exponent in differences]
    masses = [_ONE]
    for _ in range(limit(table) + 1):
        masses.append(_times(masses[-1], factors[0]))
        for i in range(len(factors) - 1):
            factors[i] = _times(factors[i], factors[i + 1])
    return masses


@functools.cache
def limit(table: int) -> int:
    """The greatest magnitude that has a symbol of its own in table `table`: 9 b and a little."""
    octave, step = divmod(table - UNIT_TABLE, STEPS_PER_OCTAVE)
    sixteenths = _TAIL * (16, 19, 23, 27)[step]  # 16 * 2^(step / 4)
    return 2 + (sixteenths << octave if octave >= 0 else sixteenths >> -octave) // 16


@functools.cache
def mass_table(family: Family, table: int) -> Int[ndarray, " symbols"]:
    """Masses of the symbols of table `table` (0 to 31): of the values -limit .. limit, then of the escape. They sum to
    `2**MASS_BITS`.
    """
    if family == Family.LAPLACE:
        *half, escape = _laplace_masses(table)
    elif family == Family.GAUSS:
        *half, escape = _exponential_masses(table, _root(_GAUSS_ROOTS, table, 2), (1, 2))  # k^2
    else:
        *half, escape = _exponential_masses(table, _root(_FLAT_ROOTS, table, 4), (1, 14, 36, 24))  # k^4
    masses = [*half[:0:-1], *half, escape]
    total = sum(masses)
    scaled = np.array([(mass << MASS_BITS) // total for mass in masses], np.int64)
    scaled[len(half) - 1] += (1 << MASS_BITS) - int(scaled.sum())  # what rounding lost goes to the middle
    scaled.setflags(write=False)
    return scaled


def cumulative_frequencies(masses: Int[ndarray, " symbols"]) -> Int[ndarray, " symbols+1"]:
    """Each symbol's start in `[0, 2**TOTAL_BITS)`, and the end: in proportion to `masses`, yet at least 1 for every
    symbol.

    `masses` are of int64 and sum to less than 2^47, so that no product overflows.
    """
    n = len(masses)
    sums = np.concatenate([[0], np.cumsum(masses)])
    starts: Int[ndarray, " symbols+1"] = np.arange(n + 1) + sums * ((1 << TOTAL_BITS) - n) // sums[-1]
    return starts


def spread_256(table: int) -> int:
    """256 times the mean absolute value of the Laplace table `table`."""
    masses = mass_table(Family.LAPLACE, table)[:-1]
    return int(np.abs(np.arange(len(masses)) - limit(table)) @ masses) >> (MASS_BITS - 8)
