"""How the models of predictive coding are written: relative to those before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from inrzip.codecs.model_choice import BIT, frequency_costs
from inrzip.codecs.predictive_kernels import MAX_INDEX
from inrzip.codecs.predictive_model import (
    CONSTANT_BITS,
    LOCALITIES,
    MAX_COEFFICIENT,
    SCALES_PER_OCTAVE,
    VARIANCES,
    PredictiveModel,
)
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.side_numbers import AdaptiveNumber
from inrzip.codecs.views import MAX_SPLIT, splits, view_shape
from inrzip.errors import CorruptFile
from inrzip.priors.bell_curves import Curve

MIN_SCALE = -4 * SCALES_PER_OCTAVE
MAX_SCALE = 31 * SCALES_PER_OCTAVE

_DAMAGED = "the coded weights are damaged: a tensor's model is out of range; get the file again"
_MAX_CONSTANT = (MAX_INDEX + 1) << CONSTANT_BITS


class _Field(NamedTuple):
    """A number of a model that is coded as a difference; `spread`: 256 times what its magnitude is expected to be."""

    name: str
    least: int
    greatest: int
    spread: int


_FIELDS = (
    _Field("split", 1, MAX_SPLIT, 64),
    _Field("scale", MIN_SCALE, MAX_SCALE, 4 * 256),
    _Field("curve", 0, len(Curve) - 1, 128),
    _Field("variance", 0, len(VARIANCES) - 1, 128),
    _Field("locality", 0, len(LOCALITIES) - 1, 64),
    _Field("paired", 0, 1, 32),
)
_START = PredictiveModel(scale=2 * SCALES_PER_OCTAVE)


class ModelCoder:
    """Codes what precedes the values of each tensor: a model, or, of a tensor whose values are all equal, that value.

    Most numbers are coded as the difference to those of the last tensor of as many axes, or else of the last of all;
    the encoder's and the decoder's copies learn the same from the same calls.
    """

    def __init__(self) -> None:
        self._equal = AdaptiveNumber(32)  # the mean magnitude to start from, in 1/256; likewise below
        self._fields = {field: AdaptiveNumber(field.spread) for field in _FIELDS}
        self._coefficients = AdaptiveNumber(4 * 256)
        self._lengths = AdaptiveNumber(64)
        self._last = _START
        self._of_rank: dict[int, PredictiveModel] = {}

    def encode(self, encoder: RangeEncoder, model: PredictiveModel | int, shape: tuple[int, ...]) -> None:
        """Codes the model, or the only value, of a tensor."""
        constant = model if isinstance(model, int) else model.constant
        for number, value in self._numbers(model, shape):
            number.encode(encoder, value)
        encoder.encode_bits(abs(constant), max(0, constant.bit_length() - 1))  # less the leading 1
        if not isinstance(model, int):
            self._remember(model, shape)

    def cost(self, model: PredictiveModel | int, shape: tuple[int, ...]) -> int:
        """About what `encode` would spend, in 1 / 4096 bit: what it learns from one number to the next is left out."""
        constant = model if isinstance(model, int) else model.constant
        rows = [number.frequency(value) for number, value in self._numbers(model, shape)]
        raw_bits = max(0, constant.bit_length() - 1) + sum(raw for _, raw in rows)
        return BIT * raw_bits + sum(int(frequency_costs()[frequency]) for frequency, _ in rows)

    def _numbers(self, model: PredictiveModel | int, shape: tuple[int, ...]) -> Iterator[tuple[AdaptiveNumber, int]]:
        """What is coded of a model, in order, but for the low bits of the constant."""
        yield self._equal, int(isinstance(model, int))
        if not isinstance(model, int):
            before = self._before(shape)
            for field, number in self._fields.items():
                yield number, getattr(model, field.name) - getattr(before, field.name)
            for size, coefficient in zip(view_shape(shape, model.split), model.coefficients, strict=True):
                if size > 1:
                    yield self._coefficients, coefficient
        constant = model if isinstance(model, int) else model.constant
        yield self._lengths, -constant.bit_length() if constant < 0 else constant.bit_length()

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...]) -> PredictiveModel | int:
        """Reads what `encode` wrote. Raises `CorruptFile` if there is no such model."""
        if self._equal.decode(decoder):
            value = self._decode_constant(decoder)
            if not -MAX_INDEX - 1 <= value <= MAX_INDEX:
                raise CorruptFile(_DAMAGED)
            return value
        before = self._before(shape)
        numbers = {}
        for field, number in self._fields.items():
            value = getattr(before, field.name) + number.decode(decoder)
            if not field.least <= value <= field.greatest:
                raise CorruptFile(_DAMAGED)
            numbers[field.name] = value
        if numbers["split"] not in splits(shape):
            raise CorruptFile(_DAMAGED)
        sizes = view_shape(shape, numbers["split"])
        a, b, c, d = (self._coefficients.decode(decoder) if size > 1 else 0 for size in sizes)
        if max(map(abs, (a, b, c, d))) > MAX_COEFFICIENT:
            raise CorruptFile(_DAMAGED)
        model = PredictiveModel(**numbers, coefficients=(a, b, c, d), constant=self._decode_constant(decoder))
        self._remember(model, shape)
        return model

    def _before(self, shape: tuple[int, ...]) -> PredictiveModel:
        """What the next model is compared with."""
        return self._of_rank.get(len(shape), self._last)

    def _remember(self, model: PredictiveModel, shape: tuple[int, ...]) -> None:
        self._last = self._of_rank[len(shape)] = model

    def _decode_constant(self, decoder: RangeDecoder) -> int:
        length = self._lengths.decode(decoder)
        if abs(length) > _MAX_CONSTANT.bit_length():
            raise CorruptFile(_DAMAGED)
        magnitude = (1 << abs(length) - 1 | decoder.decode_bits(abs(length) - 1)) if length else 0
        return -magnitude if length < 0 else magnitude
