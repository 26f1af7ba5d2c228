"""Predictive coding of a four-dimensional tensor of integers, compiled: the loop that codes, reads and prices.

Each value is expected to come from a bell curve. Its centre is a linear prediction from the value before along each
axis; the logarithm of its scale is the sum of one effect of the whole tensor and one of the value's index along each
axis, which all follow the data like a Kalman filter: from each value comes a score, the derivative of its own
logarithmic probability, and each effect moves by it in proportion to its variance, which shrinks.

The value, less the index nearest to the prediction, is binarised as in DeepCABAC: is it other than 0; is it positive;
its magnitude as an Exp-Golomb code of order 0. The curve gives the probability of each bit; what has been seen of
earlier bits of the same kind bends it: its logit is multiplied by a weight, and a bias added, and both follow the
gradient of the cost, as in logistic mixing (Mahoney, "Adaptive weighing of context models for lossless data
compression", 2005).

With trellis-coded levels (`inrzip.codecs.trellis`) a state says which of two quantisers an index is of, and so how wide
the interval of values is that it stands for.
"""

from __future__ import annotations

from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.cabac_kernels import PRICE, bit
from inrzip.codecs.kernels import Bytes, Integers, State, kernel, part
from inrzip.priors.bell_curves import CURVE_BITS, LENGTH, MAX_LOGIT, PROBABILITY_BITS

Rows = Int[ndarray, "2 n"]
Tables = tuple[Integers, Integers, Integers, Integers, Integers, Integers]
Shape = tuple[int, int, int, int]

UNIFORM, EVEN, ODD = 0, 1, 2  # quantisers: all integers; the even ones; the odd ones and 0
TRANSITIONS = (0, 2, 7, 5, 1, 3, 6, 4, 2, 0, 5, 7, 3, 1, 4, 6)  # from state s, by parity p: to number 2 s + p
FRACTION = 6  # bits after the point of predictions
LOG_BITS = 24  # of scales' base 2 logarithms, and of variances
SCORE_BITS = 12
WEIGHT_BITS = 16
MAX_SCORE = 3 << SCORE_BITS  # a value far out says no more than this
MAX_MEMORY = 3 << (SCORE_BITS - 1)  # what a neighbour's score may add up to
MIN_LOG = -(5 << LOG_BITS)
MAX_LOG = 33 << LOG_BITS
DRIFT = 168  # what the variance of the tensor's effect gains with each value: 1e-5
N_GROUPS = 35  # of the Exp-Golomb code
MAX_BITS = 2 + 2 * N_GROUPS  # that a value takes
MAX_INDEX = (1 << 31) - 1
_MAX_CENTRE = 1 << (31 + FRACTION)
MAX_ERROR = 1 << 30  # in rounding: squares stay below 2^60
_LEAST_CHANCE_BITS = 8  # of rounding: nothing costs more than 39 bits
_BIT = 4096

# where the weights of each kind of bit start; those of an Exp-Golomb code's suffix are counted by the number that the
# bit asks for, where that is small
NOT_ZERO, POSITIVE, PREFIX = 0, 1, 2
SMALL_SUFFIX = PREFIX + N_GROUPS
SMALL = 32
LARGE_SUFFIX = SMALL_SUFFIX + SMALL  # highest bits, by the length of the suffix
OTHER = LARGE_SUFFIX + N_GROUPS
N_KINDS = OTHER + 1  # for each quantiser

# entries of `settings`
COEFFICIENTS, CONSTANT, LOCALITY, INFORMATION, DEPENDENT, PAIRED, TRACED, SLOPE = 0, 4, 5, 6, 7, 8, 9, 10

ROUND = 3  # beside the modes of `inrzip.codecs.cabac_kernels`: chooses indices, and prices them
TARGET_BITS = 16  # after the point of what is rounded, in steps
SLOPE_BITS = 2 * TARGET_BITS - 12  # of slopes, for costs in 1 / 4096 bit


@part
def value_of(index: int, quantiser: int) -> int:
    """What an index stands for, in steps."""
    if quantiser == UNIFORM:
        return index
    if quantiser == EVEN or index == 0:
        return 2 * index
    return 2 * index - 1 if index > 0 else 2 * index + 1


@part
def lower_edge(index: int, quantiser: int) -> int:
    """Twice the lower end of the interval of values that are nearest to an index's, in steps."""
    if quantiser == UNIFORM:
        return 2 * index - 1
    if quantiser == EVEN:
        return 4 * index - 2
    if index > 1:
        return 4 * index - 4
    if index < 0:
        return 4 * index
    return 2 * index - 1


