"""The probability model of exact samples, compiled: predictions, what a network makes of them, and decisions.

Whole numbers only, in 64 bits that wrap, divisions and shifts that round down: the same on every machine. See
docs/format.md, "Exact samples".
"""

from __future__ import annotations

from jaxtyping import Int, UInt8
from numpy import ndarray

from .context_tables import EXP_BITS, LOG_BITS, LOG_SIZE_BITS, LOGISTIC_BITS, LOGISTIC_REACH, LOGISTIC_STEP_BITS
from .kernels import State, kernel, part, put, put_bits, take, take_bits

Array = Int[ndarray, "..."]

COLLECT, ENCODE, DECODE = 0, 1, 2

FRACTION_BITS = 3
"""Predictions and errors are in 1/8 level."""
WEIGHT_BITS = 16
"""Weights of regressions."""
TABLE_BITS = 28
"""Normal equations are scaled to so many bits."""
FACTOR_BITS = 24
"""Factors of them are in 2^-24."""
LEAST_RIDGE = 16
"""Of 2^28: what rounding may do to the equations."""
MAX_WEIGHT = 16 << WEIGHT_BITS

SIGNED_LIMIT = 384
UNIT_BITS = 7
"""Features and activations are in 1/128."""
NETWORK_BITS = 10
"""Weights of networks are in 1/1024."""
MAX_ACTIVATION = 4095
LEAK_BITS = 3
COMPONENTS = 3
VALUE_BITS = 8
"""Means of components are in 1/256 level."""
SCALE_LIMIT = 8 << LOG_BITS
INVERSE_BITS = 24
"""Inverse scales are in 2^-24 of an inverse level."""
MAX_INVERSE = 1 << 29
MOST_COARSE, REGULAR_FROM = 8, 48
"""Once so many samples differed by multiples of 2^k, up to 2^8, the next is taken to do so."""
LAST, HABIT = 0, MOST_COARSE
"""Of `habits`: the last sample, then counts for each k, then, likewise, probabilities that it goes on."""
HABIT_BITS, HABIT_RATE = 22, 6
CUMULATIVE_BITS = 32
PROBABILITY_BITS = 16
LEAST = 24
"""Of 2^16: the smallest probability of a decision."""

MIXED, FLAT, RECALLED = 0, 1, 2
"""How the values of a plane are coded: under the network's curves; as they are; as those that followed the same
neighbours before, or, where that is wrong, under the network's curves.
"""
ORDERS = 3
"""Sets of neighbours by which values are recalled, from many to few."""
SLOT_BITS, HASH_BITS, HASH_FACTOR = 17, 32, 0x9E3779B1
CHECK, RECALL, COUNT, OTHER = 0, 1, 2, 3
"""Of what is remembered of neighbours: all bits of their hash, the value that followed, how sure it is, and the last
value besides, plus 1 (0: none).
"""
CANDIDATES = 2 * ORDERS
FOUND = CANDIDATES
"""Of what was asked for: up to so many candidates, and then the one that it was."""
SURE, SURE_BITS = 255, 8
"""The greatest count, and its bits."""
DOUBT_BITS = 2
"""A count is divided by 4 when another value follows."""
LEAST_MISSED = 3
"""Of 2^16: the smallest probability that a recalled value is right, or wrong."""
SEEN_LIMIT = 255

# of `numbers`
WIDTH, BITS, SPARE, DOWN, N_EARLIER, RIDGE, HOW = 0, 1, 2, 3, 4, 5, 6


@part
def log2(table: Array, n: int) -> int:
    """32 log2(n), of a number from 1 on."""
    shift = 0
    while n >> LOG_SIZE_BITS:
        n >>= 1
        shift += 1 << LOG_BITS
    found: int = table[n] + shift
    return found


@part
def scaled_power(table: Array, exponent: int, bits: int) -> int:
    """2^(exponent / 32) in 2^-bits."""
    whole = (exponent >> LOG_BITS) + bits - EXP_BITS
    value: int = table[exponent & ((1 << LOG_BITS) - 1)]
    if whole >= 0:
        return value << min(whole, 40)
    return value >> min(-whole, 40)


