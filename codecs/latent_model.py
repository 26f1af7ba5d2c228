"""How likely each latent of a grid is, in integers: the context model of latent-grid codecs, the same on every machine.

A small network looks at latents that are known already, in a fixed causal neighbourhood and on coarser grids, and
answers with the centre and the scale of a Laplace curve (Ballé et al., 2018; Ladune et al., "COOL-CHIC", 2023; Blard et
al., Cool-Chic 5: features from coarser grids, hyper-latents). Weights are integers with `WEIGHT_BITS` bits after the
point, activations with `ACTIVATION_BITS`. All are held in float64, which is exact: no sum exceeds 2^53
(`MAX_WEIGHT * MAX_ACTIVATION * 2 * MAX_WIDTH` is 2^48). So NumPy's matrix products, in any order of addition, give what
the compiled decoder gives.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

ACTIVATION_BITS = 8
WEIGHT_BITS = 14
MAX_WEIGHT = 1 << 17
MAX_ACTIVATION = 1 << 23
MAX_WIDTH = 64
MAX_LATENT = (1 << 15) - 1
"""Latents lie between plus and minus this."""

POSITION_BITS = 5
"""Centres are multiples of 1/32."""
SCALES_PER_OCTAVE = 8
N_SCALES = 128
UNIT_SCALE = 64
"""The index of scale 1; index i is 2^((i - 64) / 8)."""
TOTAL_BITS = 16
EXPONENT_STEPS = 256
"""Steps of a whole exponent in the table of exponentials."""
EXPONENTS = 12 * EXPONENT_STEPS
INVERSE_BITS = 16
REACH = 9
"""Symbols reach so many scales to either side; what lies farther is escaped."""

NEIGHBOURS = (
    (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-3, 0), (0, -3), (-1, -2), (-2, 1), (-2, -1), (-1, 2),
    (-2, -2), (-1, -3), (-2, 2), (-3, 1), (0, -4), (-1, 3), (-2, -3), (-2, 3), (-3, -1), (-3, -2), (-3, 2), (-4, 0),
)  # fmt: skip
"""Causal neighbours as (rows, columns) from a latent, nearest first."""
MARGIN = 4
"""Rows above a grid, and columns to either side, that its neighbourhoods may touch."""

Exact = Float[ndarray, "..."]
"""Whole numbers in float64."""


@dataclasses.dataclass(frozen=True)
class LatentModel:
    """The integer networks. All arrays hold whole numbers in float64, `WEIGHT_BITS` after the point.

    - `hidden`: (layers, width, width), input first; the identity of the residual connection is in it. `hidden_bias`:
      (layers, width).
    - `output`, `linear`: (width, 2), from the last hidden layer and from the inputs; `output_bias` (2,). Outputs are
      the centre, and the base-2 logarithm of the scale.
    - `coarse[l]`: (features, coarser grids), for grids of level l; `own[i]`: (features,), of the hyper-latent of the
      level itself, the i-th that has one; `grid_bias` (grids, features).
    - `n_neighbours`: inputs that are neighbours; the width is that and the number of features.
    """

    n_neighbours: int
    hidden: Exact
    hidden_bias: Exact
    output: Exact
    linear: Exact
    output_bias: Exact
    coarse: tuple[Exact, ...]
    own: tuple[Exact, ...]
    grid_bias: Exact

    @property
    def width(self) -> int:
        return int(self.hidden.shape[1])

    def clipped(self) -> LatentModel:
        """With every weight in its range, as sums must stay exact. What an encoder makes is in range anyway."""

        def clip(array: Exact) -> Exact:
            within: Exact = np.clip(array, -MAX_WEIGHT, MAX_WEIGHT)
            return within

        return dataclasses.replace(
            self,
            hidden=clip(self.hidden),
            hidden_bias=clip(self.hidden_bias),
            output=clip(self.output),
            linear=clip(self.linear),
            output_bias=clip(self.output_bias),
            coarse=tuple(map(clip, self.coarse)),
            own=tuple(map(clip, self.own)),
            grid_bias=clip(self.grid_bias),
        )


def shifted(sums: Exact, bits: int) -> Exact:
    """Rounded division by 2^bits, halves up."""
    return np.floor((sums + 2.0 ** (bits - 1)) * 2.0**-bits)


def predict(model: LatentModel, inputs: Float[ndarray, "latents width"]) -> tuple[Exact, Exact]:
    """The centres, in multiples of 2^-POSITION_BITS, and the indices of the scales."""
    state = inputs
    for weights, bias in zip(model.hidden, model.hidden_bias, strict=True):
        state = np.clip(shifted(state @ weights + bias * 2.0**ACTIVATION_BITS, WEIGHT_BITS), 0, MAX_ACTIVATION)
    sums = state @ model.output + inputs @ model.linear + model.output_bias * 2.0**ACTIVATION_BITS
    centre, scale = np.moveaxis(np.clip(shifted(sums, WEIGHT_BITS), -MAX_ACTIVATION, MAX_ACTIVATION), -1, 0)
    index = np.floor(scale * 2.0**-ACTIVATION_BITS * SCALES_PER_OCTAVE) + UNIT_SCALE
    return shifted(centre, ACTIVATION_BITS - POSITION_BITS), np.clip(index, 0, N_SCALES - 1)


@functools.cache
def exponentials() -> Int[ndarray, " steps"]:
    """`2^15 exp(-i / 256)`, rounded; integer arithmetic from one written-out constant."""
    precision = 60
    root = 1148426689630428644  # exp(-1 / 256) in multiples of 2^-60
    value, table = 1 << precision, []
    for _ in range(EXPONENTS):
        table.append((value + (1 << (precision - TOTAL_BITS))) >> (precision - TOTAL_BITS + 1))
        value = value * root >> precision
    return np.array([*table, 0], np.int64)


@functools.cache
def inverse_scales() -> Int[ndarray, " scales"]:
    """What turns a distance in multiples of 2^-POSITION_BITS into an exponent, for each scale: 2^INVERSE_BITS times
    `EXPONENT_STEPS / 2^POSITION_BITS / scale`.
    """
    one = EXPONENT_STEPS << (INVERSE_BITS - POSITION_BITS)
    return np.array([eighth_power(one, UNIT_SCALE - i) for i in range(N_SCALES)], np.int64)


@functools.cache
def reaches() -> Int[ndarray, " scales"]:
    """The greatest distance from its centre at which a latent has a symbol of its own."""
    return np.array([2 + eighth_power(REACH, i - UNIT_SCALE) for i in range(N_SCALES)], np.int64)


def eighth_power(factor: int, eighths: int) -> int:
    """`factor * 2^(eighths / 8)`, rounded down; for eighths the constants are roots of 2 in integers."""
    octaves, step = divmod(eighths, SCALES_PER_OCTAVE)
    root = (65536, 71468, 77936, 84990, 92682, 101070, 110218, 120194)[step]  # 2^(16 + step / 8)
    value = factor * root
    return (value << octaves if octaves >= 0 else value >> -octaves) >> 16


def below(offset: Int[ndarray, " n"], scale: Int[ndarray, " n"]) -> Int[ndarray, " n"]:
    """The mass of the curve below `offset` (from the centre, in multiples of 2^-POSITION_BITS), of 2^TOTAL_BITS."""
    exponent = np.minimum(np.abs(offset) * inverse_scales()[scale] >> INVERSE_BITS, EXPONENTS)
    tail = exponentials()[exponent]
    mass: Int[ndarray, " n"] = np.where(offset < 0, tail, (1 << TOTAL_BITS) - tail)
    return mass


def intervals(
    values: Int[ndarray, " n"], centres: Int[ndarray, " n"], scales: Int[ndarray, " n"]
) -> tuple[Int[ndarray, " n"], Int[ndarray, " n"], Int[ndarray, " n"]]:
    """For each value its symbol's start and size of 2^TOTAL_BITS, and how far beyond the symbols it lies: -1 for a
    value that has a symbol, else the number to escape.

    Symbols are: escape below, the values from -reach to reach around the middle, escape above.
    """
    middle = (centres + (1 << (POSITION_BITS - 1))) >> POSITION_BITS
    fraction = centres - (middle << POSITION_BITS)
    reach = reaches()[scales]
    distance = values - middle
    symbol = np.clip(distance, -reach - 1, reach + 1) + reach + 1
    start = _start(symbol, reach, fraction, scales)
    size = _start(symbol + 1, reach, fraction, scales) - start
    return start, size, np.abs(distance) - reach - 1


def _start(
    symbol: Int[ndarray, " n"], reach: Int[ndarray, " n"], fraction: Int[ndarray, " n"], scales: Int[ndarray, " n"]
) -> Int[ndarray, " n"]:
    n_symbols = 2 * reach + 3
    edge = (2 * (symbol - reach) - 3) * (1 << (POSITION_BITS - 1)) - fraction
    mass = np.where(symbol == 0, 0, np.where(symbol == n_symbols, 1 << TOTAL_BITS, below(edge, scales)))
    start: Int[ndarray, " n"] = symbol + (mass * ((1 << TOTAL_BITS) - n_symbols) >> TOTAL_BITS)
    return start