@part
def nearest_index(centre: int, quantiser: int) -> int:
    """The index whose value is nearest to a prediction."""
    half = 1 << (FRACTION - 1)
    if quantiser == UNIFORM:
        return (centre + half) >> FRACTION
    if quantiser == EVEN:
        return (centre + 2 * half) >> (FRACTION + 1)
    if abs(centre) < half:
        return 0
    magnitude = (abs(centre) + 4 * half) >> (FRACTION + 1)
    return magnitude if centre > 0 else -magnitude


@part
def side_distance(centre: int, middle: int, positive: bool, magnitude: int, quantiser: int) -> int:
    """How far from the centre the indices begin that differ from `middle` by a magnitude or more, on one side."""
    if positive:
        return (lower_edge(middle + magnitude, quantiser) << (FRACTION - 1)) - centre
    return centre - (lower_edge(middle - magnitude + 1, quantiser) << (FRACTION - 1))


@part
def on_curve(curve: Integers, distance: int, inverse: int, shift: int) -> int:
    """A curve at a distance from its centre, interpolated; 0 beyond its table."""
    x = (distance * inverse) >> shift
    i = x >> 10
    if i >= LENGTH - 1:
        return 0
    value: int = curve[i] + (((curve[i + 1] - curve[i]) * (x & 1023)) >> 10)
    return value


@part
def curve_bit(
    mode: int,
    state: State,
    data: Bytes,
    tables: Tables,
    weights: Rows,
    kind: int,
    share: int,
    whole: int,
    value: int,
) -> int:
    """A bit whose probability is `share / whole` by the curve; -1 for damage."""
    costs, logits, frequencies = tables[0], tables[1], tables[2]
    chance = (share << PROBABILITY_BITS) // whole if whole > 0 else 1 << (PROBABILITY_BITS - 1)
    logit = logits[min(max(chance, 0), 1 << PROBABILITY_BITS)]
    bent = (weights[0, kind] * logit + weights[1, kind]) >> WEIGHT_BITS
    frequency = frequencies[min(max(bent, -MAX_LOGIT), MAX_LOGIT) + MAX_LOGIT]
    value = bit(mode, state, data, costs, frequency, value)
    error = (value << 16) - frequency
    weights[0, kind] += (error * logit + (1 << 15)) >> 16  # about 1/500 of the gradient
    weights[1, kind] += error >> 5
    return value