@part
def faded(memory: int, drop: int, back: int) -> int:
    """What is left of a sum: 1 - 2^-drop + 2^-back of it."""
    return memory - (memory >> drop) + (memory >> back)


@kernel("void(int64[:, ::1], int64[:, ::1], int64, int64)")
def spread_memory(below: Array, spread: Array, drop: int, back: int) -> None:
    """What is remembered of the rows above, for each column: `below` with its neighbours, the less the farther. The
    last row of `spread` is scratch.
    """
    width, n = below.shape
    for t in range(n):
        spread[0, t] = below[0, t]
        spread[width, t] = 0
    for x in range(1, width):
        for t in range(n):
            spread[x, t] = faded(spread[x - 1, t], drop, back) + below[x, t]
    for x in range(width - 1, -1, -1):
        for t in range(n):
            right = spread[width, t]
            spread[x, t] += right
            spread[width, t] = faded(right + below[x, t], drop, back)


@part
def solve(memory: Array, n: int, ridge: int, lower: Array, product: Array, half: Array, weights: Array) -> None:
    """Weights of a linear prediction from its normal equations (a packed lower triangle whose last row is the
    target's), by a factorisation in fixed point.
    """
    largest = 1
    for a in range(n):
        largest = max(largest, memory[(a * (a + 1) >> 1) + a])
    shift = 0
    while largest >> (TABLE_BITS + shift):
        shift += 1
    ridge = max(ridge >> shift, LEAST_RIDGE)
    for a in range(n):
        row = a * (a + 1) >> 1
        for b in range(a + 1):
            total = 0
            for k in range(b):
                total += product[a, k] * lower[b, k]
            entry = (memory[row + b] >> shift) - (total >> FACTOR_BITS)
            if a == b:
                half[a] = max(entry + ridge, ridge)
            else:
                product[a, b] = entry
                lower[a, b] = (entry << FACTOR_BITS) // half[b]
    row = n * (n + 1) >> 1
    for a in range(n):
        total = 0
        for k in range(a):
            total += lower[a, k] * product[n, k]
        product[n, a] = (memory[row + a] >> shift) - (total >> FACTOR_BITS)
    for a in range(n - 1, -1, -1):
        total = 0
        for k in range(a + 1, n):
            total += lower[k, a] * weights[k]
        weight = (product[n, a] << WEIGHT_BITS) // half[a] - (total >> FACTOR_BITS)
        weights[a] = min(max(weight, -MAX_WEIGHT), MAX_WEIGHT)


@part
def remember(memory: Array, values: Array, n: int, drop: int, spare: int) -> None:
    """Adds the products of a sample's values to what is remembered along a row."""
    for a in range(n + 1):
        row = a * (a + 1) >> 1
        value = values[a] << spare
        for b in range(a + 1):
            old = memory[row + b]
            memory[row + b] = old - (old >> drop) + value * values[b]


@part
def remember_both(memory: Array, column: Array, values: Array, n: int, drop: int, back: int, spare: int) -> None:
    """The same, along the row and down the column."""
    for a in range(n + 1):
        row = a * (a + 1) >> 1
        value = values[a] << spare
        for b in range(a + 1):
            new = value * values[b]
            memory[row + b] = faded(memory[row + b], drop, back) + new
            column[row + b] = faded(column[row + b], drop, back) + new


@part
def layer(inputs: Array, weights: Array, bias: Array, outputs: Array, n_in: int, n_out: int) -> None:
    """Sums of products, in 2^-17."""
    for j in range(n_out):
        outputs[j] = bias[j] << UNIT_BITS
    for i in range(n_in):
        value = inputs[i]
        for j in range(n_out):
            outputs[j] += value * weights[i, j]


@part
def bend(values: Array, n: int) -> None:
    """Back to 1/128, with a tenth of what is below 0, or so."""
    for j in range(n):
        value = values[j] >> NETWORK_BITS
        value = value if value >= 0 else value >> LEAK_BITS
        values[j] = min(max(value, -MAX_ACTIVATION), MAX_ACTIVATION)


