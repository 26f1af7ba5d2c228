"""What the decoder must know of a tensor before it reads its predictively coded values, and the loop over these."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs import predictive_kernels as kernels
from inrzip.codecs.cabac_kernels import PRICE
from inrzip.codecs.kernels import Bytes, State
from inrzip.codecs.model_choice import frequency_costs
from inrzip.codecs.predictive_kernels import FRACTION, LOG_BITS, Shape, Tables
from inrzip.priors.bell_curves import INFORMATION_16, Curve, curve_table, octave_table, squash_table, stretch_table

SCALES_PER_OCTAVE = 4
CONSTANT_BITS = 3
MAX_COEFFICIENT = 127
VARIANCES = (0, 1, 3, 9)
"""Of the effect of a place along an axis, at first, in 1/32."""
LOCALITIES = (0, 2, 4, 8)
"""How far a neighbour's score is believed to hold, in 1/32."""
_PAIR_VARIANCE = 1  # of the effect of a place along the last two axes, in 1/32
_TENSOR_VARIANCE = 3  # of the tensor's own effect


@dataclasses.dataclass(frozen=True)
class PredictiveModel:
    """A tensor's parameters.

    - `scale`: the mean distance of values from their predictions to start from is `2**(scale / 4)` steps.
    - `split`: the view that is coded (`inrzip.codecs.views`).
    - `curve`: a `Curve`. `variance` and `locality`: indices in the lists above.
    - `paired`: 1 if places along the last two axes together have an effect, too.
    - `coefficients`: weights, in 1/64, of the value before along each of the four axes. `constant`: the rest of the
      prediction, in 1/8 step.
    """

    scale: int
    split: int = 1
    curve: int = Curve.LOGISTIC
    variance: int = 1
    locality: int = 0
    paired: int = 0
    coefficients: tuple[int, int, int, int] = (0, 0, 0, 0)
    constant: int = 0


class Run:
    """Coding of one tensor: what has been learned so far, and the loop."""

    def __init__(self, model: PredictiveModel, shape: Shape, indices: Int[ndarray, " n"], dependent: bool) -> None:
        """`indices` are coded, or filled in; `shape` is the view's."""
        self._shape = shape
        self._settings = np.array(
            [
                *model.coefficients,
                model.constant << (FRACTION - CONSTANT_BITS),
                LOCALITIES[model.locality],
                INFORMATION_16[model.curve],
                dependent,
                model.paired,
                0,
                0,
            ],
            np.int64,
        )
        self._tables = tables(Curve(model.curve))
        self._weights = np.zeros((2, 3 * kernels.N_KINDS), np.int64)
        self._weights[0] = 1 << kernels.WEIGHT_BITS
        self._effects = _start_effects(model, shape)
        self._trellis = np.zeros(1, np.int64)
        self._memory = np.zeros(len(indices), np.int64)
        self._indices = indices
        self.values = np.zeros(len(indices), np.int64) if dependent else indices
        self._targets = np.zeros(0, np.int64)
        self._trace = np.zeros((2, 0), np.int64)

    def expectations(self) -> Int[ndarray, "2 n"]:
        """Predictions and logarithms of scales, as the kernels have them, of given indices."""
        self._settings[kernels.TRACED] = 1
        self._trace = np.zeros((2, len(self._indices)), np.int64)
        self.code(PRICE, np.zeros(3, np.int64), np.zeros(1, np.uint8), 0, len(self._indices))
        return self._trace

    def round(self, targets: Int[ndarray, " n"], slope: int) -> None:
        """Chooses the indices: see `kernels.cheapest_index`."""
        self._settings[kernels.SLOPE] = slope
        self._targets = targets
        self.code(kernels.ROUND, np.zeros(3, np.int64), np.zeros(1, np.uint8), 0, len(self._indices))

    def code(self, mode: int, state: State, data: Bytes, start: int, stop: int) -> bool:
        """Prices, codes or reads the elements from `start` to `stop`, the next ones; false where data are damaged."""
        return kernels.code_tensor(
            mode,
            state,
            data,
            self._tables,
            self._weights,
            self._settings,
            self._shape,
            self._effects,
            self._trellis,
            self._memory,
            self.values,
            self._indices,
            self._targets,
            self._trace,
            start,
            stop,
        )


def _start_effects(model: PredictiveModel, shape: Shape) -> Int[ndarray, "2 effects"]:
    pairs = shape[2] * shape[3] if model.paired else 1
    effects = np.zeros((2, 1 + sum(shape) + pairs), np.int64)
    effects[0, 0] = model.scale * (1 << LOG_BITS) // SCALES_PER_OCTAVE
    unit = 1 << (LOG_BITS - 5)
    effects[1, 0] = _TENSOR_VARIANCE * unit
    effects[1, 1:-pairs] = np.repeat([VARIANCES[model.variance] * unit * (size > 1) for size in shape], shape)
    effects[1, -pairs:] = _PAIR_VARIANCE * unit * model.paired
    return effects


def tables(curve: Curve) -> Tables:
    chances, moments = curve_table(curve)
    return frequency_costs(), stretch_table(), squash_table(), octave_table(), chances, moments
