"""Uniform quantisation, with steps on a logarithmic ladder that is the same on every machine."""

from __future__ import annotations

import functools
import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

STEPS_PER_OCTAVE = 8
MIN_EXPONENT = -32  # step 0 of the ladder is 2^-32
N_STEPS = 512  # the last is 2^31.875
MAX_MAGNITUDE = 1 << 30  # of a quantised value: differences of two still fit in int32

# 2^(0/8) .. 2^(7/8), correctly rounded. Written out, since `2**x` may differ in its last bit from one C library to the
# next.
_MANTISSAS = tuple(
    float.fromhex(digits)
    for digits in (
        "0x1.0000000000000p+0",
        "0x1.172b83c7d517bp+0",
        "0x1.306fe0a31b715p+0",
        "0x1.4bfdad5362a27p+0",
        "0x1.6a09e667f3bcdp+0",
        "0x1.8ace5422aa0dbp+0",
        "0x1.ae89f995ad3adp+0",
        "0x1.d5818dcfba487p+0",
    )
)


def step_size(index: int) -> float:
    """The step number `index` of the ladder, `2**(index / 8 - 32)`; raises `ValueError` unless `0 <= index < 512`."""
    if not 0 <= index < N_STEPS:
        raise ValueError(f"`index` is {index}; step indices are 0 to {N_STEPS - 1}")
    octave, step = divmod(index, STEPS_PER_OCTAVE)
    return math.ldexp(_MANTISSAS[step], octave + MIN_EXPONENT)


def nearest_step_index(step: float) -> int:
    """The index of the step nearest to `step` in ratio; that of the first or last step where `step` lies beyond the
    ladder.
    """
    if math.isnan(step):
        raise ValueError("`step` is not a number")
    ladder = _ladder()
    above = bisect_right(ladder, step)
    if above == 0:
        return 0
    if above == N_STEPS or step / ladder[above - 1] < ladder[above] / step:
        return above - 1
    return above


def quantise(tensor: Float[ndarray, "..."], step_index: int) -> Int[ndarray, "..."]:
    """`tensor / step` rounded half to even and clipped to `-2**30 .. 2**30`, as int32; raises `ValueError` if an
    element is not a number.
    """
    wide = np.asarray(tensor, np.float64)
    if np.isnan(wide).any():
        raise ValueError("`tensor` holds NaN, which cannot be quantised; the fit has diverged")
    return np.clip(np.rint(wide / step_size(step_index)), -MAX_MAGNITUDE, MAX_MAGNITUDE).astype(np.int32)


def dequantise(integers: Int[ndarray, "..."], step_index: int) -> Float[ndarray, "..."]:
    """The float32 nearest to each integer times the step: the same on every machine, as the product is in float64."""
    return (np.asarray(integers).astype(np.float64) * step_size(step_index)).astype(np.float32)


def allocate_steps(sensitivity: Sequence[float], level: float) -> list[int]:
    """Step indices that give the best quality at a given rate, or the smallest rate at a given quality.

    `sensitivity[t]` is `s_t >= 0`: the mean squared change of the output when one weight of tensor `t` changes, divided
    by the square of that change. `level` > 0 trades quality for rate: doubling it takes about one bit off every weight.

    At high rate, a step `D_t` gives a weight an error of `D_t^2 / 12` and costs `-log2 D_t` bits and a constant. With
    `n_t` weights in each tensor, the minimum of `sum_t n_t s_t D_t^2 / 12 - lambda sum_t n_t log2 D_t` is where the
    derivative vanishes for each t: `n_t s_t D_t / 6 = lambda n_t / (D_t ln 2)`, so `D_t = level / sqrt(s_t)` with
    `level = sqrt(6 lambda / ln 2)`. Sizes cancel. See Gersho and Gray, "Vector Quantization and Signal Compression"
    (1992), chapter 8 (high-rate bit allocation).

    A tensor that does not matter (`s_t = 0`) gets the greatest step, so that it becomes zeros; one that matters without
    bound, the smallest.
    """
    if not (math.isfinite(level) and level > 0):
        raise ValueError(f"`level` is {level}; it must be positive and finite")
    if any(math.isnan(value) or value < 0 for value in sensitivity):
        raise ValueError("`sensitivity` holds a negative value or NaN; it is a mean of squares")
    return [nearest_step_index(level / math.sqrt(value) if value > 0 else math.inf) for value in sensitivity]


def bit_price(level: float) -> float:
    """The mean squared error that a bit is worth where steps are those of `allocate_steps` at `level`: its lambda."""
    return level**2 * math.log(2) / 6


@functools.cache
def _ladder() -> list[float]:
    return [step_size(index) for index in range(N_STEPS)]
