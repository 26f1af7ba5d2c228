"""Samples that come back exactly: coded as what they differ from a prediction in whole numbers.

`inrzip.codecs.residual_kernels` has the loop and says how it goes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.codecs.cabac_kernels import DECODE, ENCODE, MAX_BITS, PRECISION, code_values
from inrzip.codecs.cabac_kernels import N_CONTEXTS as N_NUMBER_CONTEXTS
from inrzip.codecs.model_choice import frequency_costs
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder, check
from inrzip.codecs.residual_kernels import (
    ACTIVITY_BITS,
    LIMIT,
    MAX_WEIGHT,
    MIX_BITS,
    N_CONTEXTS,
    N_NODES,
    N_SETS,
    PROBABILITY_BITS,
    WEIGHT_BITS,
    code_samples,
)
from inrzip.errors import CorruptFile
from inrzip.priors.bell_curves import squash_table, stretch_table

LINE_TAPS = 24
"""Samples of a signal of one axis that predict the next."""
OTHER_TAPS = 8
"""Of each of its other channels."""
POINTS_AT_ONCE = 1 << 14
SOLVED_POINTS = 1 << 17
"""From so many at most the first weights are found."""
STORED_BITS = 10
LEAST_SOLVED = 1 << 12
"""Samples for which first weights are worth their bytes."""
NUMBER_RATES = (4, 7)
RIDGE, ROUNDS = 1e-3, 2
MOST_DECISIONS = 80
"""That a sample takes, for the room that an encoder needs."""
FIRST_WEIGHT = (3 << MIX_BITS) // (2 * N_SETS)

Offset = tuple[int, int, int, int]
"""Planes, rows, columns and channels back (columns also forward, negative)."""
ShareOffset = tuple[int, Offset]


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """What the sample of a channel is coded with: places of differences that predict it, of magnitudes around it with
    their shares, of two of these that are looked at closely, and along which axes the prediction's curvature counts.
    """

    taps: list[Offset]
    around: list[ShareOffset]
    pair: tuple[Offset, Offset]
    curves: tuple[bool, bool, bool]


def neighbours(planes: int, rows: int, channel: int) -> Neighbours:
    """For signals of so many planes and rows. Whatever is not there is left out."""
    flat, deep = rows > 1, planes > 1
    others = range(1, channel + 1)
    left, above, back = (0, 0, 1, 0), (0, 1, 0, 0), (1, 0, 0, 0)
    if not flat and not deep:
        taps = [(0, 0, i, 0) for i in range(1, LINE_TAPS + 1)]
        taps += [(0, 0, i, c) for c in others for i in range(OTHER_TAPS)]
        around = [(3, left), (2, (0, 0, 2, 0)), (2, (0, 0, 3, 0)), (1, (0, 0, 4, 0)), (1, (0, 0, 5, 0))]
        around += [(1, (0, 0, 6, 0)), (1, (0, 0, 7, 0)), (1, (0, 0, 8, 0))] + ([(4, (0, 0, 0, 1))] if channel else [])
        pair = (left, (0, 0, 0, 1)) if channel else (left, (0, 0, 2, 0))
    else:
        taps = [left, (0, 0, 2, 0)]
        around = [(4, left), (1, (0, 0, 2, 0))]
        if flat:
            taps += [above, (0, 1, 1, 0), (0, 1, -1, 0), (0, 2, 0, 0)]
            around += [(4, above), (2, (0, 1, 1, 0)), (2, (0, 1, -1, 0)), (1, (0, 2, 0, 0))]
        if deep:
            taps += [back]
            around += [(4, back)]
        for c in others:
            taps += [(0, 0, 0, c), (0, 0, 1, c), *([(0, 1, 0, c)] if flat else [])]
        around += [(6, (0, 0, 0, 1))] if channel else []
        second = (0, 0, 0, 1) if channel else back if deep else above
        pair = (left, second)
    return Neighbours(taps, around, pair, (True, flat, deep))


def _shares(weights: Sequence[int]) -> list[int]:
    """Whole numbers in about these proportions, which sum to 2^ACTIVITY_BITS."""
    total, whole = sum(weights), 1 << ACTIVITY_BITS
    shares = [weight * whole // total for weight in weights]
    shares[0] += whole - sum(shares)
    return shares


def _curvature(values: Float[ndarray, "planes rows columns"], axis: int) -> Float[ndarray, "planes rows columns"]:
    """Second differences along an axis, whose ends are repeated."""
    wide = np.pad(values, [(1, 1) if i == axis else (0, 0) for i in range(3)], mode="edge")
    n = values.shape[axis]
    curvature: Float[ndarray, "planes rows columns"] = np.take(wide, range(n), axis) + np.take(
        wide, range(2, n + 2), axis
    )
    curvature -= 2 * values
    return curvature


def _least_squares(
    inputs: Float[ndarray, "points inputs"], wanted: Float[ndarray, " points"]
) -> Int[ndarray, " inputs"]:
    """Weights in 2^-WEIGHT_BITS, rounded to what is stored."""
    spread = np.abs(inputs[:, : min(6, inputs.shape[1])]).mean(1)
    importance = 1 / (1 + spread)
    ridge = RIDGE * np.eye(inputs.shape[1]) * (1 + (importance * (inputs**2).T).sum() / inputs.size)
    for _ in range(ROUNDS):
        weighted = inputs * importance[:, None] ** 2
        solution = np.linalg.solve(weighted.T @ inputs + ridge, weighted.T @ wanted)
        errors = np.abs(wanted - inputs @ solution)
        importance = 1 / (1 + 0.5 * (errors + spread))
    whole = np.rint(solution * (1 << STORED_BITS)).astype(np.int64) << (WEIGHT_BITS - STORED_BITS)
    clipped: Int[ndarray, " inputs"] = np.clip(whole, -MAX_WEIGHT, MAX_WEIGHT)
    return clipped


class _Run:
    """Everything that the kernel works on, for samples of one shape."""

    def __init__(self, prediction: Int[ndarray, "*grid channels"], bits: int):
        *grid, channels = prediction.shape
        columns, rows = grid[-1], grid[-2] if len(grid) > 1 else 1
        planes = math.prod(grid[:-2])
        found = [neighbours(planes, rows, channel) for channel in range(channels)]
        offsets = [o for n in found for o in (*n.taps, *(o for _, o in n.around), *n.pair)]
        back, up, left = (max(o[axis] for o in offsets) for axis in range(3))
        right = max(0, *(-o[2] for o in offsets))
        row_step = (left + columns + right) * channels
        plane_step = (rows + up) * row_step
        size = (planes + back) * plane_step
        origin = back * plane_step + up * row_step + left * channels

        def place(offset: Offset) -> int:
            distance: int = offset[0] * plane_step + offset[1] * row_step + offset[2] * channels + offset[3]
            return -distance

        def table(lists: list[list[int]]) -> Int[ndarray, "channels longest"]:
            longest = 1 + max(map(len, lists))
            return np.array([numbers + [0] * (longest - len(numbers)) for numbers in lists], np.int64)

        self.n_points, self.channels = math.prod(grid), channels
        self.prediction = np.ascontiguousarray(prediction, np.int32).reshape(-1)
        self.layout = np.array([planes, rows, columns, channels, bits, origin, plane_step, row_step], np.int64)
        self.taps = table([[place(o) for o in n.taps] for n in found])
        self.around = table([[place(o) for _, o in n.around] for n in found])
        self.shares = table([_shares([share for share, _ in n.around]) for n in found])
        self.pair = table([[place(o) for o in n.pair] for n in found])
        self.curves = np.array([n.curves for n in found], np.int64)
        self.weights = np.zeros((channels, self.taps.shape[1] + 3), np.int64)
        n_inputs = (self.taps != 0).sum(1) + self.curves.sum(1)
        self.used = np.arange(self.weights.shape[1]) < n_inputs[:, None]
        self.inputs = np.zeros(self.weights.shape[1], np.int64)
        self.differences, self.magnitudes = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self.rates = (1 << 17) // (2 * np.arange(LIMIT + 1, dtype=np.int64) + 3)
        self.probabilities = np.full(N_SETS * N_CONTEXTS * N_NODES, 1 << (PROBABILITY_BITS - 1), np.int32)
        self.counts = np.zeros(len(self.probabilities), np.uint8)
        self.mixing = np.full((N_NODES, N_SETS), FIRST_WEIGHT, np.int64)

    def solved(self, samples: Int[ndarray, " samples"]) -> Int[ndarray, "channels inputs"]:
        """Weights with which the inputs tell most of these samples, by least squares. Where little goes on, errors
        count for more: there they cost more.
        """
        origin, plane_step, row_step = (int(n) for n in self.layout[5:8])
        planes, rows, columns, channels = (int(n) for n in self.layout[:4])
        differences = np.zeros(len(self.differences))
        strides = tuple(8 * n for n in (plane_step, row_step, channels, 1))
        view = np.lib.stride_tricks.as_strided(differences[origin:], (planes, rows, columns, channels), strides)
        whole = self.prediction.reshape(view.shape).astype(np.float64)
        view[...] = samples.reshape(view.shape) - whole
        every = max(1, self.n_points // SOLVED_POINTS)
        points = np.arange(0, self.n_points, every)
        plane, row, column = np.unravel_index(points, view.shape[:3])
        places = origin + plane * plane_step + row * row_step + column * channels
        weights = np.zeros_like(self.weights)
        for channel in range(channels):
            inputs = [differences[places + channel + tap] for tap in self.taps[channel] if tap]
            for axis, wanted in zip((2, 1, 0), self.curves[channel], strict=True):
                if wanted:
                    inputs.append(_curvature(whole[..., channel], axis)[plane, row, column])
            weights[channel, : len(inputs)] = _least_squares(np.stack(inputs, 1), differences[places + channel])
        return weights

    def code(
        self,
        mode: int,
        state: Int[ndarray, " 3"],
        data: ndarray,
        samples: Int[ndarray, " samples"],
        begin: int,
        end: int,
    ) -> bool:
        """Codes or reads all channels of the points `begin` to `end`; false where the data are damaged."""
        done = code_samples(
            mode,
            state,
            data,
            frequency_costs(),
            stretch_table(),
            squash_table(),
            self.rates,
            self.probabilities,
            self.counts,
            self.mixing,
            self.layout,
            self.taps,
            self.around,
            self.shares,
            self.pair,
            self.curves,
            self.weights,
            self.prediction,
            samples,
            self.differences,
            self.magnitudes,
            begin,
            end,
            self.inputs,
        )
        return bool(done == (end - begin) * self.channels)


def encode_numbers(encoder: RangeEncoder, numbers: Int[ndarray, " n"]) -> None:
    """Codes whole numbers of magnitudes below 2^33 in contexts of their own that learn."""
    contexts = _number_contexts()
    for start in range(0, len(numbers), POINTS_AT_ONCE):
        part = np.array(numbers[start : start + POINTS_AT_ONCE], np.int64)
        before = int(np.sign(numbers[start - 1])) % 3 if start else 0
        room = encoder.room(MAX_BITS * len(part))
        rates = np.array(NUMBER_RATES, np.int64)
        code_values(ENCODE, encoder.state, room, frequency_costs(), contexts, rates, before, part)


def decode_numbers(decoder: RangeDecoder, n: int) -> Int[ndarray, " n"]:
    """The inverse of `encode_numbers`. Raises `CorruptFile`."""
    numbers, rates = np.zeros(n, np.int64), np.array(NUMBER_RATES, np.int64)
    check(code_values(DECODE, decoder.state, decoder.data, frequency_costs(), _number_contexts(), rates, 0, numbers))
    return numbers


def _number_contexts() -> Int[ndarray, " contexts*2"]:
    return np.full(2 * N_NUMBER_CONTEXTS, 1 << (PRECISION - 1), np.int64)


def encode_samples(
    encoder: RangeEncoder,
    samples: Int[ndarray, "*grid channels"],
    prediction: Int[ndarray, "*grid channels"],
    bits: int,
) -> None:
    """Codes signed samples of at most 32 bits, -2^(bits-1) to 2^(bits-1) - 1. The prediction is in the same range; it
    changes what they cost, and nothing else.
    """
    run = _Run(prediction, bits)
    flat = np.array(samples, np.int32).reshape(-1)
    solved = flat.size >= LEAST_SOLVED
    encoder.encode_bits(solved, 1)
    if solved:
        run.weights[...] = run.solved(flat)
        encode_numbers(encoder, run.weights[run.used] >> (WEIGHT_BITS - STORED_BITS))
    for begin in range(0, run.n_points, POINTS_AT_ONCE):
        end = min(begin + POINTS_AT_ONCE, run.n_points)
        room = encoder.room(MOST_DECISIONS * (end - begin) * run.channels)
        check(run.code(ENCODE, encoder.state, room, flat, begin, end))


def decode_samples(
    decoder: RangeDecoder, prediction: Int[ndarray, "*grid channels"], bits: int
) -> Int[ndarray, "*grid channels"]:
    """The inverse of `encode_samples`. Raises `CorruptFile`."""
    run = _Run(prediction, bits)
    if decoder.decode_bits(1):
        stored = decode_numbers(decoder, int(run.used.sum()))
        if np.abs(stored).max(initial=0) > MAX_WEIGHT >> (WEIGHT_BITS - STORED_BITS):
            raise CorruptFile("the weights of its prediction are damaged; get the file again")
        run.weights[run.used] = stored << (WEIGHT_BITS - STORED_BITS)
    samples = np.zeros(prediction.size, np.int32)
    check(run.code(DECODE, decoder.state, decoder.data, samples, 0, run.n_points))
    return samples.reshape(prediction.shape)
