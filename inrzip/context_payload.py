"""Exact samples as payloads (docs/format.md, "Exact samples"): networks as changes of a prior, then the samples."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.architectures.base import Grid
from inrzip.architectures.context import ContextConfig
from inrzip.codecs import context
from inrzip.codecs.context import MAX_BITS, Network, Samples, Tell
from inrzip.codecs.context_kernels import FLAT, MIXED, RECALLED
from inrzip.codecs.context_layout import earlier_planes
from inrzip.codecs.latent_model import N_SCALES
from inrzip.codecs.latents import decode_numbers, encode_numbers, number_bits
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.priors import context_prior

from . import wire
from .context_coding import Scale, expand, plane_order
from .errors import CorruptFile

UNIT_BITS, SCALE_BITS, MODE_BITS = 4, 7, 2
NO_CHANGES = 0
UNITS = tuple(1 << k for k in range(1, 1 << UNIT_BITS))
"""What changes of a network are multiples of, in 1/1024: entry u - 1 for the number u in a file."""
MAX_STEP = 1 << 32


class Changes(NamedTuple):
    """What a plane's network differs from the prior's: whole numbers of a unit (its number in a file; 0: none)."""

    unit: int
    arrays: tuple[Int[ndarray, "..."], ...]


def network_of(prior: Network, changes: Changes) -> Network:
    """A plane's network in whole numbers."""
    if changes.unit == NO_CHANGES:
        return prior
    return Network(*(mean + UNITS[changes.unit - 1] * own for mean, own in zip(prior, changes.arrays, strict=True)))


def priors_of(config: ContextConfig, rank: int, channels: int) -> list[Network]:
    """The prior's network of each plane."""
    networks = context_prior.load(config.prior)
    return [networks[min(rank, context_prior.MAX_RANK), earlier_planes(plane, rank)] for plane in range(channels)]


def best_scale(numbers: Int[ndarray, " n"]) -> tuple[int, float]:
    """The index of the scale under which numbers take the fewest bits, and these."""
    middle = float(np.abs(numbers).mean())
    around = 64 + round(8 * np.log2(max(middle, 1e-3)))
    costs = {
        scale: float(number_bits(numbers, np.full(len(numbers), scale)).sum())
        for scale in range(max(0, around - 8), min(N_SCALES, around + 9))
    }
    scale = min(costs, key=costs.__getitem__) if costs else 0
    return scale, costs.get(scale, 0.0)


def change_bits(changes: Changes) -> float:
    """What changes take in a file, nearly."""
    if changes.unit == NO_CHANGES:
        return UNIT_BITS
    return UNIT_BITS + sum(SCALE_BITS + best_scale(array.reshape(-1))[1] for array in changes.arrays)


def encode_scale(scale: Scale) -> bytes:
    """What numbers stand for, as a payload begins with it."""
    gaps = np.diff(scale.used).tolist() if scale.used else []
    size = len(scale.used) or scale.bits
    head = wire.signed(scale.low) + wire.varint(scale.step - 1) + wire.varint(2 * size + bool(scale.used))
    return head + b"".join(wire.varint(gap - 1) for gap in gaps)


def decode_scale(cursor: wire.Cursor) -> Scale:
    """The inverse of `encode_scale`. Raises CorruptFile."""
    low, step = cursor.signed(), cursor.varint() + 1
    size, listed = divmod(cursor.varint(), 2)
    used: tuple[int, ...] = ()
    bits = size
    if listed:
        if not 2 <= size <= cursor.remaining + 1:
            raise CorruptFile(f"a list of {size} values")
        used = tuple(itertools.accumulate((cursor.varint() + 1 for _ in range(size - 1)), initial=0))
        bits = (size - 1).bit_length()
    highest = used[-1] if used else (1 << min(bits, MAX_BITS + 1)) - 1
    if bits > MAX_BITS or step > MAX_STEP or abs(low) > MAX_STEP or highest * step > MAX_STEP:
        raise CorruptFile(f"exact samples of {bits} bits, {step} apart from {low} on")
    return Scale(low, step, bits, used)


