"""The loops of latent-grid coding, compiled: one latent after the other, each predicted from those before it.

They do what `inrzip.codecs.latent_model` does for whole arrays: the same sums of whole numbers in float64, which are
exact, so that the order of additions does not matter.
"""

from __future__ import annotations

import math

from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.codecs.kernels import (
    CODE,
    RANGE,
    Bytes,
    Integers,
    State,
    kernel,
    part,
    put,
    put_exp_golomb,
    take,
    take_exp_golomb,
)
from inrzip.codecs.latent_model import (
    ACTIVATION_BITS,
    EXPONENTS,
    INVERSE_BITS,
    MARGIN,
    MAX_ACTIVATION,
    MAX_LATENT,
    N_SCALES,
    POSITION_BITS,
    SCALES_PER_OCTAVE,
    TOTAL_BITS,
    UNIT_SCALE,
    WEIGHT_BITS,
)

Vector = Float[ndarray, " n"]
Matrix = Float[ndarray, "rows columns"]
Layers = Float[ndarray, "layers rows columns"]

ESCAPE_ORDER = 3
_HALF = 1 << (POSITION_BITS - 1)
_DOWN = 2.0**-WEIGHT_BITS
_ROUND = 2.0 ** (WEIGHT_BITS - 1)
_BIAS = 2.0**ACTIVATION_BITS
_CENTRE_DOWN = 2.0 ** (POSITION_BITS - ACTIVATION_BITS)
_SCALE_STEP = SCALES_PER_OCTAVE * 2.0**-ACTIVATION_BITS


@part
def symbol_start(symbol: int, reach: int, fraction: int, inverse: int, exponentials: Integers) -> int:
    """Where a symbol's interval begins in [0, 2^TOTAL_BITS); see `inrzip.codecs.latent_model.intervals`."""
    n_symbols = 2 * reach + 3
    if symbol == 0:
        return 0
    if symbol == n_symbols:
        return 1 << TOTAL_BITS
    edge = (2 * (symbol - reach) - 3) * _HALF - fraction
    exponent = min(abs(edge) * inverse >> INVERSE_BITS, EXPONENTS)
    mass: int = exponentials[exponent] if edge < 0 else (1 << TOTAL_BITS) - exponentials[exponent]
    return symbol + (mass * ((1 << TOTAL_BITS) - n_symbols) >> TOTAL_BITS)


@part
def take_latent(state: State, data: Bytes, centre: int, reach: int, inverse: int, exponentials: Integers) -> int:
    """The next number under a curve, or one beyond `MAX_LATENT` where the data are damaged."""
    middle = (centre + _HALF) >> POSITION_BITS
    fraction = centre - (middle << POSITION_BITS)
    unit = state[RANGE] >> TOTAL_BITS
    point = state[CODE] // unit
    if point >> TOTAL_BITS:
        return MAX_LATENT + 1
    low, high = 0, 2 * reach + 3
    while high - low > 1:
        between = (low + high) >> 1
        if symbol_start(between, reach, fraction, inverse, exponentials) <= point:
            low = between
        else:
            high = between
    start = symbol_start(low, reach, fraction, inverse, exponentials)
    size = symbol_start(low + 1, reach, fraction, inverse, exponentials) - start
    if not take(state, data, start, size, unit):
        return MAX_LATENT + 1
    distance = low - reach - 1
    if low == 0 or low == 2 * reach + 2:
        beyond = take_exp_golomb(state, data, ESCAPE_ORDER)
        if beyond < 0:
            return MAX_LATENT + 1
        distance += beyond if low else -beyond
    return middle + distance


@kernel("boolean(int64[::1], uint8[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def decode_numbers(
    state: State,
    data: Bytes,
    scales: Integers,
    inverses: Integers,
    reaches: Integers,
    exponentials: Integers,
    numbers: Integers,
) -> bool:
    """Fills `numbers`, each under a curve around 0 whose scale's index is given. False where the data are damaged."""
    for i in range(len(scales)):
        numbers[i] = take_latent(state, data, 0, reaches[scales[i]], inverses[scales[i]], exponentials)
        if abs(numbers[i]) > MAX_LATENT:
            return False
    return True


