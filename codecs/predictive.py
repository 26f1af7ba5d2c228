"""Predictive coding of integers: from the neighbours, on all axes, at a scale that follows rows and columns.

The loop and the model of the data are described in `inrzip.codecs.predictive_kernels`, what is coded of a tensor before
its values in `inrzip.codecs.predictive_header`.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.bit_counter import cost_of
from inrzip.codecs.cabac_kernels import DECODE, ENCODE
from inrzip.codecs.predictive_choice import choose_predictive, price
from inrzip.codecs.predictive_header import ModelCoder
from inrzip.codecs.predictive_kernels import MAX_BITS, walk
from inrzip.codecs.predictive_model import PredictiveModel, Run
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder, check
from inrzip.codecs.views import splits, unview, view, view_shape

_BLOCK = 4096  # values for which the encoder makes room at a time


class Predictive:
    """An `IntegerCoder`: for each tensor its model, then its values in the view that the model names."""

    number: ClassVar[int] = 8
    _dependent: ClassVar[bool] = False

    def __init__(self) -> None:
        self._models = ModelCoder()
        self._chosen: tuple[Int[ndarray, "..."], PredictiveModel | int] | None = None  # for the values priced last

    def cost(self, values: Int[ndarray, "..."]) -> int:
        """What `encode` would spend on a tensor now, in 1 / 4096 bit."""
        if not values.size:
            return 0
        model = self._choose(values)
        side = cost_of(self._models, lambda models, encoder: models.encode(encoder, model, values.shape))
        return side if isinstance(model, int) else side + self._price(values, model)

    def encode(self, encoder: RangeEncoder, values: Int[ndarray, "..."]) -> None:
        """Codes an integer tensor, of the range of int32 and of any shape."""
        if not values.size:
            return
        model = self._choose(values)
        self._models.encode(encoder, model, values.shape)
        self._chosen = None
        if not isinstance(model, int):
            encoder.encode_with(lambda: self._write(encoder, values, model), lambda: self._price(values, model))

    def _price(self, values: Int[ndarray, "..."], model: PredictiveModel) -> int:
        return price(view(values.astype(np.int64), model.split), model, self._dependent)

    def _write(self, encoder: RangeEncoder, values: Int[ndarray, "..."], model: PredictiveModel) -> None:
        indices = view(values.astype(np.int64), model.split).flatten()
        run = Run(model, view_shape(values.shape, model.split), indices, self._dependent)
        for start in range(0, len(indices), _BLOCK):
            stop = min(start + _BLOCK, len(indices))
            run.code(ENCODE, encoder.state, encoder.room(MAX_BITS * (stop - start)), start, stop)

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...]) -> Int[ndarray, "..."]:
        """The tensor, as int32. Raises `CorruptFile`."""
        if 0 in shape:
            return np.zeros(shape, np.int32)
        model = self._models.decode(decoder, shape)
        if isinstance(model, int):
            return np.full(shape, model, np.int32)
        indices = np.zeros(math.prod(shape), np.int64)
        viewed = view_shape(shape, model.split)
        check(Run(model, viewed, indices, self._dependent).code(DECODE, decoder.state, decoder.data, 0, len(indices)))
        return unview(indices.astype(np.int32).reshape(viewed), model.split, shape)

    def _choose(self, values: Int[ndarray, "..."]) -> PredictiveModel | int:
        if self._chosen is None or not np.array_equal(self._chosen[0], values):
            self._chosen = values.copy(), self._search(values.astype(np.int64))
        return self._chosen[1]

    def _search(self, values: Int[ndarray, "..."]) -> PredictiveModel | int:
        if values.min() == values.max():
            return int(values.flat[0])
        return choose_predictive(
            lambda split: self._meant(view(values, split)),
            (1,) if self._dependent else splits(values.shape),
            lambda model: self._models.cost(model, values.shape),
        )

    def _meant(self, indices: Int[ndarray, "a b c d"]) -> Int[ndarray, "a b c d"]:
        """What indices stand for, in steps."""
        return indices


class DependentPredictive(Predictive):
    """The same for the indices of a trellis (`inrzip.codecs.trellis`): probabilities are of what indices stand for.

    The trellis runs through the elements in row order, and so does the coder: tensors come to it arranged already.
    """

    number: ClassVar[int] = 9
    _dependent: ClassVar[bool] = True

    def _meant(self, indices: Int[ndarray, "a b c d"]) -> Int[ndarray, "a b c d"]:
        values = np.zeros(indices.size, np.int64)
        walk(indices.flatten(), values)
        return values.reshape(indices.shape)