def encode_smallest(
    scale: Scale, samples: Samples, changes: Sequence[Changes], modes: Sequence[int], tell: Tell = lambda done: None
) -> bytes:
    """A payload: that of prior 1 if all `modes` are the usual one, else one that tells them. Planes that would take
    more than their samples as they are become these.
    """
    coded, lengths = encode(scale, samples, changes, modes, tell)
    flat = samples[0].size * scale.bits // 8
    if lengths and max(lengths) > flat:
        modes = [FLAT if length > flat else mode for length, mode in zip(lengths, modes, strict=True)]
        coded = min(coded, encode(scale, samples, changes, modes, tell)[0], key=len)
    return coded


def encode(
    scale: Scale, samples: Samples, changes: Sequence[Changes], modes: Sequence[int], tell: Tell = lambda done: None
) -> tuple[bytes, list[int]]:
    """A payload, configuration and all, and the bytes of each plane in it, about, if they are coded. `modes`: how each
    is.
    """
    config = ContextConfig(context_prior.WITH_MODES if any(mode != MIXED for mode in modes) else context_prior.PLAIN)
    head = wire.varint(config.prior) + encode_scale(scale)
    if not scale.bits:
        return head, []
    encoder, networks = RangeEncoder(), []
    for prior, own, mode in zip(priors_of(config, samples.ndim - 1, len(samples)), changes, modes, strict=True):
        if config.prior == context_prior.WITH_MODES:
            encoder.encode_bits(mode, MODE_BITS)
        if mode == FLAT:
            networks.append(prior)
            continue
        encoder.encode_bits(own.unit, UNIT_BITS)
        for array in own.arrays if own.unit != NO_CHANGES else ():
            numbers = array.reshape(-1)
            index, _ = best_scale(numbers)
            encoder.encode_bits(index, SCALE_BITS)
            encode_numbers(encoder, numbers, np.full(len(numbers), index))
        networks.append(network_of(prior, own))
    lengths = context.encode(samples, scale.bits, networks, encoder, modes, tell)
    return head + encoder.finish(), lengths


class CodedSamples:
    """The samples of a payload, decoded when they are first looked at. Raises CorruptFile, then or before."""

    def __init__(self, config: ContextConfig, cursor: wire.Cursor, grid: Grid):
        self._config, self._grid = config, grid
        self._scale = decode_scale(cursor)
        self._stream = cursor.take(cursor.remaining)
        if not self._scale.bits and self._stream:
            raise CorruptFile(f"{len(self._stream)} bytes follow samples that are all alike")

    @functools.cached_property
    def _decoded(self) -> Int[ndarray, "*grid channels"]:
        grid, scale = self._grid, self._scale
        if not scale.bits:
            return np.full((*grid.shape, grid.channels), scale.low, np.int64)
        decoder, networks, modes = RangeDecoder(self._stream), [], []
        for prior in priors_of(self._config, len(grid.shape), grid.channels):
            told = self._config.prior == context_prior.WITH_MODES
            modes.append(decoder.decode_bits(MODE_BITS) if told else MIXED)
            if modes[-1] not in (MIXED, FLAT, RECALLED):
                raise CorruptFile(f"a plane is coded in way {modes[-1]}; the file may be from a newer inrzip")
            if modes[-1] == FLAT:
                networks.append(prior)
                continue
            unit, arrays = decoder.decode_bits(UNIT_BITS), []
            for mean in prior if unit != NO_CHANGES else ():
                index = decoder.decode_bits(SCALE_BITS)
                arrays.append(decode_numbers(decoder, np.full(mean.size, index)).reshape(mean.shape))
            networks.append(_checked(network_of(prior, Changes(unit, tuple(arrays)))))
        samples = context.decode(grid.shape, grid.channels, scale.bits, networks, decoder, modes)
        return expand(samples, scale, plane_order(grid.channels))

    def samples(self) -> Int[ndarray, "*grid channels"]:
        """All samples, in the signal's units (int64)."""
        return self._decoded


def _checked(network: Network) -> Network:
    """Raises CorruptFile for weights that no encoder writes."""
    if max(int(np.abs(array).max()) for array in network) > context.MAX_WEIGHT:
        raise CorruptFile("a network's weights are beyond all bounds")
    return network
