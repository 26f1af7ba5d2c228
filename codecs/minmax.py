"""Affine quantisation between a tensor's least and greatest value (min-max quantisation), as HNeRV does it (Chen et
al., CVPR 2023): a baseline.

An integer k stands for `minimum + k * scale`; both are half-precision floats, one pair for a tensor or one for each
channel along an axis.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from inrzip.codecs.levels import along, nearest_halves

_MAX_PAIR_SHARE = 0.02
"""An axis is tried if its scales are fewer than this part of the tensor's elements (HNeRV's rule)."""


@dataclasses.dataclass(frozen=True)
class MinMax:
    """`minima[c] + k * scales[c]` for channel c along `axis`; one pair for all if `axis` is None.

    With `pruned`, the integer 0 stands for a weight that was removed, of value 0, and k >= 1 for what k - 1 stands for
    without it. All numbers are finite and exact in half precision.
    """

    axis: int | None
    minima: tuple[float, ...]
    scales: tuple[float, ...]
    pruned: bool = False
    number: ClassVar[int] = 4

    def __post_init__(self) -> None:
        pairs = np.array([self.minima, self.scales], np.float64)
        if not np.array_equal(nearest_halves(pairs), pairs) or (self.axis is None and len(self.scales) != 1):
            raise ValueError("`minima` and `scales` must be finite half-precision numbers, one pair for each channel")

    def dequantise(self, integers: Int[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
        """The float32 nearest to each value; the product is exact in float64, and so is rounded once with the sum."""
        minima, scales = self.pairs(np.ndim(integers))
        wide = np.asarray(integers).astype(np.float64)
        if not self.pruned:
            return np.asarray(minima + wide * scales, np.float32)
        return np.asarray(np.where(wide == 0, 0.0, minima + (wide - 1) * scales), np.float32)

    def pairs(self, rank: int) -> tuple[Float[ndarray, "..."], Float[ndarray, "..."]]:
        """Minima and scales as float64, shaped to be combined with a tensor."""
        axis, rank = (-1, 0) if self.axis is None else (self.axis, rank)
        return along(np.array(self.minima), axis, rank), along(np.array(self.scales), axis, rank)


def quantise_minmax(tensor: Float[ndarray, "*shape"], bits: int) -> tuple[Int[ndarray, "*shape"], MinMax]:
    """Integers from 0 to `2**bits - 1`, and what they stand for: one pair for the tensor, or one for each channel along
    the axis where that leaves the least mean absolute error.
    """
    candidates = [_between(tensor, None, bits, None)]
    candidates += [_between(tensor, axis, bits, None) for axis in _axes(tensor.shape)]
    return min(candidates, key=lambda candidate: _mean_error(tensor, *candidate))


def quantise_pruned(tensor: Float[ndarray, "*shape"], bits: int) -> tuple[Int[ndarray, "*shape"], MinMax]:
    """As `quantise_minmax`, but zeros are removed weights: they get the integer 0, take no part in the minimum, and the
    others get 1 to `2**bits - 1`.
    """
    kept = tensor != 0
    candidates = [_between(tensor, axis, bits, kept) for axis in (None, *_axes(tensor.shape))]
    return min(candidates, key=lambda candidate: _mean_error(tensor, *candidate))


def _axes(shape: tuple[int, ...]) -> list[int]:
    """Axes with so few channels that pairs are a small part of the tensor."""
    n = int(np.prod(shape))
    return [axis for axis, size in enumerate(shape) if size < _MAX_PAIR_SHARE * n]


def _between(
    tensor: Float[ndarray, "*shape"], axis: int | None, bits: int, kept: Bool[ndarray, "*shape"] | None
) -> tuple[Int[ndarray, "*shape"], MinMax]:
    wide = np.asarray(tensor, np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("`tensor` holds infinite values or NaN, which cannot be quantised; the fit has diverged")
    others = tuple(i for i in range(wide.ndim) if i != axis)
    used: Bool[ndarray, "..."] | bool = True if kept is None else kept
    top = (1 << bits) - (1 if kept is None else 2)
    least = np.min(wide, axis=others, where=used, initial=np.inf)
    greatest = np.max(wide, axis=others, where=used, initial=-np.inf)
    empty = least > greatest  # a channel without weights
    minima = nearest_halves(np.where(empty, 0.0, least)).astype(np.float64)
    scales = nearest_halves(np.where(empty, 0.0, (greatest - minima) / top)).astype(np.float64)
    levels = MinMax(
        axis, tuple(np.atleast_1d(minima).tolist()), tuple(np.atleast_1d(scales).tolist()), pruned=kept is not None
    )
    low, step = levels.pairs(wide.ndim)
    integers = np.clip(np.rint((wide - low) / np.where(step == 0, 1.0, step)), 0, top)
    if kept is not None:
        integers = np.where(kept, integers + 1, 0)
    return integers.astype(np.int32), levels


def _mean_error(tensor: Float[ndarray, "*shape"], integers: Int[ndarray, "*shape"], levels: MinMax) -> float:
    return float(np.abs(levels.dequantise(integers) - tensor).sum())
