"""Named ways from a fitted network's arrays to integers and bytes, as `--codec` selects them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from inrzip.codecs.cabac import Cabac
from inrzip.codecs.coder import IntegerCoder
from inrzip.codecs.huffman import HuffmanCoder
from inrzip.codecs.levels import HalfFloat, UniformSteps
from inrzip.codecs.minmax import quantise_minmax, quantise_pruned
from inrzip.codecs.predictive import DependentPredictive
from inrzip.codecs.raw_coder import RawCoder
from inrzip.codecs.sparse import SparseCoder, prune
from inrzip.codecs.tables import AdaptiveTables
from inrzip.codecs.trellis import STEP_RATIO, quantise_trellis
from inrzip.codecs.uniform import allocate_steps, quantise
from inrzip.codecs.weights import AUTOMATIC, QuantisedTensor, encode_tensors

from .errors import InrzipError

MINMAX_BITS = 8
KEPT = 0.6
"""Part of the weights that pruning keeps, as in NeRV (section 3.3)."""

Arrays = Sequence[Float[np.ndarray, "..."]]


@dataclasses.dataclass(frozen=True)
class WeightCodec:
    """How arrays become integers, and integers bytes.

    - `quantise(arrays, sensitivity, level)`: a larger level gives coarser integers (see
      `inrzip.codecs.uniform.allocate_steps`), unless the codec has `fixed_bits`.
    - `coders(tensors)`: what codes these; each tensor gets the cheapest.
    - `quick(arrays, sensitivity, level)`: bytes that change with the level as the codec's do, found in less time.
    - `fixed_bits`: for a codec without levels, about what a parameter takes. The number of parameters then decides the
      size, and there is no fine-tuning.
    - `tuned`: whether fitting with weights rounded to the nearest multiples of steps makes a better network. With other
      quantisers it makes a worse one (measured for the trellis).
    """

    name: str
    summary: str
    quantise: Callable[[Arrays, Sequence[float], float], list[QuantisedTensor]]
    coders: Callable[[Sequence[QuantisedTensor]], list[IntegerCoder]]
    fixed_bits: float | None = None
    tuned: bool = True
    quick: Callable[[Arrays, Sequence[float], float], int] | None = None


def _uniform(arrays: Arrays, sensitivity: Sequence[float], level: float) -> list[QuantisedTensor]:
    steps = allocate_steps(sensitivity, level)
    return [QuantisedTensor(quantise(a, step), UniformSteps(step)) for a, step in zip(arrays, steps, strict=True)]


def _trellis(arrays: Arrays, sensitivity: Sequence[float], level: float) -> list[QuantisedTensor]:
    steps = [max(0, step - STEP_RATIO) for step in allocate_steps(sensitivity, level)]
    return [QuantisedTensor(*quantise_trellis(array, step)) for array, step in zip(arrays, steps, strict=True)]


def _minmax(arrays: Arrays, sensitivity: Sequence[float], level: float) -> list[QuantisedTensor]:
    return [QuantisedTensor(*quantise_minmax(array, MINMAX_BITS)) for array in arrays]


def _pruned(arrays: Arrays, sensitivity: Sequence[float], level: float) -> list[QuantisedTensor]:
    return [QuantisedTensor(*quantise_pruned(array, MINMAX_BITS)) for array in prune(arrays, KEPT)]


def _half(arrays: Arrays, sensitivity: Sequence[float], level: float) -> list[QuantisedTensor]:
    return [QuantisedTensor(HalfFloat().quantise(array), HalfFloat()) for array in arrays]


def _quick(arrays: Arrays, sensitivity: Sequence[float], level: float) -> int:
    return len(encode_tensors(_uniform(arrays, sensitivity, level), [AdaptiveTables()]))


def _integers(tensors: Sequence[QuantisedTensor]) -> list[np.ndarray]:
    return [tensor.integers for tensor in tensors]


CODECS: Mapping[str, WeightCodec] = {
    codec.name: codec
    for codec in (
        WeightCodec(
            "auto",
            "uniform steps by sensitivity; each tensor in the code that takes least",
            _uniform,
            lambda tensors: [make() for make in AUTOMATIC],
            quick=_quick,
        ),
        WeightCodec(
            "trellis",
            "trellis-coded steps, predictive coding",
            _trellis,
            lambda tensors: [DependentPredictive()],
            tuned=False,
            quick=_quick,
        ),
        WeightCodec("tables", "uniform steps; adaptive tables", _uniform, lambda tensors: [AdaptiveTables()]),
        WeightCodec("cabac", "uniform steps; context-adaptive binary coding", _uniform, lambda tensors: [Cabac()]),
        WeightCodec(
            "huffman",
            "8 bits from least to greatest, Huffman words (HNeRV): a baseline",
            _minmax,
            lambda tensors: [HuffmanCoder.surveying(_integers(tensors))],
            fixed_bits=7.2,
        ),
        WeightCodec(
            "pruned",
            "40 % of the weights removed, the others as in `huffman` (NeRV): a baseline",
            _pruned,
            lambda tensors: [SparseCoder.surveying(_integers(tensors))],
            fixed_bits=5.4,
        ),
        WeightCodec("half", "half-precision floats: a baseline", _half, lambda tensors: [RawCoder()], fixed_bits=16.0),
    )
}


def choose_codec(name: str | None) -> WeightCodec:
    """The codec of that name; None: `auto`. Raises InrzipError if there is none."""
    chosen = "auto" if name is None else name
    if chosen not in CODECS:
        raise InrzipError(f"codec {chosen!r} does not exist; there are {', '.join(CODECS)}")
    return CODECS[chosen]
