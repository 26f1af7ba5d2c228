"""Lossless files: what a segment holds besides its network, so that every bit of the original comes back.

A payload is the length of the network's payload, that payload, and the *exact part*: a CRC-32 of the segment's samples,
and, unless the architecture's decoded signal is exact by itself (`Config.exact`), what its samples differ from a
prediction that is the same whole numbers on every machine. See docs/format.md, "Lossless files".
"""

from __future__ import annotations

import zlib

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from inrzip.architectures.base import Config, Grid, Representation

from . import wire
from .container import CRC_BYTES
from .errors import CorruptFile, UnsupportedSignal
from .signal import Kind, Spec

BYTES_PER_SAMPLE = 40
DIFFERS = (
    "its samples are not those of the original (checksum mismatch): the file is damaged, or this machine computes "
)
DIFFERS += "its network too differently"


def check_lossless(spec: Spec) -> None:
    """Raises UnsupportedSignal for signals that cannot be kept bit by bit."""
    if spec.kind == Kind.SHAPE:
        raise UnsupportedSignal("a shape cannot be compressed losslessly: its distances are made anew from the surface")
    if spec.dtype.kind == "f":
        raise UnsupportedSignal(
            f"samples of type {spec.sample_type} cannot be compressed losslessly: only whole numbers can"
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


def encode_part(
    samples: Shaped[ndarray, "*grid channels"], network: Representation, architecture: type[Config], spec: Spec
) -> bytes:
    """The exact part of a segment of these samples; `network` is what a decoder makes of its network's payload."""
    if architecture.exact:
        return checksum_of(samples)
    raise NotImplementedError


def decode_part(
    part: bytes, network: Representation, architecture: type[Config], spec: Spec
) -> Shaped[ndarray, "*grid channels"]:
    """The samples of a segment, in the signal's sample type. Raises CorruptFile if they are not the original's."""
    cursor = wire.Cursor(part)
    expected = cursor.take(CRC_BYTES)
    if architecture.exact:
        samples = network.exact_samples()
        if cursor.remaining:
            raise CorruptFile(f"{cursor.remaining} bytes follow its checksum")
    else:
        raise NotImplementedError
    samples = samples.astype(spec.dtype)
    if checksum_of(samples) != expected:
        raise CorruptFile(DIFFERS)
    return samples
