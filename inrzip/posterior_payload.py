"""Coded patches as bytes and back (docs/format.md, "Combiner")."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from inrzip.architectures import combiner_network as network
from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import MAX_PATCHES, CombinerConfig, Patches, patch_counts, planes_of
from inrzip.codecs import relative_entropy
from inrzip.codecs.relative_entropy import pack, unpack
from inrzip.priors import latent_prior
from inrzip.priors.latent_prior import LatentPrior

from . import wire
from .errors import CorruptFile


class Coded(NamedTuple):
    """A coded patch: the level, and an index for each of its blocks."""

    level: int
    indices: list[int]


def encode_payload(name: int, prior: LatentPrior, coded: Sequence[Coded]) -> bytes:
    """The payload of all patches of a signal, plane after plane.

    One patch has a level, and blocks to the end. Several have a level and a number of blocks each, and then the first
    block of each, the second of each, and so on: what is cut off at the end are the least important ones.
    """
    head = wire.varint(name)
    if len(coded) == 1:
        return head + wire.varint(coded[0].level) + pack(coded[0].indices, prior.bits)
    head += b"".join(wire.varint(patch.level) + wire.varint(len(patch.indices)) for patch in coded)
    rounds = itertools.zip_longest(*(patch.indices for patch in coded))
    return head + pack([index for each in rounds for index in each if index is not None], prior.bits)


def decode_payload(config: CombinerConfig, cursor: wire.Cursor, grid: Grid, partial: bool = False) -> Patches:
    """The signal of a payload of which `config` was read. With `partial` blocks may be missing. Raises CorruptFile, and
    InrzipError if its prior is not there.
    """
    prior = latent_prior.find(config.prior)
    layout = prior.layout
    if len(grid.shape) != layout.axes:
        raise CorruptFile(f"its prior is for signals of {layout.axes} axes, not of {len(grid.shape)}")
    try:
        n_planes = len(list(planes_of(grid.channels, layout.channels)))
    except ValueError as error:
        raise CorruptFile(str(error)) from error
    n = n_planes * int(np.prod(patch_counts(grid.shape, layout.patch), dtype=object))
    if n > MAX_PATCHES or n > max(1, cursor.remaining):
        raise CorruptFile(f"{n} patches in {cursor.remaining} bytes cannot be")
    coded = _decode_one(prior, cursor, partial) if n == 1 else _decode_several(prior, cursor, n, partial)
    return Patches(grid, layout.patch, Decoder(prior, coded, grid.channels, n_planes))


def _level(prior: LatentPrior, cursor: wire.Cursor) -> int:
    level = cursor.varint()
    if level >= len(prior.weights):
        raise CorruptFile(f"level {level} of a prior of {len(prior.weights)}")
    return level


def _decode_one(prior: LatentPrior, cursor: wire.Cursor, partial: bool) -> list[Coded]:
    level = _level(prior, cursor)
    data = cursor.take(cursor.remaining)
    count = 8 * len(data) // prior.bits
    if not partial and (count > len(prior.sizes[level]) or -(-count * prior.bits // 8) != len(data)):
        raise CorruptFile(f"{len(data)} bytes are no blocks of its level")
    return [Coded(level, unpack(data, prior.bits, min(count, len(prior.sizes[level]))))]


def _decode_several(prior: LatentPrior, cursor: wire.Cursor, n: int, partial: bool) -> list[Coded]:
    heads = [(_level(prior, cursor), cursor.varint()) for _ in range(n)]
    if any(count > len(prior.sizes[level]) for level, count in heads):
        raise CorruptFile("a patch has more blocks than its level")
    total = sum(count for _, count in heads)
    data = cursor.take(cursor.remaining)
    if not partial and -(-total * prior.bits // 8) != len(data):
        raise CorruptFile(f"{total} blocks in {len(data)} bytes cannot be")
    indices = iter(unpack(data, prior.bits, total))
    coded: list[list[int]] = [[] for _ in heads]
    for block in range(max(count for _, count in heads)):
        for own, (_, count) in zip(coded, heads, strict=True):
            if block < count:
                own += itertools.islice(indices, 1)
    return [Coded(level, own) for (level, _), own in zip(heads, coded, strict=True)]


class Decoder:
    """The patches of a signal, of which those looked at last are kept."""

    def __init__(self, prior: LatentPrior, coded: Sequence[Coded], channels: int, n_planes: int):
        self._prior, self._coded, self._channels, self._n_planes = prior, coded, channels, n_planes
        self._kept: dict[int, Float[np.ndarray, "samples channels"]] = {}

    def values(self, numbers: list[int]) -> Float[np.ndarray, "patches *patch channels"]:
        """See `CodedPatches`."""
        n = len(self._coded) // self._n_planes
        wanted = [plane * n + number for plane in range(self._n_planes) for number in numbers]
        missing = [number for number in wanted if number not in self._kept]
        if missing:
            found = decode_patches(self._prior, [self._coded[number] for number in missing])
            self._kept = {k: self._kept[k] for k in wanted if k in self._kept} | dict(zip(missing, found, strict=True))
        parts = np.stack([self._kept[number] for number in wanted])
        parts = np.concatenate(np.split(parts, self._n_planes), -1)
        if parts.shape[-1] != self._channels:
            parts = parts.mean(-1, keepdims=True)
        return parts.reshape(len(numbers), *self._prior.layout.patch, self._channels)


def decode_patches(prior: LatentPrior, coded: Sequence[Coded]) -> Float[ndarray, "patches samples channels"]:
    """The values of coded patches."""
    latents = np.stack([latents_of(prior, patch) for patch in coded])
    values: Float[ndarray, "patches samples channels"] = network.evaluate(prior.layout, prior.shared, latents, np)
    return values


def latents_of(prior: LatentPrior, coded: Coded) -> Float[ndarray, " latents"]:
    """The latents of a coded patch: those of blocks that are not there are 0."""
    values = np.zeros(prior.layout.n_latents, np.float32)
    for block, (members, index) in enumerate(zip(prior.blocks(coded.level), coded.indices, strict=False)):
        values[members] = relative_entropy.decoded(block, index, prior.scales[coded.level][members])
    return values
