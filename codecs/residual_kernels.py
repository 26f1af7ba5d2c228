"""What samples differ from a prediction, as coded bits: the loop that codes and reads them, compiled.

Everything is whole numbers. A sample is expected at its prediction plus a sum of weighted *inputs*: differences of
samples before it, and how the prediction curves around it, which a decoder knows on all sides. The weights follow the
data (normalised least mean squares, Nagumo and Noda, "A learning method for system identification", 1967). What is left
is binarised: how many bits has its magnitude, from about as many as those of its neighbours; its sign; the bits. Each
of these binary decisions has an adaptive probability in each of `N_SETS` sets of contexts, and their logits are mixed
by weights that learn (logistic mixing: Mahoney, "Adaptive weighing of context models for lossless data compression",
2005).
"""

from __future__ import annotations

from jaxtyping import Int, UInt8
from numpy import ndarray

from inrzip.codecs.cabac_kernels import bit
from inrzip.codecs.kernels import Bytes, Integers, State, kernel, part
from inrzip.priors.bell_curves import MAX_LOGIT

Samples = Int[ndarray, " samples"]
Table = Int[ndarray, "rows columns"]

FRACTION_BITS = 4  # of what a sample is expected at
WEIGHT_BITS = 16  # of the inputs' weights
STEP_BITS = 36  # fraction bits of a step, which is divided by the inputs' squares
RATE_BITS = 8  # a step goes 2^-RATE_BITS of the way
MOVE_BITS = STEP_BITS + FRACTION_BITS + RATE_BITS - WEIGHT_BITS
MAX_WEIGHT = 1 << 20
MOST = (1 << 31) - 1
MOST_INPUT_BITS = 24  # of inputs, where their squares are summed: wider ones are shifted down
MAX_MAGNITUDE_BITS = 33
PROBABILITY_BITS = 22
LIMIT = 255  # of the count by which a probability slows down
MIX_BITS = 16
MIX_RATE = 14
HALF_MIX = 1 << (MIX_RATE - 1)
N_SETS = 4

# decisions: is a magnitude of more than j bits, asked upwards; the same, asked downwards; sign; the bits below the
# highest
UP, DOWN = 0, 34
SIGN = 68
SECOND = 69
THIRD = SECOND + 34
FOURTH = THIRD + 68
N_SMALL = 8  # magnitudes of fewer bits have contexts for their fourth bit
N_NODES = FOURTH + 4 * N_SMALL

OCTAVES = 32
FINE = 4  # parts of an octave of activity
BITS = 24  # levels of a neighbour's magnitude, or of the texture, by its bits
CHANNELS = 3  # that are told apart
N_CONTEXTS = max(CHANNELS * FINE * OCTAVES, 2 * BITS * BITS, BITS * OCTAVES, (1 << FRACTION_BITS) * OCTAVES)
ACTIVITY_BITS = 4  # weights of a sample's neighbours sum to 2^ACTIVITY_BITS


@part
def bit_length(value: int) -> int:
    """Bits of a number of at most 62."""
    n = 0
    while value >= 256:
        value >>= 8
        n += 8
    while value:
        value >>= 1
        n += 1
    return n


@part
def mixed_bit(
    mode: int,
    state: State,
    data: Bytes,
    tables: tuple[Integers, Integers, Integers, Integers],
    learned: tuple[Int[ndarray, " places"], UInt8[ndarray, " places"], Table],
    at: tuple[int, int, int, int],
    node: int,
    value: int,
) -> int:
    """A decision in the contexts that begin `at` these places; -1 for damage."""
    costs, logits, frequencies, rates = tables
    probabilities, counts, mixing = learned
    first, second, third, fourth = at[0] + node, at[1] + node, at[2] + node, at[3] + node
    a = logits[probabilities[first] >> (PROBABILITY_BITS - 12)]
    b = logits[probabilities[second] >> (PROBABILITY_BITS - 12)]
    c = logits[probabilities[third] >> (PROBABILITY_BITS - 12)]
    d = logits[probabilities[fourth] >> (PROBABILITY_BITS - 12)]
    weights = mixing[node]
    total = (weights[0] * a + weights[1] * b + weights[2] * c + weights[3] * d) >> MIX_BITS
    frequency = frequencies[min(max(total, -MAX_LOGIT), MAX_LOGIT) + MAX_LOGIT]
    value = bit(mode, state, data, costs, frequency, value)
    if value < 0:
        return -1
    error = (value << 16) - frequency
    weights[0] += (error * a + HALF_MIX) >> MIX_RATE
    weights[1] += (error * b + HALF_MIX) >> MIX_RATE
    weights[2] += (error * c + HALF_MIX) >> MIX_RATE
    weights[3] += (error * d + HALF_MIX) >> MIX_RATE
    target = value << PROBABILITY_BITS
    probabilities[first] += ((target - probabilities[first]) * rates[counts[first]]) >> 16
    probabilities[second] += ((target - probabilities[second]) * rates[counts[second]]) >> 16
    probabilities[third] += ((target - probabilities[third]) * rates[counts[third]]) >> 16
    probabilities[fourth] += ((target - probabilities[fourth]) * rates[counts[fourth]]) >> 16
    counts[first] += 1 if counts[first] < LIMIT else 0
    counts[second] += 1 if counts[second] < LIMIT else 0
    counts[third] += 1 if counts[third] < LIMIT else 0
    counts[fourth] += 1 if counts[fourth] < LIMIT else 0
    return value


