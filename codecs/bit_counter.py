"""A range encoder that only adds up what it would spend, so that what codes a thing also prices it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.model_choice import BIT, escape_bits, frequency_costs
from inrzip.codecs.range_coder import RangeEncoder
from inrzip.priors.integer_tables import TOTAL_BITS

StateT = TypeVar("StateT")


class BitCounter(RangeEncoder):
    """Takes the calls of a `RangeEncoder`; `cost` is what they would have spent, in 1 / 4096 bit."""

    def __init__(self) -> None:
        super().__init__()
        self.cost = 0

    def encode_block(
        self, starts: Sequence[int] | Int[ndarray, " n"], sizes: Sequence[int] | Int[ndarray, " n"], total_bits: int
    ) -> None:
        """Counts the symbols whose intervals have `sizes` out of `2**total_bits`."""
        frequencies = np.asarray(sizes, np.int64) << (TOTAL_BITS - total_bits)
        self.cost += int(frequency_costs()[frequencies].sum())

    def encode_escapes(self, values: Int[ndarray, " n"], order: int) -> None:
        """Counts their raw bits."""
        self.cost += BIT * int(escape_bits(np.abs(values), order).sum())

    def encode_with(self, encode: Callable[[], None], price: Callable[[], int]) -> None:
        """Takes the price."""
        self.cost += price()


def cost_of(state: StateT, encode: Callable[[StateT, RangeEncoder], None]) -> int:
    """What `encode(state, encoder)` would spend, in 1 / 4096 bit; `state` stays as it is."""
    counter = BitCounter()
    encode(copy.deepcopy(state), counter)
    return counter.cost
