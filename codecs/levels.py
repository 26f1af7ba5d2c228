"""Levels: what value each integer of a quantised tensor stands for.

A stream holds, for each tensor, its levels and then its integers. The kinds of levels are here (uniform steps, one for
a tensor or one for each channel; half-precision floats), in `inrzip.codecs.minmax` and in `inrzip.codecs.codebook`; how
they are written is in `inrzip.codecs.levels_coder`. Numbers of kinds are never re-used; 2 is the trellis's.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from jaxtyping import Float, Int, Num
from numpy import ndarray

from inrzip.codecs import uniform
from inrzip.codecs.uniform import MAX_MAGNITUDE, N_STEPS, step_size
from inrzip.errors import CorruptFile

DAMAGED = "the coded weights are damaged: {} is out of range; get the file again"
HALF_BITS = 16
MAX_HALF = 65504.0
_HALF_EXPONENT = 0x7C00  # all ones in a half-precision infinity or NaN


class Levels(Protocol):
    """What the integers of one tensor stand for."""

    number: ClassVar[int]
    """What files call the kind."""

    def dequantise(self, integers: Int[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
        """The values, float32 and finite, the same on every machine. Raises `CorruptFile` for an integer that stands
        for nothing.
        """


@dataclasses.dataclass(frozen=True)
class UniformSteps:
    """Multiples of one step, number `step_index` of the ladder of `inrzip.codecs.uniform`."""

    step_index: int
    number: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not 0 <= self.step_index < N_STEPS:
            raise ValueError(f"a step index is {self.step_index}; step indices are 0 to {N_STEPS - 1}")

    def dequantise(self, integers: Int[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
        """The float32 nearest to each product."""
        return uniform.dequantise(integers, self.step_index)

    def quantise(self, tensor: Float[ndarray, "*shape"]) -> Int[ndarray, "*shape"]:
        """The nearest integers."""
        return uniform.quantise(tensor, self.step_index)

    def steps(self) -> Float[ndarray, ""]:
        """The step as float64."""
        return np.asarray(step_size(self.step_index))


@dataclasses.dataclass(frozen=True)
class ChannelSteps:
    """Multiples of a step for each channel, or each combination of channels of several axes (NVRC's row x column).

    An element's step is the ladder's number `step_index` plus an offset for its place along each axis. `offsets` has an
    entry for each axis of the tensor: an offset for each channel, or nothing where the axis has no part in it. Offsets
    are eighths of an octave; they are cheapest in multiples of 8, 4 or 2, and steps that are a quarter of an octave off
    their best cost little (see `inrzip.channel_sensitivity`).
    """

    step_index: int
    offsets: tuple[tuple[int, ...], ...]
    number: ClassVar[int] = 1

    def __post_init__(self) -> None:
        least = self.step_index + sum(min(offsets, default=0) for offsets in self.offsets)
        greatest = self.step_index + sum(max(offsets, default=0) for offsets in self.offsets)
        if not (0 <= self.step_index < N_STEPS and least >= 0 and greatest < N_STEPS):
            raise ValueError(f"step indices from {least} to {greatest} around {self.step_index}: not all on the ladder")

    def dequantise(self, integers: Int[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
        """The float32 nearest to each product."""
        products = np.asarray(integers).astype(np.float64) * self.steps()
        return np.asarray(products, np.float32)

    def quantise(self, tensor: Float[ndarray, "*shape"]) -> Int[ndarray, "*shape"]:
        """The nearest integers, as `uniform.quantise` finds them for one step."""
        wide = np.asarray(tensor, np.float64)
        if np.isnan(wide).any():
            raise ValueError("`tensor` holds NaN, which cannot be quantised; the fit has diverged")
        nearest = np.rint(wide / self.steps())
        return np.asarray(np.clip(nearest, -MAX_MAGNITUDE, MAX_MAGNITUDE), np.int32)

    def steps(self) -> Float[ndarray, "..."]:
        """The steps as float64, shaped to be combined with the tensor."""
        rank = len(self.offsets)
        indices = np.full((1,) * rank, self.step_index, np.int64)
        for axis, offsets in enumerate(self.offsets):
            if offsets:
                indices = indices + along(np.array(offsets, np.int64), axis, rank)
        return step_ladder()[indices]


@dataclasses.dataclass(frozen=True)
class HalfFloat:
    """Half-precision floats, the integers being their bit patterns, 0 to 65535: no quantisation to speak of."""

    number: ClassVar[int] = 5

    def dequantise(self, integers: Int[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
        """The floats of these patterns."""
        patterns = np.asarray(integers)
        if ((patterns < 0) | (patterns >> HALF_BITS > 0) | (patterns & _HALF_EXPONENT == _HALF_EXPONENT)).any():
            raise CorruptFile(DAMAGED.format("a half-precision weight"))
        return patterns.astype(np.uint16).view(np.float16).astype(np.float32)

    def quantise(self, tensor: Float[ndarray, "*shape"]) -> Int[ndarray, "*shape"]:
        """Patterns of the nearest half-precision floats, of the greatest ones for what is beyond them."""
        if np.isnan(tensor).any():
            raise ValueError("`tensor` holds NaN, which cannot be quantised; the fit has diverged")
        return nearest_halves(tensor).view(np.uint16).astype(np.int32)


@functools.cache
def step_ladder() -> Float[ndarray, " steps"]:
    """All steps of the ladder, float64."""
    ladder = np.array([step_size(index) for index in range(N_STEPS)])
    ladder.setflags(write=False)
    return ladder


def nearest_halves(values: Float[ndarray, "..."] | Sequence[float]) -> Float[ndarray, "..."]:
    """Float16 values, the greatest ones in place of infinity."""
    return np.clip(np.asarray(values, np.float64), -MAX_HALF, MAX_HALF).astype(np.float16)


def along(values: Num[ndarray, " channels"], axis: int, rank: int) -> Num[ndarray, "..."]:
    """`values`, one for each channel along `axis`, shaped to be combined with a tensor of `rank` axes."""
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])
