"""The adaptive table coder: for each tensor a parametric table to start from, and counts: `inrzip.codecs.adaptive`."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.adaptive import TensorModel, decode_values, encode_values
from inrzip.codecs.model_choice import choose_model, values_cost
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.tensor_header import HeaderCoder


class AdaptiveTables:
    """An `IntegerCoder`: each tensor's model, as a difference to those before, and its values; an empty tensor has
    neither.
    """

    number: ClassVar[int] = 0

    def __init__(self) -> None:
        self._models = HeaderCoder()  # of which the steps are not used

    def cost(self, values: Int[ndarray, "..."]) -> int:
        """What `encode` would spend on a tensor now, in 1 / 4096 bit."""
        if not values.size:
            return 0
        model = self._choose(values)
        return self._models.model_cost(model, values.ndim) + values_cost(_flat(values), model)

    def encode(self, encoder: RangeEncoder, values: Int[ndarray, "..."]) -> None:
        """Codes an integer tensor, of the range of int32 and of any shape."""
        if values.size:
            model = self._choose(values)
            self._models.encode_model(encoder, model, values.ndim)
            encode_values(encoder, _flat(values), model)

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...]) -> Int[ndarray, "..."]:
        """The tensor, as int32. Raises `CorruptFile`."""
        if 0 in shape:
            return np.zeros(shape, np.int32)
        model = self._models.decode_model(decoder, len(shape))
        return decode_values(decoder, math.prod(shape), model).reshape(shape)

    def _choose(self, values: Int[ndarray, "..."]) -> TensorModel:
        return choose_model(_flat(values), partial(self._models.model_cost, rank=values.ndim))


def _flat(values: Int[ndarray, "..."]) -> Int[ndarray, " n"]:
    return values.astype(np.int64).ravel()
