"""What precedes the values of each tensor in a stream: its step index and its model, coded relative to those of a
tensor before.
"""

from __future__ import annotations

from typing import NamedTuple

from inrzip.codecs.adaptive import ADAPTATIONS, CONSTANT, N_SCALES, TensorModel
from inrzip.codecs.model_choice import BIT, frequency_costs
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.side_numbers import AdaptiveNumber
from inrzip.codecs.uniform import N_STEPS
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import UNIT_TABLE, Family

_DAMAGED = "the coded weights are damaged: {} is out of range; get the file again"
_N_SHAPES = len(Family) * len(ADAPTATIONS)


class _Before(NamedTuple):
    """What the next tensor is compared with. `shape` joins the family and the adaptation."""

    step: int
    scale: int
    shape: int


# Before the first tensor: a step of 2^-8, a scale of 4 steps.
_START = _Before(step=24 * 8, scale=1 + UNIT_TABLE + 8, shape=0)


class HeaderCoder:
    """Codes steps and models. The encoder's and the decoder's copies learn the same from the same calls in the same
    order.
    """

    def __init__(self) -> None:
        # The mean magnitudes to start from, in 1/256: differences of steps, of scales, of shapes; signed bit lengths of
        # centres.
        self._steps = AdaptiveNumber(8 * 256)
        self._scales = AdaptiveNumber(4 * 256)
        self._shapes = AdaptiveNumber(256)
        self._centres = AdaptiveNumber(64)
        self._last = _START
        self._of_rank: dict[int, _Before] = {}

    def encode_step(self, encoder: RangeEncoder, step: int, rank: int) -> None:
        """Codes a tensor's step index."""
        self._steps.encode(encoder, step - self._before(rank).step)
        self._remember(rank, step=step)

    def decode_step(self, decoder: RangeDecoder, rank: int) -> int:
        """Reads a tensor's step index; raises `CorruptFile` if it is no index."""
        step = self._before(rank).step + self._steps.decode(decoder)
        if not 0 <= step < N_STEPS:
            raise CorruptFile(_DAMAGED.format("a quantisation step"))
        self._remember(rank, step=step)
        return step

    def observe_step(self, step: int, rank: int) -> None:
        """Learns what `encode_step` would, without coding."""
        self._steps.observe(step - self._before(rank).step)
        self._remember(rank, step=step)

    def step_cost(self, step: int, rank: int) -> int:
        """What `encode_step` would spend, in 1 / 4096 bit."""
        return _cost(self._steps, step - self._before(rank).step)

    def encode_model(self, encoder: RangeEncoder, model: TensorModel, rank: int) -> None:
        """Codes a tensor's model, after its step."""
        for number, value in self._numbers(model, rank):
            number.encode(encoder, value)
        encoder.encode_bits(abs(model.centre), max(0, model.centre.bit_length() - 1))  # less the leading 1
        self._remember_model(model, rank)

    def decode_model(self, decoder: RangeDecoder, rank: int) -> TensorModel:
        """Reads a tensor's model; raises `CorruptFile` if there is no such model."""
        before = self._before(rank)
        scale = before.scale + self._scales.decode(decoder)
        shape = before.shape + (self._shapes.decode(decoder) if scale != CONSTANT else 0)
        length = self._centres.decode(decoder)
        if not (0 <= scale < N_SCALES and 0 <= shape < _N_SHAPES and abs(length) <= 32):
            raise CorruptFile(_DAMAGED.format("a tensor's model"))
        magnitude = (1 << abs(length) - 1 | decoder.decode_bits(abs(length) - 1)) if length else 0
        family, adaptation = divmod(shape, len(ADAPTATIONS))
        model = TensorModel(scale, Family(family), adaptation, -magnitude if length < 0 else magnitude)
        self._remember_model(model, rank)
        return model

    def observe_model(self, model: TensorModel, rank: int) -> None:
        """Learns what `encode_model` would, without coding."""
        for number, value in self._numbers(model, rank):
            number.observe(value)
        self._remember_model(model, rank)

    def model_cost(self, model: TensorModel, rank: int) -> int:
        """What `encode_model` would spend, in 1 / 4096 bit."""
        raw_bits = max(0, model.centre.bit_length() - 1)
        return BIT * raw_bits + sum(_cost(number, value) for number, value in self._numbers(model, rank))

    def _numbers(self, model: TensorModel, rank: int) -> list[tuple[AdaptiveNumber, int]]:
        """What is coded of a model, but for the centre's low bits."""
        before = self._before(rank)
        length = model.centre.bit_length()
        numbers = [(self._scales, model.scale - before.scale)]
        if model.scale != CONSTANT:
            numbers.append((self._shapes, _shape(model) - before.shape))
        return [*numbers, (self._centres, -length if model.centre < 0 else length)]

    def _before(self, rank: int) -> _Before:
        return self._of_rank.get(rank, self._last)

    def _remember(self, rank: int, **changes: int) -> None:
        self._last = self._of_rank[rank] = self._before(rank)._replace(**changes)

    def _remember_model(self, model: TensorModel, rank: int) -> None:
        """A constant tensor, most often one of zeros, says nothing of the next one's scale, but it does of the next
        one's being constant.
        """
        if model.scale == CONSTANT:
            self._remember(rank, scale=CONSTANT)
        else:
            self._remember(rank, scale=model.scale, shape=_shape(model))


def _shape(model: TensorModel) -> int:
    return int(model.family) * len(ADAPTATIONS) + model.adaptation


def _cost(number: AdaptiveNumber, value: int) -> int:
    frequency, raw_bits = number.frequency(value)
    return int(frequency_costs()[frequency]) + BIT * raw_bits
