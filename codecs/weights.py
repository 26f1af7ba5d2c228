"""The stream of one network: all its quantised tensors in one range-coder stream.

For each tensor, in order: its levels, that is what its integers stand for (`inrzip.codecs.levels_coder`); which coder
its integers are in, as the difference to that of the tensor before; what that coder writes. Shapes are not stored: they
follow from the network's configuration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.codecs.axis_tables import AxisTables
from inrzip.codecs.bit_counter import cost_of
from inrzip.codecs.cabac import Cabac
from inrzip.codecs.coder import IntegerCoder
from inrzip.codecs.huffman import HuffmanCoder
from inrzip.codecs.levels import Levels
from inrzip.codecs.levels_coder import LevelsCoder
from inrzip.codecs.mixture_tables import MixtureTables
from inrzip.codecs.model_choice import BIT
from inrzip.codecs.predictive import DependentPredictive, Predictive
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.raw_coder import RawCoder
from inrzip.codecs.shaped_tables import ShapedTables
from inrzip.codecs.side_numbers import AdaptiveNumber
from inrzip.codecs.sparse import SparseCoder
from inrzip.codecs.tables import AdaptiveTables
from inrzip.codecs.trellis import TrellisSteps
from inrzip.errors import CorruptFile

_ALL: tuple[Callable[[], IntegerCoder], ...] = (
    AdaptiveTables,
    Cabac,
    AxisTables,
    MixtureTables,
    ShapedTables,
    HuffmanCoder,
    RawCoder,
    SparseCoder,
    Predictive,
    DependentPredictive,
)
CODERS: Mapping[int, Callable[[], IntegerCoder]] = {make().number: make for make in _ALL}
"""Every coder by its number."""
_ORDER = (0, 8, 9, 1, 5, 6, 7, 2, 3, 4)
"""A stream names a coder by the distance of its place in this list from that of the coder before: likely changes are
short.
"""

AUTOMATIC: tuple[Callable[[], IntegerCoder], ...] = (AdaptiveTables, Cabac, Predictive)
"""The coders of which each tensor gets the cheapest, unless others are asked for."""

TAGGED_FROM = 2
"""Format version that wrote kinds of levels and coders first. Before, all were `UniformSteps` and `AdaptiveTables`."""

_EXPECTED_CHANGE = 32  # in 1/256: most tensors use the coder of the one before


@dataclasses.dataclass(frozen=True)
class QuantisedTensor:
    """A tensor as `integers`, int32 and of its shape (or as its levels arrange them), and the `levels` that these stand
    for.
    """

    integers: Int[ndarray, "..."]
    levels: Levels

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return self.levels.shape if isinstance(self.levels, TrellisSteps) else self.integers.shape

    def values(self) -> Float[ndarray, "..."]:
        """What a decoder makes of it, float32."""
        return self.levels.dequantise(self.integers)


def encode_tensors(tensors: Sequence[QuantisedTensor], coders: Iterable[IntegerCoder] | None = None) -> bytes:
    """The stream of `tensors`, each in that of `coders`, new ones, which takes least; None: of those in `AUTOMATIC`."""
    encoder, stream = RangeEncoder(), _Stream(make() for make in AUTOMATIC) if coders is None else _Stream(coders)
    for tensor in tensors:
        stream.encode(encoder, tensor)
    return encoder.finish()


def decode_tensors(data: bytes, shapes: Sequence[tuple[int, ...]], version: int = TAGGED_FROM) -> list[QuantisedTensor]:
    """The tensors that `encode_tensors` was given; `version` is the file's. Raises `CorruptFile`.

    It allocates what `shapes` ask for and a small constant: the caller has checked that they are reasonable.
    """
    decoder, stream = RangeDecoder(data), _Stream(make() for make in CODERS.values())
    tagged = version >= TAGGED_FROM
    tensors = [stream.decode(decoder, shape, tagged) for shape in shapes]
    decoder.finish()
    return tensors


def tensor_costs(tensors: Sequence[QuantisedTensor], coders: Iterable[IntegerCoder] | None = None) -> list[float]:
    """Bits that each tensor takes in `encode_tensors`, all that describes it included. The stream's end adds up to a
    byte to their sum.
    """
    stream = _Stream(make() for make in AUTOMATIC) if coders is None else _Stream(coders)
    costs = []
    for tensor in tensors:
        costs.append(cost_of(stream, lambda stream, encoder: stream.encode(encoder, tensor)) / BIT)  # noqa: B023
        stream.encode(RangeEncoder(), tensor)
    return costs


class _Stream:
    """What encoder and decoder learn from tensor to tensor."""

    def __init__(self, coders: Iterable[IntegerCoder]) -> None:
        self._levels = LevelsCoder()
        self._coders = {coder.number: coder for coder in coders}
        self._changes = AdaptiveNumber(_EXPECTED_CHANGE)
        self._kind = AdaptiveTables.number

    def encode(self, encoder: RangeEncoder, tensor: QuantisedTensor) -> None:
        integers = _checked(tensor.integers)
        self._levels.encode(encoder, tensor.levels, tensor.shape)
        kind = min(self._coders, key=lambda kind: self._cost(kind, integers))
        self._changes.encode(encoder, _ORDER.index(kind) - _ORDER.index(self._kind))
        self._kind = kind
        self._coders[kind].encode(encoder, integers)

    def _cost(self, kind: int, integers: Int[ndarray, "..."]) -> int:
        if len(self._coders) == 1:
            return 0
        distance = _ORDER.index(kind) - _ORDER.index(self._kind)
        change = cost_of(self._changes, lambda changes, encoder: changes.encode(encoder, distance))
        return change + self._coders[kind].cost(integers)

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...], tagged: bool) -> QuantisedTensor:
        levels = self._levels.decode(decoder, shape, tagged)
        if tagged:
            place = _ORDER.index(self._kind) + self._changes.decode(decoder)
            if not 0 <= place < len(_ORDER):
                raise CorruptFile("the weights are in an unknown code; the file is damaged, or from a newer inrzip")
            self._kind = _ORDER[place]
        arranged = levels.arranged if isinstance(levels, TrellisSteps) else shape
        integers = self._coders[self._kind].decode(decoder, arranged)
        return QuantisedTensor(integers, levels)


def _checked(tensor: Int[ndarray, "..."]) -> Int[ndarray, "..."]:
    """The elements as int64; raises `ValueError` unless they are integers of the range of int32."""
    if tensor.dtype.kind not in "iu":
        raise ValueError(f"a tensor is of type {tensor.dtype}; quantise it to integers first")
    info = np.iinfo(np.int32)
    if tensor.size and (int(tensor.min()) < info.min or int(tensor.max()) > info.max):
        raise ValueError("a tensor holds values beyond the range of int32")
    return tensor.astype(np.int64)