@part
def code_difference(
    mode: int,
    state: State,
    data: Bytes,
    tables: tuple[Integers, Integers, Integers, Integers],
    learned: tuple[Int[ndarray, " places"], UInt8[ndarray, " places"], Table],
    at: tuple[int, int, int, int],
    expected: int,
    value: int,
) -> tuple[bool, int]:
    """A difference whose magnitude has about `expected` bits: sound or not, and the difference."""
    magnitude = abs(value)
    n = bit_length(magnitude)
    j = expected
    more = mixed_bit(mode, state, data, tables, learned, at, UP + j, 1 if n > j else 0)
    if more == 1:
        while more == 1:
            j += 1
            if j == MAX_MAGNITUDE_BITS:
                break
            more = mixed_bit(mode, state, data, tables, learned, at, UP + j, 1 if n > j else 0)
        if more < 0:
            return False, 0
        n = j
    else:
        while more == 0:
            if j == 0:
                break
            j -= 1
            more = mixed_bit(mode, state, data, tables, learned, at, DOWN + j, 1 if n > j else 0)
        if more < 0:
            return False, 0
        n = j + 1 if more == 1 else 0
    if n == 0:
        return True, 0
    negative = mixed_bit(mode, state, data, tables, learned, at, SIGN, 1 if value < 0 else 0)
    read = 1
    for i in range(n - 2, -1, -1):
        digit = (magnitude >> i) & 1
        place = n - 2 - i
        if place == 0:
            digit = mixed_bit(mode, state, data, tables, learned, at, SECOND + n, digit)
        elif place == 1:
            digit = mixed_bit(mode, state, data, tables, learned, at, THIRD + 2 * n + (read & 1), digit)
        elif place == 2 and n < N_SMALL:
            digit = mixed_bit(mode, state, data, tables, learned, at, FOURTH + 4 * n + (read & 3), digit)
        else:
            digit = bit(mode, state, data, tables[0], 1 << 15, digit)
        if digit < 0:
            return False, 0
        read = read << 1 | digit
    return negative >= 0, -read if negative == 1 else read


