"""Coders that describe a tensor by a `TensorModel` and then code its values under it: the adaptive table coder."""

from __future__ import annotations

import abc
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


class ModelledCoder(abc.ABC):
    """An `IntegerCoder`: each tensor's model, as a difference to those before, and its values; an empty tensor has
    neither. What is left open is how values are coded under a model.
    """

    def __init__(self) -> None:
        self._models = HeaderCoder()  # of which the steps are not used

    def cost(self, values: Int[ndarray, "..."]) -> int:
        """What `encode` would spend on a tensor now, in 1 / 4096 bit."""
        if not values.size:
            return 0
        model = self._choose(values)
        return self._models.model_cost(model, values.ndim) + self.price(_flat(values), model)

    def encode(self, encoder: RangeEncoder, values: Int[ndarray, "..."]) -> None:
        """Codes an integer tensor, of the range of int32 and of any shape."""
        if values.size:
            model = self._choose(values)
            self._models.encode_model(encoder, model, values.ndim)
            self.write(encoder, _flat(values), model)

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...]) -> Int[ndarray, "..."]:
        """The tensor, as int32. Raises `CorruptFile`."""
        if 0 in shape:
            return np.zeros(shape, np.int32)
        model = self._models.decode_model(decoder, len(shape))
        return self.read(decoder, math.prod(shape), model).reshape(shape)

    def _choose(self, values: Int[ndarray, "..."]) -> TensorModel:
        return choose_model(_flat(values), partial(self._models.model_cost, rank=values.ndim), self.price)

    @abc.abstractmethod
    def price(self, values: Int[ndarray, " n"], model: TensorModel) -> int:
        """What `write` would spend on int64 values, in 1 / 4096 bit."""

    @abc.abstractmethod
    def write(self, encoder: RangeEncoder, values: Int[ndarray, " n"], model: TensorModel) -> None:
        """Codes int64 values, of the range of int32."""

    @abc.abstractmethod
    def read(self, decoder: RangeDecoder, n: int, model: TensorModel) -> Int[ndarray, " n"]:
        """The `n` values, as int32. Raises `CorruptFile`."""


class AdaptiveTables(ModelledCoder):
    """Values by a table of probabilities, made anew after each block: `inrzip.codecs.adaptive`."""

    number: ClassVar[int] = 0

    def price(self, values: Int[ndarray, " n"], model: TensorModel) -> int:
        """What `write` would spend, in 1 / 4096 bit."""
        return values_cost(values, model)

    def write(self, encoder: RangeEncoder, values: Int[ndarray, " n"], model: TensorModel) -> None:
        """Codes values under `model`."""
        encode_values(encoder, values, model)

    def read(self, decoder: RangeDecoder, n: int, model: TensorModel) -> Int[ndarray, " n"]:
        """Reads values coded under `model`."""
        return decode_values(decoder, n, model)


def _flat(values: Int[ndarray, "..."]) -> Int[ndarray, " n"]:
    return values.astype(np.int64).ravel()
