"""Context-adaptive binary arithmetic coding of integers, compiled: the loops that code, read, price and round.

An integer is binarised as in DeepCABAC (Wiedemann et al., 2020) and NNC (ISO/IEC 15938-17): is it other than 0; is it
positive; is its magnitude greater than 1, 2, .. `N_FLAGS`; the rest as an Exp-Golomb code of order 0. All of these bits
but the lower ones of the code's suffix have contexts. A context holds two estimates of the probability of a 1, in
`1 / 2**PRECISION`, which move towards each bit by a small part of the way, one more slowly; their mean codes.
"""

from __future__ import annotations

import math

from jaxtyping import Float
from numpy import ndarray

from inrzip.codecs.kernels import CODE, RANGE, Bytes, Integers, State, kernel, part, put, take

PRECISION = 24
N_FLAGS = 10
N_GROUPS = 35  # of the Exp-Golomb code
MAX_BITS = 2 + N_FLAGS + 2 * N_GROUPS  # that a value takes

# where the contexts of each bit start
NOT_ZERO = 0  # by the sign of the value before
POSITIVE = NOT_ZERO + 3  # likewise
GREATER = POSITIVE + 3  # by the number of the flag
PREFIX = GREATER + N_FLAGS
SUFFIX = PREFIX + N_GROUPS  # the highest bit of a suffix, by the number of its bits
N_CONTEXTS = SUFFIX + N_GROUPS

PRICE, ENCODE, DECODE = 0, 1, 2  # what `bit` does; a price is summed up in `state`
SUM = 0
_HALF = 1 << 15
_LEAST = 16  # of a frequency out of 2^16


@part
def bit(mode: int, state: State, data: Bytes, costs: Integers, frequency: int, value: int) -> int:
    """Prices, codes or reads one bit; `frequency` is that of a 1, out of 2^16. Returns the bit, or -1 for damage."""
    if mode == PRICE:
        state[SUM] += costs[frequency if value else 65536 - frequency]
    elif mode == ENCODE:
        if value:
            put(state, data, 0, frequency, 16)
        else:
            put(state, data, frequency, 65536 - frequency, 16)
    else:
        unit = state[RANGE] >> 16
        if state[CODE] >= unit << 16:
            return -1
        value = 1 if state[CODE] < frequency * unit else 0
        if value:
            sound = take(state, data, 0, frequency, unit)
        else:
            sound = take(state, data, frequency, 65536 - frequency, unit)
        if not sound:
            return -1
    return value


@part
def frequency_of(contexts: Integers, at: int) -> int:
    """The frequency of a 1 in context number `at`, out of 2^16."""
    frequency: int = (contexts[2 * at] + contexts[2 * at + 1]) >> (PRECISION - 15)
    return min(max(frequency, _LEAST), 65536 - _LEAST)


@part
def context_bit(
    mode: int, state: State, data: Bytes, costs: Integers, contexts: Integers, rates: Integers, at: int, value: int
) -> int:
    """A bit in context number `at`, which learns it."""
    value = bit(mode, state, data, costs, frequency_of(contexts, at), value)
    target = value << PRECISION
    contexts[2 * at] += (target - contexts[2 * at]) >> rates[0]
    contexts[2 * at + 1] += (target - contexts[2 * at + 1]) >> rates[1]
    return value


@part
def code_rest(
    mode: int, state: State, data: Bytes, costs: Integers, contexts: Integers, rates: Integers, rest: int
) -> int:
    """What a magnitude exceeds the flags by; -1 for damage."""
    number = rest + 1
    n = 0
    while True:
        more = context_bit(mode, state, data, costs, contexts, rates, PREFIX + n, 1 if number >> (n + 1) else 0)
        if more < 0:
            return -1
        if more == 0:
            break
        n += 1
        if n == N_GROUPS:
            return -1
    read = 1
    for i in range(n - 1, -1, -1):
        digit = (number >> i) & 1
        if i == n - 1:
            digit = context_bit(mode, state, data, costs, contexts, rates, SUFFIX + n, digit)
        else:
            digit = bit(mode, state, data, costs, _HALF, digit)
        if digit < 0:
            return -1
        read = read << 1 | digit
    return read - 1


