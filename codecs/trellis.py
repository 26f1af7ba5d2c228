"""Trellis-coded ("dependent") quantisation with eight states, as in NNC and VVC.

Of two quantisers, one has the even multiples of a step and the other the odd ones and zero. Which of them an index is
of depends on a state, and the next state on the index's parity: so an index tells apart as many values as with steps
twice as long, but the encoder finds a path through values a single step apart. See Haase et al., "Dependent scalar
quantization for neural network compression" (ICIP 2020), and ISO/IEC 15938-17, whose transitions these are.

The best path has the least squared error plus a price for bits (Viterbi's algorithm). NNC gives every survivor its own
copy of the coder's contexts. Here all share the predictions and scales of the tensor rounded to single steps, since
these hardly depend on which of two values beside it a neighbour took: a second search, with those of the path that the
first found, gained 0.00 to 0.02 dB (2 to 6 bits a weight; NeRV and HNeRV).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.codecs.predictive_choice import choose_predictive
from inrzip.codecs.predictive_kernels import SLOPE_BITS, TARGET_BITS, walk
from inrzip.codecs.predictive_model import Run, tables
from inrzip.codecs.trellis_kernels import N_STATES, search
from inrzip.codecs.uniform import MAX_MAGNITUDE, N_STEPS, step_size
from inrzip.codecs.views import splits, unview, view, view_shape
from inrzip.priors.bell_curves import Curve

SLOPE = 0.2
"""Squared steps that a bit is worth, unless the caller says otherwise. At high rate it should be 2 ln 2 times the mean
squared error, 0.35, but there it makes no difference; at 1 bit a weight, 0.2 is better.
"""
STEP_RATIO = 7
"""Steps of the ladder by which a trellis's step is shorter than a uniform quantiser's of about the same error."""

_MAX_SLOPE = 1024.0  # far beyond where everything becomes 0


@dataclasses.dataclass(frozen=True)
class TrellisSteps:
    """Levels of a tensor of some shape: multiples of one step, along a trellis through its view with a `split`.

    The tensor's integers are arranged in that view (`inrzip.codecs.views`).
    """

    step_index: int
    split: int
    shape: tuple[int, ...]
    number: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not 0 <= self.step_index < N_STEPS:
            raise ValueError(f"a step index is {self.step_index}; step indices are 0 to {N_STEPS - 1}")
        if self.split not in splits(self.shape):
            raise ValueError(f"a tensor of shape {self.shape} cannot be split by {self.split}")

    @property
    def arranged(self) -> tuple[int, int, int, int]:
        """The shape of the integers."""
        return view_shape(self.shape, self.split)

    def dequantise(self, integers: Int[ndarray, "a b c d"]) -> Float[ndarray, "..."]:
        """The tensor, float32, in its own shape."""
        return unview(dequantise_trellis(integers, self.step_index), self.split, self.shape)


def quantise_trellis(
    tensor: Float[ndarray, "..."], step_index: int, slope: float = SLOPE, split: int | None = None
) -> tuple[Int[ndarray, "a b c d"], TrellisSteps]:
    """The indices of a tensor, int32, and what they stand for.

    `slope` is what a bit is worth, in squared steps. `split` None: the view in which elements can be predicted best.
    Raises `ValueError` if an element is NaN.
    """
    wide = np.asarray(tensor, np.float64)
    if np.isnan(wide).any():
        raise ValueError("`tensor` holds NaN, which cannot be quantised; the fit has diverged")
    if not (math.isfinite(slope) and slope >= 0):
        raise ValueError(f"`slope` is {slope}; it is a number of squared steps")
    candidates = splits(tensor.shape) if split is None else [split]
    if not wide.size:
        levels = TrellisSteps(step_index, candidates[0], tensor.shape)
        return np.zeros(levels.arranged, np.int32), levels
    steps = np.clip(wide / step_size(step_index), -MAX_MAGNITUDE, MAX_MAGNITUDE)
    nearest = np.rint(steps).astype(np.int64)
    model = choose_predictive(lambda split: view(nearest, split), candidates, lambda _: 0)
    levels = TrellisSteps(step_index, model.split, tensor.shape)
    targets = np.rint(view(steps, model.split).ravel() * (1 << TARGET_BITS)).astype(np.int64)
    expected = Run(model, levels.arranged, view(nearest, model.split).flatten(), False).expectations()
    indices = _find_path(targets, expected, Curve(model.curve), slope)
    return indices.astype(np.int32).reshape(levels.arranged), levels


def _find_path(
    targets: Int[ndarray, " n"], expected: Int[ndarray, "2 n"], curve: Curve, slope: float
) -> Int[ndarray, " n"]:
    n = len(targets)
    choices, origins = np.zeros((n, 4), np.int64), np.zeros((n, N_STATES), np.int8)
    paths, indices = np.zeros((2, N_STATES), np.int64), np.zeros(n, np.int64)
    search(
        tables(curve),
        expected,
        targets,
        round(min(slope, _MAX_SLOPE) * (1 << SLOPE_BITS)),
        choices,
        origins,
        paths,
        indices,
    )
    return indices


def dequantise_trellis(indices: Int[ndarray, "*shape"], step_index: int) -> Float[ndarray, "*shape"]:
    """The float32 nearest to what each index stands for: the trellis runs through them in row order, and the product
    with the step is in float64, so that every machine finds the same.
    """
    values = np.zeros(indices.size, np.int64)
    walk(indices.astype(np.int64).ravel(), values)
    return (values.astype(np.float64) * step_size(step_index)).astype(np.float32).reshape(indices.shape)
