"""Integer tables of what the probability model of exact samples needs: logarithms, powers of two, the logistic curve.

Made with Python's decimal numbers, whose `exp` and `ln` are correctly rounded, so every machine has the same tables.
"""

from __future__ import annotations

import functools
from decimal import Context, Decimal

import numpy as np
from jaxtyping import Int
from numpy import ndarray

LOG_BITS = 5
"""Logarithms to the base 2 are in 1/32."""
LOG_SIZE_BITS = 12
EXP_BITS = 16
LOGISTIC_BITS = 30
LOGISTIC_STEP_BITS = 4
"""The logistic curve is tabulated at multiples of 1/16, from -16 to 16."""
LOGISTIC_REACH = 16

_EXACT = Context(prec=40)


def _rounded(value: Decimal) -> int:
    return int(value.to_integral_value(context=_EXACT))


@functools.cache
def logarithms() -> Int[ndarray, " 4096"]:
    """32 log2(n) for n from 0 (taken as 1) to 4095, rounded."""
    unit = (1 << LOG_BITS) / Decimal(2).ln(_EXACT)
    values = [_rounded(_EXACT.multiply(unit, Decimal(max(n, 1)).ln(_EXACT))) for n in range(1 << LOG_SIZE_BITS)]
    return np.array(values, np.int64)


@functools.cache
def powers() -> Int[ndarray, " 32"]:
    """2^16 2^(i / 32) for i from 0 to 31, rounded."""
    step = _EXACT.divide(Decimal(2).ln(_EXACT), Decimal(1 << LOG_BITS))
    scale = Decimal(1 << EXP_BITS)
    values = [
        _rounded(_EXACT.multiply(scale, _EXACT.multiply(step, Decimal(i)).exp(_EXACT))) for i in range(1 << LOG_BITS)
    ]
    return np.array(values, np.int64)


@functools.cache
def logistic() -> Int[ndarray, " 514"]:
    """2^30 / (1 + exp(-z)) for z from -16 to 16 in steps of 1/16, rounded; the last entry twice."""
    n = 2 * LOGISTIC_REACH << LOGISTIC_STEP_BITS
    one, scale = Decimal(1), Decimal(1 << LOGISTIC_BITS)
    values = []
    for i in range(n + 1):
        z = _EXACT.divide(Decimal(i - n // 2), Decimal(1 << LOGISTIC_STEP_BITS))
        values.append(_rounded(_EXACT.divide(scale, _EXACT.add(one, (-z).exp(_EXACT)))))
    return np.array([*values, values[-1]], np.int64)