@kernel(
    "int64(int64[::1], uint8[::1], int64[:, ::1], int64[::1], float64[:, :, ::1], int64, int64, int64, "
    "float64[:, :, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[::1], "
    "int64[::1], int64[::1], int64[::1], float64[:, ::1])"
)
def decode_grid(
    state: State,
    data: Bytes,
    padded: Int[ndarray, "rows columns"],
    neighbours: Integers,
    features: Layers,
    shift: int,
    first_row: int,
    end_row: int,
    hidden: Layers,
    hidden_bias: Matrix,
    output: Matrix,
    linear: Matrix,
    output_bias: Vector,
    inverses: Integers,
    reaches: Integers,
    exponentials: Integers,
    scratch: Matrix,
) -> int:
    """Fills some rows of a grid that lies in `padded`, with `MARGIN` rows above and columns beside it.

    `neighbours` are offsets in the flat `padded`; `features` (rows, columns, features) are those of the latent at
    (row >> shift, column >> shift). Returns how many latents it read; fewer than asked for where the data are damaged
    or end.
    """
    n_layers, width = hidden.shape[0], hidden.shape[1]
    n_neighbours = len(neighbours)
    stride = padded.shape[1]
    flat = padded.reshape(padded.size)
    inputs, now, after = scratch[0], scratch[1], scratch[2]
    done = 0
    for row in range(first_row, end_row):
        for column in range(stride - 2 * MARGIN):
            position = (row + MARGIN) * stride + MARGIN + column
            for i in range(n_neighbours):
                inputs[i] = flat[position + neighbours[i]] * _BIAS
            for i in range(width - n_neighbours):
                inputs[n_neighbours + i] = features[row >> shift, column >> shift, i]
            for i in range(width):
                now[i] = inputs[i]
            for layer in range(n_layers):
                for o in range(width):
                    after[o] = hidden_bias[layer, o] * _BIAS + _ROUND
                for i in range(width):
                    value = now[i]
                    for o in range(width):
                        after[o] += hidden[layer, i, o] * value
                for o in range(width):
                    now[o] = min(max(math.floor(after[o] * _DOWN), 0.0), MAX_ACTIVATION * 1.0)
            first = output_bias[0] * _BIAS + _ROUND
            second = output_bias[1] * _BIAS + _ROUND
            for i in range(width):
                first += now[i] * output[i, 0] + inputs[i] * linear[i, 0]
                second += now[i] * output[i, 1] + inputs[i] * linear[i, 1]
            first = min(max(math.floor(first * _DOWN), -MAX_ACTIVATION * 1.0), MAX_ACTIVATION * 1.0)
            second = min(max(math.floor(second * _DOWN), -MAX_ACTIVATION * 1.0), MAX_ACTIVATION * 1.0)
            centre = math.floor((first + 0.5 / _CENTRE_DOWN) * _CENTRE_DOWN)
            scale = min(max(math.floor(second * _SCALE_STEP) + UNIT_SCALE, 0), N_SCALES - 1)

            latent = take_latent(state, data, centre, reaches[scale], inverses[scale], exponentials)
            if abs(latent) > MAX_LATENT:
                return done
            flat[position] = latent
            done += 1
    return done


@kernel("void(int64[::1], uint8[::1], int64[::1], int64[::1], int64[::1])")
def encode_latents(state: State, out: Bytes, starts: Integers, sizes: Integers, beyond: Integers) -> None:
    """Codes the intervals of latents, each followed by the escaped number where `beyond` is not negative."""
    for i in range(len(starts)):
        put(state, out, starts[i], sizes[i], TOTAL_BITS)
        if beyond[i] >= 0:
            put_exp_golomb(state, out, beyond[i], ESCAPE_ORDER)
