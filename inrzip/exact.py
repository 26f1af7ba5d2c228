"""Lossless files: what a segment holds besides its network, so that every bit of the original comes back.

A payload is the length of the network's payload, that payload, and the *exact part*: a CRC-32 of the segment's samples,
and, unless the architecture's decoded signal is exact by itself (`Config.exact`), what its samples differ from a
prediction that is the same whole numbers on every machine. See docs/format.md, "Lossless files".

The prediction is the network's value in double precision, rounded. Machines differ in the last bits of floats, so the
encoder lists all samples whose value lies within a tolerance of where rounding changes, with the parity of the rounded
value. A decoder whose values are within that tolerance of the encoder's gets the same whole numbers.
"""

from __future__ import annotations

import dataclasses
import math
import zlib

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from inrzip.architectures.base import Config, Grid, Representation
from inrzip.architectures.bits import Bits
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.residual import decode_numbers, decode_samples, encode_numbers, encode_samples

from . import bit_planes, wire
from .checks import CRC_BYTES
from .errors import CorruptFile, UnsupportedSignal
from .signal import Kind, Spec

BYTES_PER_SAMPLE = 72
"""Memory that decoding takes for each sample: values, prediction, samples and what goes with them."""
FINEST, COARSEST = 16, 4
"""A tolerance is 2^-FINEST to 2^-COARSEST units of the prediction."""
DOUBLE_GAIN = 20
"""Values in double precision are taken to differ by at most 2^-DOUBLE_GAIN of what they differ from single precision:
rounding errors are 2^29 times smaller, so this is 512 times what is to be expected.
"""
SINGLE_MARGIN = 8
"""Where a network computes in single precision all the same, they may differ by so many times that."""
MOST_UNIT_BITS = 24
DIFFERS = (
    "its samples are not those of the original (checksum mismatch): the file is damaged, or this machine computes its "
    "network too differently"
)


def check_lossless(spec: Spec) -> None:
    """Raises UnsupportedSignal for signals that cannot be kept bit by bit."""
    if spec.kind == Kind.SHAPE:
        raise UnsupportedSignal("a shape cannot be compressed losslessly: its distances are made anew from the surface")
    if spec.dtype.kind == "f":
        raise UnsupportedSignal(
            f"samples of type {spec.sample_type} (floats) cannot be compressed losslessly, only whole numbers can: "
            "leave --lossless out, or save them as whole numbers first (numpy.rint(1000 * x).astype('int32') keeps "
            "three decimals)"
        )


def join(network: bytes, exact_part: bytes) -> bytes:
    """The payload of a segment of a lossless file."""
    return wire.varint(len(network)) + network + exact_part


def split(payload: bytes, partial: bool = False) -> tuple[bytes, bytes]:
    """The inverse of `join`; with `partial`, the payload may end early. Raises CorruptFile."""
    cursor = wire.Cursor(payload)
    length = cursor.varint()
    network = cursor.take(min(length, cursor.remaining) if partial else length)
    return network, cursor.take(cursor.remaining)


def decoding_bytes(grid: Grid) -> int:
    """Memory that decoding all samples of a segment takes, about, besides its network."""
    return grid.n_points * grid.channels * BYTES_PER_SAMPLE


def checksum_of(samples: Shaped[ndarray, "*grid channels"]) -> bytes:
    """CRC-32 of samples, row by row, channels last, each with its lowest byte first."""
    little = np.ascontiguousarray(samples, samples.dtype.newbyteorder("<"))
    return zlib.crc32(little.data).to_bytes(CRC_BYTES, "little")


@dataclasses.dataclass(frozen=True)
class Rounding:
    """How values become whole numbers: multiples of 2^`unit_bits` above the lowest sample; values within 2^-`fineness`
    of a multiple of where that changes are listed.
    """

    unit_bits: int
    fineness: int

    def scaled(self, values: Float[ndarray, "..."], spec: Spec) -> Float[ndarray, "..."]:
        """Normalised values in units, within the range of the samples. Both its ends are whole numbers."""
        units = (spec.high - spec.low) / 2.0**self.unit_bits
        scaled: Float[ndarray, "..."] = np.clip(values * units, 0.0, math.floor(units))
        return scaled

    def prediction(self, whole: Float[ndarray, "..."], spec: Spec, offset: int, bits: int) -> Int[ndarray, "..."]:
        """Whole numbers of units as samples, less `offset`, within `bits` bits."""
        half = 1 << (bits - 1)
        samples = whole.astype(np.int64) * (1 << self.unit_bits) + (round(spec.low) - offset)
        return np.clip(samples, -half, half - 1).astype(np.int32)


def sample_bits(spec: Spec) -> int:
    """Bits of the sample type."""
    if spec.sample_type == "b1":
        return 1
    return 24 if spec.sample_type == "i3" else 8 * spec.dtype.itemsize


def _offset(spec: Spec) -> int:
    """What is taken from samples to make them signed: half of an unsigned type's range."""
    return 0 if spec.sample_type.startswith("i") else 1 << (sample_bits(spec) - 1)