@part
def mixture(outputs: Array, anchor: int, base: int, log_base: int, logs_powers: Array, parts: Array) -> int:
    """The components' weights, means and inverse scales, from a network's outputs; returns the mean of all."""
    best = outputs[0]
    for k in range(1, COMPONENTS):
        best = max(best, outputs[k])
    total = 0
    for k in range(COMPONENTS):
        weight = scaled_power(logs_powers, (outputs[k] - best) >> (UNIT_BITS + NETWORK_BITS - LOG_BITS), EXP_BITS)
        parts[0, k] = weight
        total += weight
    mean, left = 0, 1 << PROBABILITY_BITS
    for k in range(COMPONENTS):
        weight = left if k == COMPONENTS - 1 else (parts[0, k] << PROBABILITY_BITS) // total
        left -= weight
        parts[0, k] = weight
        shift = min(max(outputs[COMPONENTS + k] >> UNIT_BITS, -(1 << 14)), 1 << 14)  # in 1/1024
        parts[1, k] = (anchor << (VALUE_BITS - FRACTION_BITS)) + (base * shift >> (6 + NETWORK_BITS - VALUE_BITS))
        scale = outputs[2 * COMPONENTS + k] >> (UNIT_BITS + NETWORK_BITS - LOG_BITS)
        inverse = scaled_power(logs_powers, -log_base - min(max(scale, -SCALE_LIMIT), SCALE_LIMIT), INVERSE_BITS)
        parts[2, k] = min(max(inverse, 1), MAX_INVERSE)
        mean += weight * parts[1, k]
    return mean >> PROBABILITY_BITS


@part
def below(parts: Array, curve: Array, value: int, bits: int) -> int:
    """The probability of samples below `value`, in 2^-32."""
    if value <= 0:
        return 0
    if value >> bits:
        return 1 << CUMULATIVE_BITS
    point = (value << VALUE_BITS) - (1 << (VALUE_BITS - 1))
    total = 0
    limit = LOGISTIC_REACH << 12
    for k in range(COMPONENTS):
        z = (point - parts[1, k]) * parts[2, k] >> 20
        z = min(max(z, -limit), limit) + limit
        place = z >> (12 - LOGISTIC_STEP_BITS)
        rest = z & ((1 << (12 - LOGISTIC_STEP_BITS)) - 1)
        low = curve[place]
        total += parts[0, k] * (low + ((curve[place + 1] - low) * rest >> (12 - LOGISTIC_STEP_BITS)))
    total >>= LOGISTIC_BITS + PROBABILITY_BITS - CUMULATIVE_BITS
    return total - (total >> 12) + (value << 20 >> bits)


@part
def decide(mode: int, state: State, data: UInt8[ndarray, " bytes"], p: int, bit: int) -> int:
    """Codes a decision of which `bit` 0 has the probability p / 2^16, or reads it: -1 where the data are damaged."""
    if mode == ENCODE:
        if bit:
            put(state, data, p, (1 << PROBABILITY_BITS) - p, PROBABILITY_BITS)
        else:
            put(state, data, 0, p, PROBABILITY_BITS)
        return bit
    unit = state[1] >> PROBABILITY_BITS
    point = state[0] // unit
    if point >> PROBABILITY_BITS:
        return -1
    bit = 0 if point < p else 1
    fine = take(state, data, p, (1 << PROBABILITY_BITS) - p, unit) if bit else take(state, data, 0, p, unit)
    return bit if fine else -1


@part
def split(
    mode: int,
    state: State,
    data: UInt8[ndarray, " bytes"],
    parts: Array,
    curve: Array,
    interval: Array,
    middle: int,
    coarse: int,
    rest: int,
    bits: int,
    value: int,
) -> int:
    """Whether the sample, one of `rest` + 2^`coarse` n, has an n from `middle` on, given that it is in `interval`
    (first n, last and one, and the probabilities of what is below them), which is cut down to that part. -1 where the
    data are damaged.
    """
    border = rest + (middle << coarse) - (1 << coarse >> 1)
    cut = below(parts, curve, border, bits)
    whole = interval[3] - interval[2]
    p = ((cut - interval[2]) << PROBABILITY_BITS) // whole if whole > 0 else 1 << (PROBABILITY_BITS - 1)
    p = min(max(p, LEAST), (1 << PROBABILITY_BITS) - LEAST)
    bit = decide(mode, state, data, p, 1 if value >= border else 0)
    if bit == 1:
        interval[0] = middle
        interval[2] = cut
    else:
        interval[1] = middle
        interval[3] = cut
    return bit


