"""Integers whose scale differs from row to row and from column to column: NVRC's dual axis model (Kwan et al., "NVRC:
Neural Video Representation Compression", NeurIPS 2024), in integers.

An element's scale is the tensor's plus an offset for its place along each of the last two axes, on the ladder of
`TensorModel`, where a sum of indices is a product of scales. Elements of one scale are coded together, scale by scale,
so that a table is looked up once for many. Offsets are side information: they are multiples of a *grain* that is the
coarser, the fewer elements a row or column has, and an axis has them only where they pay.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.adaptive import CONSTANT, TensorModel
from inrzip.codecs.axis_search import axis_scales, cell_sums
from inrzip.codecs.bit_counter import cost_of
from inrzip.codecs.model_choice import BIT
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.side_numbers import AdaptiveNumber
from inrzip.codecs.static_choice import N_LADDER, Histogram, best_static, histogram, histogram_cost
from inrzip.codecs.static_tables import (
    STATIC,
    StaticTable,
    as_values,
    decode_under,
    encode_under,
    parametric_table,
    split_under,
)
from inrzip.codecs.tensor_header import HeaderCoder
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import UNIT_TABLE, Family

_LEAST_PLACES = 3  # an axis of fewer has no offsets
_GRAINS = ((400, 1), (100, 2), (0, 4))  # elements that a place has, at least, and its grain
_SPREADS = range(UNIT_TABLE - 6, UNIT_TABLE + 10)  # tables for offsets: mean magnitudes of 0.35 to 4.8
_FIRST_SPREAD = UNIT_TABLE
_NEAR = 2  # scales to either side that are tried once offsets are found

Offsets = Int[ndarray, " places"] | None
"""For each place along an axis, in grains; None: the axis has no part in the scales."""


@dataclasses.dataclass(frozen=True)
class AxisModel:
    """`tensor`: the scale that offsets add to, the family, the centre. `offsets`: of the last axes, in order: none for
    a tensor of less than two axes, else those of rows and of columns.
    """

    tensor: TensorModel
    offsets: tuple[Offsets, ...] = ()


class AxisTables:
    """An `IntegerCoder`: each tensor's `TensorModel`, its offsets, and its elements, scale by scale."""

    number: ClassVar[int] = 2

    def __init__(self, families: Sequence[Family] = tuple(Family), dual: bool = True) -> None:
        """For encoders: curves are of `families`, and there are offsets only if `dual`. A decoder need not know."""
        self._families = families
        self._dual = dual
        self._models = HeaderCoder()  # of which the steps are not used
        self._spreads = AdaptiveNumber(2 * 256)
        self._spread = _FIRST_SPREAD

    def cost(self, values: Int[ndarray, "..."]) -> int:
        """See `IntegerCoder`."""
        return cost_of(self, lambda coder, encoder: coder.encode(encoder, values))

    def encode(self, encoder: RangeEncoder, values: Int[ndarray, "..."]) -> None:
        """See `IntegerCoder`."""
        if not values.size:
            return
        values = values.astype(np.int64)
        model = self._choose(values)
        self._models.encode_model(encoder, model.tensor, values.ndim)
        if model.tensor.scale != CONSTANT:
            for offsets, n_places in zip(model.offsets, _axes(values.shape), strict=True):
                self._encode_offsets(encoder, offsets, n_places)
            flat = values.ravel()
            for group, places in _groups(model, values.shape):
                encode_under(encoder, flat[places], parametric_table(group))

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...]) -> Int[ndarray, "..."]:
        """See `IntegerCoder`."""
        values = np.zeros(math.prod(shape), np.int64)
        if values.size:
            tensor = self._models.decode_model(decoder, len(shape))
            values += tensor.centre
            if tensor.scale != CONSTANT:
                offsets = tuple(self._decode_offsets(decoder, n) for n in _axes(shape))
                for group, places in _groups(AxisModel(tensor, offsets), shape):
                    values[places] = decode_under(decoder, len(places), parametric_table(group))
        return as_values(values.reshape(shape))

    def _encode_offsets(self, encoder: RangeEncoder, offsets: Offsets, n_places: int) -> None:
        """Whether there are any, the table that they are coded with, and the offsets."""
        if n_places >= _LEAST_PLACES:
            encoder.encode_bits(int(offsets is not None), 1)
        if offsets is not None:
            _, spread = price_of_offsets(offsets)
            self._spreads.encode(encoder, spread - self._spread)
            self._spread = spread
            encode_under(encoder, offsets, _spread_table(spread))

    def _decode_offsets(self, decoder: RangeDecoder, n_places: int) -> Offsets:
        if n_places < _LEAST_PLACES or not decoder.decode_bits(1):
            return None
        self._spread += self._spreads.decode(decoder)
        if self._spread not in _SPREADS:
            raise CorruptFile("the coded weights are damaged: a spread is out of range; get the file again")
        return decode_under(decoder, n_places, _spread_table(self._spread)).astype(np.int64)

    def _choose(self, values: Int[ndarray, "..."]) -> AxisModel:
        """The cheapest of: no offsets, offsets along one axis, offsets along both."""
        side_cost = partial(self._models.model_cost, rank=values.ndim)
        flat = values.ravel()
        plain = best_static(flat, self._families, side_cost)
        if values.ndim < 2 or plain.scale == CONSTANT:
            return AxisModel(plain)
        best = AxisModel(plain, (None, None))
        rows, columns = (self._dual and n >= _LEAST_PLACES for n in values.shape[-2:])
        chosen_axes = [axes for axes in ((rows, False), (False, columns), (rows, columns)) if any(axes)]
        if not chosen_axes:
            return best
        table = parametric_table(plain)
        least = side_cost(plain) + histogram_cost(histogram(split_under(flat, table)[0]), table)
        for axes in dict.fromkeys(chosen_axes):
            base, offsets = _find_offsets(values, plain, *axes)
            side = sum(price_of_offsets(found)[0] + 2 * BIT for found in offsets if found is not None)
            groups = _Groups(flat, AxisModel(TensorModel(1 + base, centre=plain.centre), offsets), values.shape)
            for family in self._families:
                for scale in range(max(0, base - _NEAR), min(N_LADDER, base + _NEAR + 1)):
                    tensor = TensorModel(1 + scale, family, STATIC, plain.centre)
                    cost = side + side_cost(tensor) + groups.cost(tensor, scale - base)
                    if cost < least:
                        best, least = AxisModel(tensor, offsets), cost
        return best