@kernel(
    "int64(int64, int64[::1], uint8[::1], int64[::1], int64[::1], int64[::1], int64[::1], int32[::1], uint8[::1], "
    "int64[:, ::1], int64[::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], "
    "int64[:, ::1], int32[::1], int32[::1], int32[::1], int32[::1], int64, int64, int64[::1])"
)
def code_samples(
    mode: int,
    state: State,
    data: Bytes,
    costs: Integers,
    logits: Integers,
    frequencies: Integers,
    rates: Integers,
    probabilities: Int[ndarray, " places"],
    counts: UInt8[ndarray, " places"],
    mixing: Table,
    layout: Integers,
    taps: Table,
    around: Table,
    shares: Table,
    pair: Table,
    curves: Table,
    weights: Table,
    prediction: Samples,
    samples: Samples,
    differences: Samples,
    magnitudes: Samples,
    begin: int,
    end: int,
    inputs: Integers,
) -> int:
    """Codes or reads the samples of the points `begin` to `end`, all channels of each.

    `layout`: planes, rows, columns, channels, bits, the place of the first sample in `differences` and `magnitudes`,
    and how far apart planes and rows lie there. `taps` (channel, tap), `around`, and `pair`: places of neighbours,
    relative to a sample, in these two, ended by 0. `curves`: 1 where the prediction's curvature along columns, rows
    and planes is an input. Returns how many samples it read; fewer than asked for where the data are damaged.
    """
    planes, rows, columns, channels, bits = layout[0], layout[1], layout[2], layout[3], layout[4]
    origin, plane_step, row_step = layout[5], layout[6], layout[7]
    half = 1 << (bits - 1)
    low, high, span = -half, half - 1, 1 << bits
    shift = max(bits + 1 - MOST_INPUT_BITS, 0)
    tables = (costs, logits, frequencies, rates)
    learned = (probabilities, counts, mixing)
    row_length = columns * channels
    done = 0
    for point in range(begin, end):
        column, line = point % columns, point // columns
        row, plane = line % rows, line // rows
        place = origin + plane * plane_step + row * row_step + column * channels
        above = -row_length if row > 0 else 0
        below = row_length if row < rows - 1 else 0
        before = -row_length * rows if plane > 0 else 0
        after = row_length * rows if plane < planes - 1 else 0
        left = -channels if column > 0 else 0
        right = channels if column < columns - 1 else 0
        for channel in range(channels):
            i = point * channels + channel
            at = place + channel
            here = prediction[i]
            # what the sample is expected at
            n = 0
            for tap in taps[channel]:
                if tap == 0:
                    break
                inputs[n] = differences[at + tap]
                n += 1
            if curves[channel, 0]:
                inputs[n] = prediction[i + left] + prediction[i + right] - 2 * here
                n += 1
            if curves[channel, 1]:
                inputs[n] = prediction[i + above] + prediction[i + below] - 2 * here
                n += 1
            if curves[channel, 2]:
                inputs[n] = prediction[i + before] + prediction[i + after] - 2 * here
                n += 1
            total, energy = 0, 1
            for k in range(n):
                total += weights[channel, k] * inputs[k]
                inner = inputs[k] >> shift
                energy += inner * inner
            extra = total >> (WEIGHT_BITS - FRACTION_BITS)
            centre = (here << FRACTION_BITS) + extra
            guess = min(max((centre + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS, low), high)
            fraction = centre & ((1 << FRACTION_BITS) - 1)
            # contexts
            activity = 0
            for k, tap in enumerate(around[channel]):
                if tap == 0:
                    break
                activity += shares[channel, k] * magnitudes[at + tap]
            length = bit_length(activity)
            fine = FINE * length + ((activity >> max(length - 3, 0)) & (FINE - 1))
            one = min(bit_length(magnitudes[at + pair[channel, 0]]), BITS - 1)
            two = min(bit_length(magnitudes[at + pair[channel, 1]]), BITS - 1)
            least = min(min(prediction[i + left], prediction[i + right]), here)
            least = min(least, min(prediction[i + above], prediction[i + below]))
            most = max(max(prediction[i + left], prediction[i + right]), here)
            most = max(most, max(prediction[i + above], prediction[i + below]))
            texture = min(bit_length(most - least), BITS - 1)
            octave = min(length, OCTAVES - 1)
            fine = min(fine, FINE * OCTAVES - 1)
            first = (min(channel, CHANNELS - 1) * FINE * OCTAVES + fine) * N_NODES
            second = ((min(channel, 1) * BITS + one) * BITS + two + N_CONTEXTS) * N_NODES
            third = (texture * OCTAVES + octave + 2 * N_CONTEXTS) * N_NODES
            fourth = (fraction * OCTAVES + octave + 3 * N_CONTEXTS) * N_NODES
            expected = min(max(length - ACTIVITY_BITS, 0), MAX_MAGNITUDE_BITS - 1)
            # the sample
            value = samples[i] - guess
            if value < low:
                value += span
            elif value > high:
                value -= span
            sound, value = code_difference(
                mode, state, data, tables, learned, (first, second, third, fourth), expected, value
            )
            if not sound or value < low or value > high:
                return done
            sample = guess + value
            if sample < low:
                sample += span
            elif sample > high:
                sample -= span
            samples[i] = sample
            # what it teaches
            differences[at] = min(max(sample - here, -MOST), MOST)
            magnitudes[at] = min(abs(value), MOST)
            error = ((sample - here) << FRACTION_BITS) - extra
            error = min(max(error, -(1 << 24)), 1 << 24)
            step = ((error << (STEP_BITS - shift)) + (energy >> 1)) // energy
            for k in range(n):
                move = (step * (inputs[k] >> shift) + (1 << (MOVE_BITS - 1))) >> MOVE_BITS
                weights[channel, k] = min(max(weights[channel, k] + move, -MAX_WEIGHT), MAX_WEIGHT)
            done += 1
    return done