@part
def code_magnitude(
    mode: int,
    state: State,
    data: Bytes,
    tables: Tables,
    weights: Rows,
    kind: int,
    place: tuple[int, int, int, bool, int, int],
    low: int,
    magnitude: int,
) -> tuple[int, int]:
    """A magnitude of at least 1, or 0 for damage; and the score. `low`: the chance that it is at least 1."""
    centre, middle, quantiser, positive, inverse, shift = place
    chances, moments = tables[4], tables[5]
    n = 0
    while True:
        high = on_curve(chances, side_distance(centre, middle, positive, 2 << n, quantiser), inverse, shift)
        longer = 1 if magnitude >> (n + 1) else 0
        longer = curve_bit(mode, state, data, tables, weights, kind + PREFIX + n, high, low, longer)
        if longer == 0:
            break
        low = high
        n += 1
        if longer < 0 or n == N_GROUPS:
            return 0, 0
    first = 1 << n
    for i in range(n - 1, -1, -1):
        half = first + (1 << i)
        between = on_curve(chances, side_distance(centre, middle, positive, half, quantiser), inverse, shift)
        which = SMALL_SUFFIX + half if half < SMALL else LARGE_SUFFIX + n if i == n - 1 else OTHER
        upper = (magnitude >> i) & 1
        share, whole = between - high, low - high
        upper = curve_bit(mode, state, data, tables, weights, kind + which, share, whole, upper)
        if upper < 0:
            return 0, 0
        if upper == 1:
            low, first = between, half
        else:
            high = between
    near = on_curve(moments, side_distance(centre, middle, positive, first, quantiser), inverse, shift)
    far = on_curve(moments, side_distance(centre, middle, positive, first + 1, quantiser), inverse, shift)
    if low - high <= 0:
        return first, MAX_SCORE
    return first, min(((near - far) << SCORE_BITS) // (low - high), MAX_SCORE)


@part
def code_index(
    mode: int,
    state: State,
    data: Bytes,
    tables: Tables,
    weights: Rows,
    quantiser: int,
    centre: int,
    log: int,
    index: int,
) -> tuple[bool, int, int]:
    """An index from a curve around `centre`, of scale 2^`log`: whether it is sound, the index, the score."""
    middle = nearest_index(centre, quantiser)
    inverse, shift = tables[3][(log >> (LOG_BITS - 8)) & 255], FRACTION + 1 + (log >> LOG_BITS)
    chances, moments = tables[4], tables[5]
    to_upper = side_distance(centre, middle, True, 1, quantiser)
    to_lower = side_distance(centre, middle, False, 1, quantiser)
    above, below = on_curve(chances, to_upper, inverse, shift), on_curve(chances, to_lower, inverse, shift)
    outside = above + below
    kind = N_KINDS * quantiser
    one = 2 << CURVE_BITS  # both are chances of magnitudes: twice those of values
    other = 1 if index != middle else 0
    other = curve_bit(mode, state, data, tables, weights, kind + NOT_ZERO, outside, one, other)
    if other <= 0:
        moment = on_curve(moments, to_upper, inverse, shift) + on_curve(moments, to_lower, inverse, shift)
        return other == 0, middle, -((moment << SCORE_BITS) // max(one - outside, 1))
    up = 1 if index > middle else 0
    up = curve_bit(mode, state, data, tables, weights, kind + POSITIVE, above, outside, up)
    if up < 0:
        return False, 0, 0
    place = (centre, middle, quantiser, up == 1, inverse, shift)
    low = above if up == 1 else below
    magnitude, score = code_magnitude(mode, state, data, tables, weights, kind, place, low, abs(index - middle))
    return magnitude > 0, middle + magnitude if up == 1 else middle - magnitude, score


@part
def index_cost(tables: Tables, centre: int, log: int, quantiser: int, index: int) -> int:
    """About what an index costs, in 1 / 4096 bit: by the curve alone."""
    middle = nearest_index(centre, quantiser)
    inverse, shift = tables[3][(log >> (LOG_BITS - 8)) & 255], FRACTION + 1 + (log >> LOG_BITS)
    up, magnitude = index >= middle, abs(index - middle)
    if magnitude == 0:
        above = on_curve(tables[4], side_distance(centre, middle, True, 1, quantiser), inverse, shift)
        below = on_curve(tables[4], side_distance(centre, middle, False, 1, quantiser), inverse, shift)
        chance = (2 << CURVE_BITS) - above - below
    else:
        near = on_curve(tables[4], side_distance(centre, middle, up, magnitude, quantiser), inverse, shift)
        chance = near - on_curve(tables[4], side_distance(centre, middle, up, magnitude + 1, quantiser), inverse, shift)
    chance += 1 << _LEAST_CHANCE_BITS
    drop = 0
    while chance >> (16 + drop):
        drop += 4
    cost: int = tables[0][chance >> drop] + (CURVE_BITS + 1 - 16 - drop) * _BIT
    return cost


@part
def cheapest_index(tables: Tables, centre: int, log: int, target: int, slope: int) -> int:
    """Of the two integers beside a target and the one nearest to the prediction, that with the least squared error plus
    `slope` times its cost; `slope` is in squared 1 / 2^16 steps for each 1 / 4096 bit.
    """
    low = target >> TARGET_BITS
    middle = nearest_index(centre, UNIFORM)
    best, least = low, -1
    for candidate in (low, low + 1, middle):
        error = min(abs((candidate << TARGET_BITS) - target), MAX_ERROR)
        cost = error * error + slope * index_cost(tables, centre, log, UNIFORM, candidate)
        if least < 0 or cost < least:
            best, least = candidate, cost
    return best


@part
def learn(effects: Rows, at: int, gain: int, score: int, information: int) -> None:
    """Moves one effect by a score, and shrinks its variance."""
    variance = effects[1, at]
    step = (((variance * gain) >> 16) * score + (1 << (SCORE_BITS - 1))) >> SCORE_BITS
    effects[0, at] += (step * 94548 + (1 << 15)) >> 16  # 94548 = 2^16 / ln 2: logarithms are base 2
    effects[1, at] = variance - ((((((variance * variance) >> LOG_BITS) * gain) >> 16) * information) >> 4)


@part
def expect(
    settings: Integers, shape: Shape, places: Shape, values: Integers, memory: Integers, i: int
) -> tuple[int, int]:
    """What the neighbours before element `i` say: the prediction of its value, and what to add to its scale's
    logarithm, a natural one.
    """
    centre, remembered, stride = settings[CONSTANT], 0, 1
    for axis in range(3, -1, -1):
        if places[axis] > 0:
            centre += settings[COEFFICIENTS + axis] * values[i - stride]
            remembered += memory[i - stride]
        stride *= shape[axis]
    return min(max(centre, -_MAX_CENTRE), _MAX_CENTRE), (remembered * settings[LOCALITY]) >> 5


@kernel(
    "boolean(int64, int64[::1], uint8[::1], UniTuple(int64[::1], 6), int64[:,::1], int64[::1], UniTuple(int64, 4), "
    "int64[:,::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[:,::1], int64, int64)"
)
def code_tensor(
    mode: int,
    state: State,
    data: Bytes,
    tables: Tables,
    weights: Rows,
    settings: Integers,
    shape: Shape,
    effects: Rows,
    trellis: Integers,
    memory: Integers,
    values: Integers,
    indices: Integers,
    targets: Integers,
    trace: Rows,
    start: int,
    stop: int,
) -> bool:
    """Prices, codes, reads or chooses `indices[start:stop]`, in row order. False where the data are damaged.

    - `tables`: costs of frequencies; logits of chances; frequencies of logits; fractions of octaves; the two rows of
      a curve.
    - `weights`: a weight and a bias for each kind of bit. `effects`: logarithms of the scale and their variances, of
      the tensor, of the places along axis 0, 1, 2, 3, and along 2 and 3 together.
    - `trellis`: the state. `memory`: a score for each element. `values`: what the indices stand for, in steps.
    - `targets`: what to round, in 1 / 2^16 step; only for `ROUND`. `trace`: receives predictions and logarithms of
      scales if `settings` say so.
    """
    information = settings[INFORMATION]
    for i in range(start, stop):
        last, row = i % shape[3], i // shape[3]
        places = (row // shape[2] // shape[1], row // shape[2] % shape[1], row % shape[2], last)
        at0, at1 = 1 + places[0], 1 + shape[0] + places[1]
        at2, at3 = 1 + shape[0] + shape[1] + places[2], 1 + shape[0] + shape[1] + shape[2] + last
        pair = 1 + shape[0] + shape[1] + shape[2] + shape[3] + (places[2] * shape[3] + last) * settings[PAIRED]
        centre, local = expect(settings, shape, places, values, memory, i)
        quantiser = EVEN + (trellis[0] & 1) if settings[DEPENDENT] else UNIFORM

        log = effects[0, 0] + effects[0, at0] + effects[0, at1] + effects[0, at2] + effects[0, at3] + effects[0, pair]
        log = min(max(log + local * 5909, MIN_LOG), MAX_LOG)  # 5909 = 2^12 / ln 2
        if settings[TRACED]:
            trace[0, i], trace[1, i] = centre, log
        if mode == ROUND:
            indices[i] = cheapest_index(tables, centre, log, targets[i], settings[SLOPE])
        action = PRICE if mode == ROUND else mode
        sound, index, score = code_index(action, state, data, tables, weights, quantiser, centre, log, indices[i])
        if not sound or index > MAX_INDEX or index < -MAX_INDEX - 1:
            return False

        variance = effects[1, 0] + effects[1, at0] + effects[1, at1] + effects[1, at2] + effects[1, at3]
        variance += effects[1, pair]
        gain = (1 << (16 + LOG_BITS)) // ((1 << LOG_BITS) + ((variance * information) >> 4))
        learn(effects, 0, gain, score, information)
        effects[1, 0] += DRIFT
        learn(effects, at0, gain, score, information)
        learn(effects, at1, gain, score, information)
        learn(effects, at2, gain, score, information)
        learn(effects, at3, gain, score, information)
        learn(effects, pair, gain, score, information)
        memory[i] = min(max(score + local, -MAX_MEMORY), MAX_MEMORY)
        indices[i] = index
        values[i] = value_of(index, quantiser)
        trellis[0] = TRANSITIONS[2 * trellis[0] + (index & 1)]
    return True


@kernel("void(int64[::1], int64[::1])")
def walk(indices: Integers, values: Integers) -> None:
    """Fills `values` with what the indices of a trellis stand for, in steps."""
    state = 0
    for i in range(len(indices)):
        values[i] = value_of(indices[i], EVEN + (state & 1))
        state = TRANSITIONS[2 * state + (indices[i] & 1)]