@part
def code_value(
    mode: int, state: State, data: Bytes, costs: Integers, contexts: Integers, rates: Integers, before: int, value: int
) -> tuple[bool, int]:
    """A value after one of the sign `before` (0 for 0, 1 for positive, 2 for negative): sound or not, and the value."""
    not_zero = context_bit(mode, state, data, costs, contexts, rates, NOT_ZERO + before, 1 if value else 0)
    if not_zero <= 0:
        return not_zero == 0, 0
    positive = context_bit(mode, state, data, costs, contexts, rates, POSITIVE + before, 1 if value > 0 else 0)
    magnitude = abs(value)
    n = 1
    greater = 1
    while greater == 1 and n <= N_FLAGS:
        greater = context_bit(mode, state, data, costs, contexts, rates, GREATER + n - 1, 1 if magnitude > n else 0)
        n += greater
    if greater == 1:
        rest = code_rest(mode, state, data, costs, contexts, rates, magnitude - n)
        if rest < 0:
            return False, 0
        n += rest
    return positive >= 0 and greater >= 0, n if positive == 1 else -n


@kernel("boolean(int64, int64[::1], uint8[::1], int64[::1], int64[::1], int64[::1], int64, int64[::1])")
def code_values(
    mode: int,
    state: State,
    data: Bytes,
    costs: Integers,
    contexts: Integers,
    rates: Integers,
    before: int,
    values: Integers,
) -> bool:
    """Prices, codes or reads `values`, magnitudes below 2^33. False where the data are damaged."""
    for i in range(len(values)):
        sound, value = code_value(mode, state, data, costs, contexts, rates, before, values[i])
        if not sound:
            return False
        values[i] = value
        before = 0 if value == 0 else 1 if value > 0 else 2
    return True


@part
def value_price(costs: Integers, contexts: Integers, before: int, value: int) -> int:
    """What a value would cost after one of the sign `before`, in 1 / 4096 bit; contexts stay as they are."""
    frequency = frequency_of(contexts, NOT_ZERO + before)
    if value == 0:
        return price_of(costs, frequency, 0)
    cost = price_of(costs, frequency, 1)
    cost += price_of(costs, frequency_of(contexts, POSITIVE + before), 1 if value > 0 else 0)
    magnitude = abs(value)
    for n in range(1, min(magnitude, N_FLAGS) + 1):
        cost += price_of(costs, frequency_of(contexts, GREATER + n - 1), 1 if magnitude > n else 0)
    if magnitude > N_FLAGS:
        number, n = magnitude - N_FLAGS, 0
        while number >> (n + 1):
            cost += price_of(costs, frequency_of(contexts, PREFIX + n), 1)
            n += 1
        cost += price_of(costs, frequency_of(contexts, PREFIX + n), 0)
        if n:
            cost += price_of(costs, frequency_of(contexts, SUFFIX + n), (number >> (n - 1)) & 1)
            cost += (n - 1) * costs[_HALF]
    return cost


@part
def price_of(costs: Integers, frequency: int, value: int) -> int:
    """What a bit costs; `frequency` is that of a 1."""
    price: int = costs[frequency if value else 65536 - frequency]
    return price


@kernel("void(int64[::1], uint8[::1], int64[::1], int64[::1], int64[::1], float64[::1], float64, int64[::1])")
def round_values(
    state: State,
    data: Bytes,
    costs: Integers,
    contexts: Integers,
    rates: Integers,
    targets: Float[ndarray, " n"],
    slope: float,
    values: Integers,
) -> None:
    """Fills `values`: of the two integers beside each target, and 0, that with the least squared error plus `slope`
    times its price, which is in 1 / 4096 bit. The contexts learn from it before the next one. `state` and `data` are
    those of pricing.
    """
    before = 0
    for i in range(len(targets)):
        low = math.floor(targets[i])
        best, least = 0, math.inf
        for candidate in (low, low + 1, 0):
            error = candidate - targets[i]
            cost = error * error + slope * value_price(costs, contexts, before, candidate)
            if cost < least:
                best, least = candidate, cost
        code_value(PRICE, state, data, costs, contexts, rates, before, best)
        values[i] = best
        before = 0 if best == 0 else 1 if best > 0 else 2