def rounding_for(network: Representation, precise: Float[ndarray, "*grid channels"], spec: Spec) -> Rounding:
    """The finest that all machines are sure to agree on, by how much single precision differs on this one."""
    differ = float(np.max(np.abs(network.render(network.grid.axes()) - precise), initial=0.0)) * (spec.high - spec.low)
    tolerance = differ * SINGLE_MARGIN if network.in_single() else differ * 2.0**-DOUBLE_GAIN
    unit_bits = 0
    while tolerance > 2.0 ** (unit_bits - COARSEST) and unit_bits < MOST_UNIT_BITS:
        unit_bits += 1
    tolerance = max(tolerance / 2.0**unit_bits, 2.0**-FINEST)
    return Rounding(unit_bits, max(min(math.floor(-math.log2(tolerance)), FINEST), COARSEST))


def _near(scaled: Float[ndarray, "..."], rounding: Rounding) -> Bool[ndarray, "..."]:
    """Which values are too near to a change of rounding."""
    near: Bool[ndarray, "..."] = np.abs(scaled - np.floor(scaled) - 0.5) <= 2.0**-rounding.fineness
    return near


def encode_part(
    samples: Shaped[ndarray, "*grid channels"],
    network: Representation,
    architecture: type[Config],
    spec: Spec,
    all_planes: bool = False,
) -> bytes:
    """The exact part of a segment of these samples; `network` is what a decoder makes of its network's payload.
    `all_planes`: one of bits tells all of them, whatever that takes.
    """
    if isinstance(network, Bits):
        return checksum_of(samples) + bit_planes.encode_part(samples, network, spec, all_planes)
    if architecture.exact:
        return checksum_of(samples)
    precise = network.precise()
    rounding = rounding_for(network, precise, spec)
    scaled = rounding.scaled(precise, spec).reshape(-1)
    whole, ties = np.rint(scaled), np.flatnonzero(_near(scaled, rounding))
    encoder = RangeEncoder()
    _encode_ties(encoder, ties, whole[ties].astype(np.int64) & 1)
    bits, offset = sample_bits(spec), _offset(spec)
    signed = (samples.astype(np.int64) - offset).astype(np.int32)
    prediction = rounding.prediction(whole, spec, offset, bits).reshape(signed.shape)
    encode_samples(encoder, signed, prediction, bits)
    head = bytes([rounding.unit_bits, rounding.fineness]) + wire.varint(len(ties))
    return checksum_of(samples) + head + encoder.finish()


def decode_part(
    part: bytes, network: Representation, architecture: type[Config], spec: Spec
) -> Shaped[ndarray, "*grid channels"]:
    """The samples of a segment, in the signal's sample type. Raises CorruptFile if they are not the original's."""
    cursor = wire.Cursor(part)
    expected = cursor.take(CRC_BYTES)
    if isinstance(network, Bits):
        samples = bit_planes.decode_part(cursor, network, spec)
    else:
        samples = network.exact_samples() if architecture.exact else _decode(cursor, network, spec)
    if cursor.remaining:
        raise CorruptFile(f"{cursor.remaining} bytes follow its samples")
    samples = samples.astype(spec.dtype)
    if checksum_of(samples) != expected:
        raise CorruptFile(DIFFERS)
    return samples


def _decode(cursor: wire.Cursor, network: Representation, spec: Spec) -> Int[ndarray, "*grid channels"]:
    rounding, n_ties = Rounding(cursor.byte(), cursor.byte()), cursor.varint()
    if rounding.unit_bits > MOST_UNIT_BITS or not COARSEST <= rounding.fineness <= FINEST:
        raise CorruptFile(f"units of 2^{rounding.unit_bits} and a tolerance of 2^-{rounding.fineness} cannot be")
    precise = network.precise()
    if not np.isfinite(precise).all():
        raise CorruptFile("the network's values are not finite")
    if n_ties > precise.size:
        raise CorruptFile(f"{n_ties} of {precise.size} samples are listed")
    decoder = RangeDecoder(cursor.take(cursor.remaining))
    scaled = rounding.scaled(precise, spec).reshape(-1)
    ties, odd = _decode_ties(decoder, n_ties, len(scaled))
    whole = np.rint(scaled)
    whole[ties] = 2 * np.rint((scaled[ties] - odd) / 2) + odd
    bits, offset = sample_bits(spec), _offset(spec)
    prediction = rounding.prediction(whole, spec, offset, bits).reshape(precise.shape)
    samples = decode_samples(decoder, prediction, bits).astype(np.int64) + offset
    decoder.finish()
    return samples


def _encode_ties(encoder: RangeEncoder, ties: Int[ndarray, " n"], odd: Int[ndarray, " n"]) -> None:
    """Places in ascending order, as what lies between, and the parity of each."""
    if len(ties):
        encode_numbers(encoder, np.diff(ties, prepend=-1) - 1)
        encode_numbers(encoder, odd)


def _decode_ties(decoder: RangeDecoder, n: int, n_samples: int) -> tuple[Int[ndarray, " n"], Int[ndarray, " n"]]:
    """The inverse. Raises CorruptFile."""
    if not n:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    gaps = decode_numbers(decoder, n)
    odd = decode_numbers(decoder, n)
    ties = np.cumsum(gaps + 1) - 1
    if gaps.min() < 0 or ties[-1] >= n_samples or odd.min() < 0 or odd.max() > 1:
        raise CorruptFile("its list of samples is damaged")
    return ties, odd
