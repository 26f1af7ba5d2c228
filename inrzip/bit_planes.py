"""Exact files of bit planes: which bits a network gets wrong, and the planes that it need not know.

From some plane up the network's bits count, and those that are wrong are listed. What is below, noise mostly, is coded
as samples are (`inrzip.codecs.residual`), predicted by the planes above. Where the one ends and the other begins is
chosen by bytes, for all channels together; a network that saves less than it takes is left out. See docs/format.md,
"Bit planes".
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from inrzip.architectures.bits import Bits, bit_planes
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.residual import decode_numbers, decode_samples, encode_numbers, encode_samples

from . import wire
from .errors import CorruptFile
from .signal import Spec

DOUBLE_GAIN, SINGLE_MARGIN = 20, 8
"""As in `inrzip.exact`: how far values of other machines may be off, by what single precision is."""
FINEST, COARSEST = 24, 1
"""A tolerance is 2^-FINEST to 2^-COARSEST in the unit of the network's values."""

Planes = Float[ndarray, "*grid bits channels"]


def encode_part(samples: Int[ndarray, "*grid channels"], network: Bits, spec: Spec, all_planes: bool = False) -> bytes:
    """What a file needs besides the network: the fineness, the first plane that the network tells, a stream. That is
    the plane that makes it shortest, or, with `all_planes`, the lowest.
    """
    bits = network.config.bits
    if network.network is None:
        return bytes([FINEST, bits]) + _encode_low(samples, bits, bits, spec)
    values = network.precise()
    differ = float(np.max(np.abs(network.single() - values), initial=0.0))
    tolerance = max(differ * (SINGLE_MARGIN if network.in_single() else 2.0**-DOUBLE_GAIN), 2.0**-FINEST)
    fineness = max(min(math.floor(-math.log2(tolerance)), FINEST), COARSEST)
    truth = bit_planes(samples, spec.low, spec.high)
    assert truth.shape == values.shape
    listed = [_encode_plane(values, truth, plane, fineness) for plane in range(bits)]
    best: bytes | None = None
    for first in range(1 if all_planes else bits + 1):
        told = sum(map(len, listed[first:]))
        if best is not None and told >= len(best):
            continue
        low = _encode_low(samples, first, bits, spec)
        table = b"".join(wire.varint(len(stream)) for stream in listed[first:])
        part = bytes([fineness, first]) + table + b"".join(listed[first:]) + low
        if best is None or len(part) < len(best):
            best = part
    assert best is not None
    return best


def decode_part(cursor: wire.Cursor, network: Bits, spec: Spec) -> Int[ndarray, "*grid channels"]:
    """The samples. Raises CorruptFile."""
    bits = network.config.bits
    fineness, first = cursor.byte(), cursor.byte()
    if not COARSEST <= fineness <= FINEST or first > bits or network.config.span != round(spec.high) - round(spec.low):
        raise CorruptFile(f"{first} of {bits} planes, a tolerance of 2^-{fineness}")
    if first < bits and network.network is None:
        raise CorruptFile("it has bits of a network, but no network")
    lengths = [cursor.varint() for _ in range(bits - first)]
    streams = [cursor.take(length) for length in lengths]
    high = np.zeros((*network.grid.shape, network.grid.channels), np.int64)
    if first < bits:
        values = network.precise()
        for plane, stream in zip(range(first, bits), streams, strict=True):
            high |= _decode_plane(values[..., plane, :], stream).astype(np.int64) << plane
    if not first:
        return high + round(spec.low)
    decoder = RangeDecoder(cursor.take(cursor.remaining))
    samples = decode_samples(decoder, _expected(high, first, bits), bits).astype(np.int64)
    decoder.finish()
    return samples + (1 << (bits - 1)) + round(spec.low)


def _expected(high: Int[ndarray, "..."], first: int, bits: int) -> Int[ndarray, "..."]:
    """What samples are expected at, as far as the planes from `first` on tell: the middle."""
    return high + ((1 << first) >> 1) - (1 << (bits - 1))


def _encode_low(samples: Int[ndarray, "*grid channels"], first: int, bits: int, spec: Spec) -> bytes:
    if not first:
        return b""
    encoder, numbers = RangeEncoder(), samples.astype(np.int64) - round(spec.low)
    encode_samples(encoder, numbers - (1 << (bits - 1)), _expected(numbers >> first << first, first, bits), bits)
    return encoder.finish()


def _encode_plane(values: Planes, truth: Int[ndarray, "..."], plane: int, fineness: int) -> bytes:
    """The bits that are wrong, or that another machine may take for others, and what they are."""
    own, wanted = values[..., plane, :].reshape(-1), truth[..., plane, :].reshape(-1) == 1
    unsure = np.abs(own - 0.5) <= 2.0**-fineness
    places = np.flatnonzero(unsure | ((own > 0.5) != wanted))
    encoder = RangeEncoder()
    encode_numbers(encoder, np.array([len(places)]))
    encode_numbers(encoder, np.diff(places, prepend=-1) - 1)
    encode_numbers(encoder, wanted[places].astype(np.int64))
    return encoder.finish()


def _decode_plane(values: Float[ndarray, "*grid channels"], stream: bytes) -> Bool[ndarray, "*grid channels"]:
    decoder, found = RangeDecoder(stream), (values > 0.5).reshape(-1)
    n = int(decode_numbers(decoder, 1)[0])
    if not 0 <= n <= found.size:
        raise CorruptFile(f"{n} of {found.size} bits are listed")
    gaps, bits = decode_numbers(decoder, n), decode_numbers(decoder, n)
    decoder.finish()
    places = np.cumsum(gaps + 1) - 1
    if n and (gaps.min() < 0 or places[-1] >= found.size or not np.isin(bits, (0, 1)).all()):
        raise CorruptFile("its list of bits is damaged")
    found[places] = bits == 1
    return found.reshape(values.shape)