@part
def code_sample(
    mode: int,
    state: State,
    data: UInt8[ndarray, " bytes"],
    parts: Array,
    curve: Array,
    interval: Array,
    mean: int,
    coarse: int,
    rest: int,
    bits: int,
    value: int,
) -> int:
    """Codes `value`, or reads it: first on which side of the mean, then how far, in buckets of growing size, then where
    in its bucket. -1 where the data are damaged.
    """
    n_values = (((1 << bits) - 1 - rest) >> coarse) + 1
    pivot = ((mean + (1 << (VALUE_BITS - 1)) >> VALUE_BITS) - rest + (1 << coarse >> 1)) >> coarse
    pivot = min(max(pivot, 0), n_values - 1)
    interval[0] = 0
    interval[1] = n_values
    interval[2] = 0
    interval[3] = 1 << CUMULATIVE_BITS
    side = 1
    if pivot > 0:
        side = split(mode, state, data, parts, curve, interval, pivot, coarse, rest, bits, value)
    step, size, first = side, 1, side == 1
    while step == side and step >= 0 and interval[1] - interval[0] > size:
        middle = interval[0] + size if side == 1 else interval[1] - size
        step = split(mode, state, data, parts, curve, interval, middle, coarse, rest, bits, value)
        size = size if first else size << 1  # on the upper side, the mean itself is a bucket
        first = False
    while step >= 0 and interval[1] - interval[0] > 1:
        middle = (interval[0] + interval[1]) >> 1
        step = split(mode, state, data, parts, curve, interval, middle, coarse, rest, bits, value)
    return rest + (interval[0] << coarse) if step >= 0 else -1


@part
def code_regular(
    mode: int, state: State, data: UInt8[ndarray, " bytes"], habits: Array, coarse: int, value: int
) -> int:
    """Whether a sample goes on to differ from the one before by a multiple of 2^coarse, as those before it did: coded
    with a probability that learns. -1 where the data are damaged.
    """
    p = habits[HABIT + coarse] >> (HABIT_BITS - PROBABILITY_BITS)
    p = min(max(p, LEAST), (1 << PROBABILITY_BITS) - LEAST)
    bit = decide(mode, state, data, p, 0 if (value - habits[LAST]) & ((1 << coarse) - 1) == 0 else 1)
    target = 0 if bit else (1 << HABIT_BITS) - 1
    habits[HABIT + coarse] += (target - habits[HABIT + coarse]) >> HABIT_RATE
    return bit


@part
def notice(habits: Array, value: int) -> None:
    """Counts since when samples have differed by multiples of 2, 4, .. only; equal ones say nothing."""
    step = value - habits[LAST]
    habits[LAST] = value
    for k in range(1, MOST_COARSE + 1):
        if step & ((1 << k) - 1):
            habits[k] = 0
        elif step:
            habits[k] += 1


@part
def code_flat(mode: int, state: State, data: UInt8[ndarray, " bytes"], bits: int, value: int) -> int:
    """Codes a value as it is, or reads it: -1 where the data are damaged."""
    if mode == ENCODE:
        put_bits(state, data, value, bits)
        return value
    found: int = take_bits(state, data, bits)
    return found


@part
def hash_neighbours(planes: Array, place: int, recalled_at: Array, slots: Array) -> None:
    """A number of `HASH_BITS` for each set of neighbours; `recalled_at` begins with how many there are."""
    for order in range(ORDERS):
        mixed = 0
        for k in range(1, 1 + recalled_at[order, 0]):
            mixed = ((mixed + planes[place + recalled_at[order, k]] + 1) * HASH_FACTOR) & ((1 << HASH_BITS) - 1)
        slots[order] = mixed


