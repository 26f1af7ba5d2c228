"""Pruned tensors: which elements are not zero, and then these. A baseline.

NeRV (Chen et al., NeurIPS 2021, section 3.3) removes the smallest weights of all layers and counts Huffman words of the
others only; without the positions nobody could decode them. Here positions are coded, in about the entropy of their
frequency.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.codecs.bit_counter import cost_of
from inrzip.codecs.huffman import HuffmanCoder
from inrzip.codecs.levels import DAMAGED
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.side_numbers import decode_exp_golomb, encode_exp_golomb
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import TOTAL_BITS

_TOTAL = 1 << TOTAL_BITS


class SparseCoder:
    """An `IntegerCoder`: how many elements are not zero, which, and their values in Huffman words."""

    number: ClassVar[int] = 7

    def __init__(self, values: HuffmanCoder | None = None) -> None:
        self._values = HuffmanCoder() if values is None else values

    @classmethod
    def surveying(cls, tensors: Iterable[Int[ndarray, "..."]]) -> Self:
        """The coder that takes least for all these tensors (see `HuffmanCoder.surveying`)."""
        return cls(HuffmanCoder.surveying([tensor[tensor != 0] for tensor in tensors]))

    def cost(self, values: Int[ndarray, "..."]) -> int:
        """See `IntegerCoder`."""
        return cost_of(self, lambda coder, encoder: coder.encode(encoder, values))

    def encode(self, encoder: RangeEncoder, values: Int[ndarray, "..."]) -> None:
        """See `IntegerCoder`."""
        if not values.size:
            return
        flat = values.ravel()
        kept = flat != 0
        count = int(kept.sum())
        encode_exp_golomb(encoder, count, _count_order(flat.size))
        if 0 < count < flat.size:
            zeros = _zero_share(count, flat.size)
            starts, sizes = np.where(kept, zeros, 0), np.where(kept, _TOTAL - zeros, zeros)
            encoder.encode_block(starts, sizes, TOTAL_BITS)
        self._values.encode(encoder, flat[kept])

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...]) -> Int[ndarray, "..."]:
        """See `IntegerCoder`."""
        n = math.prod(shape)
        values = np.zeros(n, np.int32)
        if n:
            count = decode_exp_golomb(decoder, _count_order(n))
            if count > n:
                raise CorruptFile(DAMAGED.format("a number of weights"))
            kept = np.full(n, count == n)
            if 0 < count < n:
                kept = np.array(decoder.decode_block([0, _zero_share(count, n), _TOTAL], n, TOTAL_BITS), bool)
            values[kept] = self._values.decode(decoder, (int(kept.sum()),))
        return values.reshape(shape)


def _count_order(n: int) -> int:
    """About the bit length of the number of elements that are kept."""
    return max(0, n.bit_length() - 2)


def _zero_share(count: int, n: int) -> int:
    """The frequency of zeros, out of 2^16, if `count` of `n` elements are not zero."""
    return min(max((n - count) * _TOTAL // n, 1), _TOTAL - 1)


def prune(tensors: Sequence[Float[ndarray, "..."]], keep: float) -> list[Float[ndarray, "..."]]:
    """`tensors` with zeros for their smallest weights, one threshold for all, so that the part `keep` (0 to 1) stays.

    Only tensors of two axes and more are pruned: biases are few, and matter more.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"`keep` is {keep}; it is the part of the weights that stays, from 0 to 1")
    magnitudes = [np.abs(tensor).ravel() for tensor in tensors if tensor.ndim > 1]
    everything = np.sort(np.concatenate([np.zeros(0), *magnitudes]))
    removed = round((1 - keep) * len(everything))
    threshold = everything[removed - 1] if removed else -1.0
    return [np.where((np.abs(t) > threshold) | (t.ndim < 2), t, 0).astype(t.dtype) for t in tensors]
