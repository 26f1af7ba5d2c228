"""What every coder of integer tensors promises."""

from __future__ import annotations

from typing import ClassVar, Protocol

from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder


class IntegerCoder(Protocol):
    """Codes the integer tensors of one network, one after the other, into a range coder's stream.

    An instance lives for one stream and may learn from tensor to tensor; the encoder's and the decoder's copies learn
    the same from the same tensors. All that decoding needs besides the shape is in the stream. No float decides a bit.
    """

    number: ClassVar[int]
    """What files call it."""

    def cost(self, values: Int[ndarray, "..."]) -> int:
        """What `encode` would spend on a tensor now, in 1 / 4096 bit. The state stays as it is."""

    def encode(self, encoder: RangeEncoder, values: Int[ndarray, "..."]) -> None:
        """Codes an int64 tensor, of the range of int32 and of any shape."""

    def decode(self, decoder: RangeDecoder, shape: tuple[int, ...]) -> Int[ndarray, "..."]:
        """The tensor, as int32. Raises `CorruptFile`."""
