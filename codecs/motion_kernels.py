"""Coding of planes of small whole numbers that are mostly zero, compiled: the motion between frames.

A number is binarised as in `inrzip.codecs.cabac_kernels`. Whether it is zero is told in a context of its neighbours'
magnitudes and of what stands at its place in the plane before; all other bits have the contexts of a plane's class.
"""

from __future__ import annotations

from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.cabac_kernels import N_GROUPS, bit, frequency_of
from inrzip.codecs.kernels import Bytes, Integers, State, kernel, part

NEAR, BELOW = 5, 3
"""How many cases of neighbours, and of the plane before, there are."""
N_FLAGS = 14
NOT_ZERO = 0
POSITIVE = NOT_ZERO + NEAR * BELOW
"""By the signs of the numbers to the left and above."""
GREATER = POSITIVE + 9
PREFIX = GREATER + N_FLAGS
N_CONTEXTS = PREFIX + N_GROUPS
"""Contexts of a class of planes."""
RATE_FAST, RATE_SLOW = 4, 7
PRECISION = 24
_HALF = 1 << 15

Plane = Int[ndarray, "rows columns"]


@part
def _learned(mode: int, state: State, data: Bytes, costs: Integers, contexts: Integers, at: int, value: int) -> int:
    value = bit(mode, state, data, costs, frequency_of(contexts, at), value)
    target = value << PRECISION
    contexts[2 * at] += (target - contexts[2 * at]) >> RATE_FAST
    contexts[2 * at + 1] += (target - contexts[2 * at + 1]) >> RATE_SLOW
    return value


@part
def _sign(value: int) -> int:
    return 0 if value == 0 else 1 if value > 0 else 2


@part
def _rest(mode: int, state: State, data: Bytes, costs: Integers, contexts: Integers, at: int, rest: int) -> int:
    """What a magnitude exceeds the flags by, as an Exp-Golomb code; -1 for damage."""
    number, n = rest + 1, 0
    while True:
        more = _learned(mode, state, data, costs, contexts, at + PREFIX + n, 1 if number >> (n + 1) else 0)
        if more < 0:
            return -1
        if more == 0:
            break
        n += 1
        if n == N_GROUPS:
            return -1
    read = 1
    for i in range(n - 1, -1, -1):
        digit = bit(mode, state, data, costs, _HALF, (number >> i) & 1)
        if digit < 0:
            return -1
        read = read << 1 | digit
    return read - 1


@kernel("boolean(int64, int64[::1], uint8[::1], int64[::1], int64[:,::1], int64[:,::1], int64[::1], int64, boolean)")
def code_plane(
    mode: int,
    state: State,
    data: Bytes,
    costs: Integers,
    plane: Plane,
    before: Plane,
    contexts: Integers,
    at: int,
    predicted: bool,
) -> bool:
    """Prices, codes or reads a plane, whose class has its contexts from number `at` on. `before`: the plane that was
    coded before it, or zeros. `predicted`: numbers are told as differences to the median of those around them. Returns
    False for damage.
    """
    rows, columns = plane.shape
    for i in range(rows):
        for j in range(columns):
            left = plane[i, j - 1] if j > 0 else 0
            above = plane[i - 1, j] if i > 0 else 0
            right = plane[i - 1, j + 1] if i > 0 and j + 1 < columns else above
            if i == 0:
                right = left
            if j == 0:
                left = above
            guess = 0
            if predicted:
                low, high = min(left, above), max(left, above)
                if i == 0:
                    guess = left
                elif j == 0:
                    guess = above
                else:
                    guess = min(max(right, low), high)
                near = abs(left - above) + abs(above - right)
            else:
                near = abs(left) + abs(above) + abs(right)
            near = min(near, 2) if near < 3 else 3 if near < 6 else 4
            below = min(abs(before[i, j]), 2)
            value = plane[i, j] - guess
            found = _learned(
                mode, state, data, costs, contexts, at + NOT_ZERO + near * BELOW + below, 1 if value else 0
            )
            if found < 0:
                return False
            if found == 0:
                plane[i, j] = guess
                continue
            signs = 0 if predicted else 3 * _sign(left) + _sign(above)
            positive = _learned(mode, state, data, costs, contexts, at + POSITIVE + signs, 1 if value > 0 else 0)
            if positive < 0:
                return False
            magnitude, n = abs(value), 1
            while n <= N_FLAGS:
                greater = _learned(mode, state, data, costs, contexts, at + GREATER + n - 1, 1 if magnitude > n else 0)
                if greater < 0:
                    return False
                if greater == 0:
                    break
                n += 1
            if n > N_FLAGS:
                rest = _rest(mode, state, data, costs, contexts, at, magnitude - n)
                if rest < 0:
                    return False
                n += rest
            plane[i, j] = guess + n if positive else guess - n
    return True
