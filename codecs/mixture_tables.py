"""Integers from two curves of one family, a wide and a narrow one: the exact distribution of the mixture prior."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.adaptive import CONSTANT, TensorModel
from inrzip.codecs.bit_counter import cost_of
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.side_numbers import AdaptiveNumber
from inrzip.codecs.static_choice import N_LADDER, Histogram, best_static, histogram, histogram_cost
from inrzip.codecs.static_tables import (
    StaticTable,
    as_values,
    decode_under,
    encode_under,
    parametric_table,
    split_under,
)
from inrzip.codecs.tensor_header import HeaderCoder
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import STEPS_PER_OCTAVE, Family, cumulative_frequencies, limit, mass_table

_SHARES = 16  # shares are sixteenths
_FIRST_NARROW = (12, 2 * STEPS_PER_OCTAVE)  # share and distance that the first tensor is compared with
_WIDER = range(0, 2 * STEPS_PER_OCTAVE + 1)  # where the search looks for the wide curve, above the best single one
_FIRST_SHARES = (4, 8, 12)
_FIRST_DISTANCES = (STEPS_PER_OCTAVE, 2 * STEPS_PER_OCTAVE, 4 * STEPS_PER_OCTAVE)


@dataclasses.dataclass(frozen=True)
class MixtureModel:
    """`wide`: the wide curve's scale, the family, the centre. `share`, of the narrow curve: sixteenths, 0 to 15;
    `distance`: by so many quarter octaves it is narrower, 0 if it has no share.
    """

    wide: TensorModel
    share: int = 0
    distance: int = 0


class MixtureTables:
    """An `IntegerCoder`: each tensor's `MixtureModel` and its values."""

    number: ClassVar[int] = 3

    def __init__(self, family: Family = Family.GAUSS) -> None:
        """`family` is the encoder's choice; a decoder need not know it."""
        self._family = family
        self._models = HeaderCoder()  # of which the steps are not used
        self._shares = AdaptiveNumber(3 * 256)
        self._distances = AdaptiveNumber(3 * 256)
        self._share, self._distance = _FIRST_NARROW

    def cost(self, values: Int[ndarray, "..."]) -> int:
        """See `IntegerCoder`."""
        return cost_of(self, lambda coder, encoder: coder.encode(encoder, values))

    def encode(self, encoder: RangeEncoder, values: Int[ndarray, "..."]) -> None:
        """See `IntegerCoder`."""
        if not values.size:
            return
        flat = values.astype(np.int64).ravel()
        model = self._choose(flat, values.ndim)
        self._models.encode_model(encoder, model.wide, values.ndim)
        if model.wide.scale != CONSTANT:
            self._shares.encode(encoder, model.share - self._share)
            self._share = model.share
            if model.share:
                self._distances.encode(encoder, model.distance - self._distance)
                self._distance = model.distance
            encode_under(encoder, flat, mixture_table(model))

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...]) -> Int[ndarray, "..."]:
        """See `IntegerCoder`."""
        if 0 in shape:
            return np.zeros(shape, np.int32)
        wide = self._models.decode_model(decoder, len(shape))
        if wide.scale == CONSTANT:
            return as_values(np.full(shape, wide.centre, np.int64))
        self._share += self._shares.decode(decoder)
        if self._share:
            self._distance += self._distances.decode(decoder)
        model = MixtureModel(wide, self._share, self._distance if self._share else 0)
        if not _sound(model):
            raise CorruptFile("the coded weights are damaged: a mixture is out of range; get the file again")
        return decode_under(decoder, math.prod(shape), mixture_table(model)).reshape(shape)

    def _choose(self, values: Int[ndarray, " n"], rank: int) -> MixtureModel:
        """The cheapest of a coarse search, made better step by step."""
        single = best_static(values, [self._family], partial(self._models.model_cost, rank=rank))
        best = MixtureModel(single)
        if single.scale == CONSTANT:
            return best
        histograms: dict[int, Histogram] = {}

        def price(model: MixtureModel) -> int:
            table = mixture_table(model)
            if table.shift not in histograms:
                histograms[table.shift] = histogram(split_under(values, table)[0])
            return histogram_cost(histograms[table.shift], table) + self._side_cost(model, rank)

        least = price(best)
        candidates = _coarse(single)
        while candidates:
            costs = {model: price(model) for model in candidates if _sound(model)}
            found = min(costs, key=lambda model: costs[model], default=best)
            if found == best or costs[found] >= least:
                break
            best, least = found, costs[found]
            candidates = list(_neighbours(best))
        return best

    def _side_cost(self, model: MixtureModel, rank: int) -> int:
        cost = self._models.model_cost(model.wide, rank)
        cost += cost_of(self._shares, lambda numbers, encoder: numbers.encode(encoder, model.share - self._share))
        if model.share:
            change = model.distance - self._distance
            cost += cost_of(self._distances, lambda numbers, encoder: numbers.encode(encoder, change))
        return cost


@functools.lru_cache(maxsize=1024)
def mixture_table(model: MixtureModel) -> StaticTable:
    """The table of a sound model that is not constant."""
    wide = parametric_table(model.wide)
    if not model.share:
        return wide
    masses = (_SHARES - model.share) * mass_table(model.wide.family, model.wide.table)
    narrow = mass_table(model.wide.family, model.wide.table - model.distance)
    margin = limit(model.wide.table) - limit(model.wide.table - model.distance)
    masses[margin : len(masses) - 1 - margin] += model.share * narrow[:-1]
    masses[-1] += model.share * narrow[-1]
    return StaticTable(cumulative_frequencies(masses), wide.shift, wide.centre)


def _sound(model: MixtureModel) -> bool:
    return 0 <= model.share < _SHARES and 0 <= model.distance <= model.wide.table and 0 < model.wide.scale <= N_LADDER


def _coarse(single: TensorModel) -> list[MixtureModel]:
    return [
        MixtureModel(dataclasses.replace(single, scale=single.scale + wider), share, distance)
        for wider in _WIDER
        for share in _FIRST_SHARES
        for distance in _FIRST_DISTANCES
    ]


def _neighbours(model: MixtureModel) -> Iterator[MixtureModel]:
    """Models that differ by one step of one parameter, or move the narrow curve only."""
    for change in (-1, 1):
        wide = dataclasses.replace(model.wide, scale=max(1, model.wide.scale + change))
        yield MixtureModel(wide, model.share, model.distance)
        yield MixtureModel(wide, model.share, model.distance + change)
        yield MixtureModel(model.wide, model.share + change, model.distance if model.share + change else 0)
        yield MixtureModel(model.wide, model.share, model.distance + change)