class _Groups:
    """The elements of a tensor by their scales, counted once for all families and for all scales of the tensor."""

    def __init__(self, values: Int[ndarray, " n"], model: AxisModel, shape: tuple[int, ...]) -> None:
        self._values = [(group.scale - 1, values[places]) for group, places in _groups(model, shape)]
        self._counted: dict[tuple[int, int], Histogram] = {}

    def cost(self, tensor: TensorModel, change: int) -> int:
        """What the elements take in curves of the family of `tensor`, with all scales changed by `change`."""
        cost = 0
        for scale, values in self._values:
            moved = 1 + min(max(scale + change, 0), N_LADDER - 1)
            table = parametric_table(dataclasses.replace(tensor, scale=moved))
            if (scale, table.shift) not in self._counted:
                self._counted[scale, table.shift] = histogram(split_under(values, table)[0])
            cost += histogram_cost(self._counted[scale, table.shift], table)
        return cost


def _find_offsets(
    values: Int[ndarray, "..."], plain: TensorModel, rows: bool, columns: bool
) -> tuple[int, tuple[Offsets, ...]]:
    """A scale, and offsets to it along the axes asked for, whose middle is 0."""
    base, n_cells = plain.scale - 1, math.prod(values.shape[-2:])
    offsets: list[Offsets] = []
    for scales in axis_scales(cell_sums(values, plain.centre), values.size // n_cells, base, rows, columns):
        if scales is None:
            offsets.append(None)
            continue
        grain = grain_of(values.size // len(scales))
        in_grains = (scales + (grain >> 1)) // grain
        middle = int(np.partition(in_grains, len(in_grains) // 2)[len(in_grains) // 2])
        base += grain * middle
        offsets.append(in_grains - middle)
    return min(max(base, 0), N_LADDER - 1), tuple(offsets)


def _axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of rows and of columns; nothing for a tensor of less than two axes."""
    return shape[-2:] if len(shape) > 1 else ()


def _groups(model: AxisModel, shape: tuple[int, ...]) -> Iterator[tuple[TensorModel, Int[ndarray, " places"]]]:
    """The model of each scale that occurs, in ascending order, and the places in row order of the elements that have
    it. Scales are kept within the ladder.
    """
    scales = np.full(shape[-2:], model.tensor.scale - 1, np.int64)
    n = math.prod(shape)
    for axis, offsets in enumerate(model.offsets):
        if offsets is not None:
            bounded = np.clip(offsets, -N_LADDER, N_LADDER) * grain_of(n // len(offsets))
            scales = scales + (bounded[:, None] if axis == 0 else bounded)
    of_element = np.broadcast_to(np.clip(scales, 0, N_LADDER - 1).astype(np.uint8), shape).ravel()
    order = np.argsort(of_element, kind="stable")  # of bytes: a sort by counting
    ends = np.cumsum(np.bincount(of_element, minlength=N_LADDER)).tolist()
    start = 0
    for scale, end in enumerate(ends):
        if end > start:
            yield dataclasses.replace(model.tensor, scale=1 + scale), order[start:end]
        start = end


def grain_of(n_elements: int) -> int:
    """The grain of a place of so many elements. An error of e in the logarithm of the scale costs `e^2 / 2` nats an
    element, so that halving the grain, which costs a bit, pays above a number of elements.
    """
    return next(grain for least, grain in _GRAINS if n_elements >= least)


def price_of_offsets(offsets: Int[ndarray, " places"]) -> tuple[int, int]:
    """What offsets take in the table that suits them best, in 1 / 4096 bit; and that table."""
    counted = histogram(offsets)
    return min((histogram_cost(counted, _spread_table(spread)), spread) for spread in _SPREADS)


def _spread_table(spread: int) -> StaticTable:
    return parametric_table(TensorModel(1 + spread, Family.GAUSS, STATIC))