@part
def recall(
    mode: int,
    state: State,
    data: UInt8[ndarray, " bytes"],
    slots: Array,
    recalled: Array,
    chances: Array,
    asked: Array,
    value: int,
) -> int:
    """Whether the sample is what followed the same neighbours before, of which there are up to `CANDIDATES`: 1 if it is
    one, `asked[FOUND]`, 0 if not. -1 where the data are damaged. Looking on, nothing is coded.
    """
    tried = 0
    for turn in range(2):
        for order in range(ORDERS):
            place = slots[order] >> (HASH_BITS - SLOT_BITS)
            count = recalled[order, place, COUNT]
            candidate = recalled[order, place, RECALL] if turn == 0 else recalled[order, place, OTHER] - 1
            fresh = count > 0 and recalled[order, place, CHECK] == slots[order] and candidate >= 0
            for k in range(tried):
                fresh = fresh and asked[k] != candidate
            if fresh:
                asked[tried] = candidate
                asked[FOUND] = candidate
                bit = 0 if candidate == value else 1
                if mode != COLLECT:
                    length = 0
                    while count >> length:
                        length += 1
                    number = ((turn * ORDERS + order) * CANDIDATES + tried) * SURE_BITS + length - 1
                    p = chances[number, 0] >> (HABIT_BITS - PROBABILITY_BITS)
                    p = min(max(p, LEAST_MISSED), (1 << PROBABILITY_BITS) - LEAST_MISSED)
                    bit = decide(mode, state, data, p, bit)
                    if bit < 0:
                        return -1
                    target = 0 if bit else (1 << HABIT_BITS) - 1
                    seen = chances[number, 1]
                    chances[number, 0] += ((target - chances[number, 0]) * ((1 << 17) // (2 * seen + 3))) >> 16
                    chances[number, 1] = min(seen + 1, SEEN_LIMIT)
                if bit == 0:
                    return 1
                tried += 1
    return 0


@part
def remember_value(slots: Array, recalled: Array, value: int) -> None:
    """That this value followed these neighbours."""
    for order in range(ORDERS):
        place = slots[order] >> (HASH_BITS - SLOT_BITS)
        if recalled[order, place, COUNT] == 0 or recalled[order, place, CHECK] != slots[order]:
            recalled[order, place, CHECK] = slots[order]
            recalled[order, place, RECALL] = value
            recalled[order, place, COUNT] = 1
            recalled[order, place, OTHER] = 0
        elif recalled[order, place, RECALL] == value:
            recalled[order, place, COUNT] = min(recalled[order, place, COUNT] + 1, SURE)
        else:
            recalled[order, place, COUNT] >>= DOUBT_BITS
            if recalled[order, place, COUNT] == 0:
                recalled[order, place, OTHER] = recalled[order, place, RECALL] + 1
                recalled[order, place, RECALL] = value
                recalled[order, place, COUNT] = 1
            else:
                recalled[order, place, OTHER] = value + 1


@kernel("int64(int64, int64, int32[::1], int64[:, ::1], int64[:, :, ::1], int64[:, ::1], int64[::1], uint8[::1])")
def count_recalled(
    width: int,
    at: int,
    planes: Array,
    recalled_at: Array,
    recalled: Array,
    chances: Array,
    scratch: Array,
    data: UInt8[ndarray, " bytes"],
) -> int:
    """How many values of a row are what followed the same neighbours before."""
    slots = scratch[:ORDERS]
    asked = scratch[ORDERS : ORDERS + CANDIDATES + 1]
    n = 0
    for x in range(width):
        hash_neighbours(planes, at + x, recalled_at, slots)
        n += recall(COLLECT, scratch, data, slots, recalled, chances, asked, planes[at + x])
        remember_value(slots, recalled, planes[at + x])
    return n


@kernel(
    "int64(int64, int64[::1], int64[::1], int64, int32[::1], int32[::1], int32[::1],"
    "int64[:, ::1], int64[:, ::1], int64[:, :, ::1], int64[:, ::1],"
    "int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[:, ::1],"
    "int64[::1], int64[::1], int64[::1], int64[:, ::1],"
    "int64[:, ::1], int64[::1], int64[:, ::1], int64[::1], int64[:, ::1], int64[::1],"
    "int64[::1], int64[::1], int64[::1], int64[::1],"
    "int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[::1],"
    "int64[:, ::1], int64[:, :, ::1], int64[:, ::1],"
    "int64[::1], uint8[::1], int16[:, ::1], int32[:, ::1])"
)
def code_row(
    mode: int,
    numbers: Array,
    counts: Array,
    at: int,
    planes: Array,
    errors: Array,
    others: Array,
    reach: Array,
    group: Array,
    centres: Array,
    rules: Array,
    memory: Array,
    spread: Array,
    columns: Array,
    weights: Array,
    errors_at: Array,
    own_at: Array,
    later_at: Array,
    around_at: Array,
    w1: Array,
    b1: Array,
    w2: Array,
    b2: Array,
    w3: Array,
    b3: Array,
    logs: Array,
    exps: Array,
    curve: Array,
    scratch: Array,
    values: Array,
    lower: Array,
    product: Array,
    parts: Array,
    habits: Array,
    recalled_at: Array,
    recalled: Array,
    chances: Array,
    state: State,
    data: UInt8[ndarray, " bytes"],
    features: Array,
    targets: Array,
) -> int:
    """Codes, reads or looks at one row of a plane, whose first sample is at `at`. False where the data are damaged."""
    width = numbers[WIDTH]
    bits = numbers[BITS]
    spare = numbers[SPARE]
    earlier = numbers[N_EARLIER]
    top = ((1 << bits) - 1) << FRACTION_BITS
    n_hidden = w1.shape[1]
    n_seen = own_at.shape[0]
    n_errors = errors_at.shape[0]
    n_later = later_at.shape[0]
    n_inputs = w1.shape[0]
    means = scratch[500:564]
    half = scratch[8:72]
    inputs = scratch[72:200]
    hidden = scratch[200:328]
    hidden2 = scratch[328:456]
    outputs = scratch[456:488]
    interval = scratch[488:492]
    predictions = scratch[494:498]
    slots = scratch[564:568]
    asked = scratch[568:576]
    how = numbers[HOW]
    for x in range(width):
        p = at + x
        for e in range(2):
            n = counts[e]
            for g in range(counts[2 + e]):
                means[g] = (
                    planes[p + centres[e, g, 0]]
                    + planes[p + centres[e, g, 1]]
                    + planes[p + centres[e, g, 2]]
                    + planes[p + centres[e, g, 3]]
                ) >> 2
            for k in range(n):
                values[e, k] = planes[p + reach[e, k]] - means[group[e, k]]
            values[e, n] = means[0]
            if x % rules[e, 2] == 0:
                if e == 0 and numbers[DOWN] > 0:
                    for t in range((n + 1) * (n + 2) >> 1):
                        columns[0, t] = spread[x, t] + memory[0, t]
                    solve(columns[0], n, numbers[RIDGE], lower, product, half, weights[0])
                else:
                    solve(memory[e], n, numbers[RIDGE], lower, product, half, weights[e])
            total = means[0] << FRACTION_BITS + WEIGHT_BITS - FRACTION_BITS
            for k in range(n):
                total += weights[e, k] * values[e, k]
            predictions[e] = min(max(total >> (WEIGHT_BITS - FRACTION_BITS), 0), top)
        anchor = predictions[0]
        gap = predictions[1] - anchor
        e0 = abs(errors[p + errors_at[0]])
        e1 = abs(errors[p + errors_at[1]])
        e2 = abs(errors[p + errors_at[2]])
        e3 = abs(errors[p + errors_at[3]])
        e4 = abs(errors[p + errors_at[4]])
        e5 = abs(errors[p + errors_at[5]])
        e6 = abs(errors[p + errors_at[6]])
        base = ((4 * (e0 + e1) + 2 * (e2 + e3) + e4 + e5 + e6) << 3) // 15 + 22  # in 1/64
        log_base = log2(logs, base)
        f = 0
        inputs[f] = (gap << 9) // base
        f += 1
        for k in range(n_seen):
            inputs[f] = (((planes[p + own_at[k]] << FRACTION_BITS) - anchor) << 9) // base
            f += 1
        inputs[f] = (errors[p + errors_at[0]] << 9) // base
        inputs[f + 1] = (errors[p + errors_at[1]] << 9) // base
        inputs[f + 2] = (errors[p + errors_at[3]] << 9) // base
        f += 3
        for q in range(earlier):
            place = p + around_at[q, 0]
            inputs[f] = (errors[place] << 9) // base
            f += 1
            for k in range(n_later):
                inputs[f] = (errors[place + later_at[k]] << 9) // base
                f += 1
        for k in range(f):
            inputs[k] = min(max(inputs[k], -SIGNED_LIMIT), SIGNED_LIMIT)
        start = f
        for k in range(n_errors):
            inputs[f] = log2(logs, abs(errors[p + errors_at[k]]) + 2)
            f += 1
        inputs[f] = log2(logs, others[p + errors_at[0]] + 2)
        inputs[f + 1] = log2(logs, others[p + errors_at[1]] + 2)
        inputs[f + 2] = log2(logs, others[p + errors_at[3]] + 2)
        inputs[f + 3] = log2(logs, abs(gap) + 2)
        inputs[f + 4] = log2(
            logs,
            (
                (
                    abs(planes[p + own_at[0]] - planes[p + own_at[2]])
                    + abs(planes[p + own_at[1]] - planes[p + own_at[3]])
                    + abs(planes[p + own_at[1]] - planes[p + own_at[2]])
                )
                << FRACTION_BITS
            )
            + 4,
        )
        f += 5
        for q in range(earlier):
            place = p + around_at[q, 0]
            inputs[f] = log2(logs, abs(errors[place]) + 2)
            f += 1
            for k in range(n_later):
                inputs[f] = log2(logs, abs(errors[place + later_at[k]]) + 2)
                f += 1
            inputs[f] = log2(
                logs,
                abs(errors[place + around_at[q, 1] - around_at[q, 0]])
                + abs(errors[place + around_at[q, 2] - around_at[q, 0]])
                + abs(errors[place + around_at[q, 3] - around_at[q, 0]])
                + abs(errors[place + around_at[q, 4] - around_at[q, 0]])
                + 2,
            )
            f += 1
        for k in range(start, f):
            inputs[k] = 2 * inputs[k] - 256
        inputs[f] = 4 * log_base - 768
        inputs[f + 1] = (anchor << (UNIT_BITS + 1)) // (top + 1) - (1 << UNIT_BITS)
        value = planes[p]
        known = 0
        if how == RECALLED:
            hash_neighbours(planes, p, recalled_at, slots)
            known = recall(mode, state, data, slots, recalled, chances, asked, value)
            if known < 0:
                return 0
        if mode == COLLECT:
            for k in range(n_inputs):
                features[x, k] = inputs[k]
            targets[x, 0] = anchor
            targets[x, 1] = base
            targets[x, 2] = value
            targets[x, 3] = known
        elif how == FLAT:
            value = code_flat(mode, state, data, bits, value)
            if value < 0:
                return 0
        elif known > 0:
            value = asked[FOUND]
        else:
            layer(inputs, w1, b1, hidden, n_inputs, n_hidden)
            bend(hidden, n_hidden)
            layer(hidden, w2, b2, hidden2, n_hidden, n_hidden)
            bend(hidden2, n_hidden)
            layer(hidden2, w3, b3, outputs, n_hidden, 3 * COMPONENTS)
            mean = mixture(outputs, anchor, base, log_base - (6 << LOG_BITS), exps, parts)
            coarse = MOST_COARSE
            while coarse and habits[coarse] < REGULAR_FROM:
                coarse -= 1
            if coarse:
                other = code_regular(mode, state, data, habits, coarse, value)
                if other < 0:
                    return 0
                coarse = 0 if other else coarse
            rest = habits[LAST] & ((1 << coarse) - 1)
            value = code_sample(mode, state, data, parts, curve, interval, mean, coarse, rest, bits, value)
            if value < 0:
                return 0
        if how == RECALLED:
            remember_value(slots, recalled, value)
        notice(habits, value)
        planes[p] = value
        errors[p] = (value << FRACTION_BITS) - anchor
        others[p] = abs((value << FRACTION_BITS) - predictions[1])
        for e in range(2):
            n = counts[e]
            values[e, n] = value - values[e, n]
            if e == 0 and numbers[DOWN] > 0:
                remember_both(memory[0], columns[1 + x], values[0], n, rules[0, 0], rules[0, 1], spare)
            else:
                remember(memory[e], values[e], n, rules[e, 0], spare)
    return 1
