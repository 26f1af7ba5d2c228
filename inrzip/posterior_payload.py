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
from inrzip.architectures.combiner import MAX_PATCHES, CombinerConfig, Patches, Real, of_planes, patch_counts, planes_of
from inrzip.codecs import relative_entropy
from inrzip.codecs.relative_entropy import pack, unpack
from inrzip.priors import latent_prior
from inrzip.priors.field_prior import FieldPrior
from inrzip.priors.latent_prior import LatentPrior

from . import wire
from .errors import CorruptFile
from .field_payload import decode_field

LEAST_INDEX_BITS = 8
"""More than pad a file's last byte: so nobody takes what pads for an index."""


class Coded(NamedTuple):
    """A coded patch: the level, an index for each of its blocks, and how many bits an index has less than the prior's
    full ones.
    """

    level: int
    indices: list[int]
    saved: int = 0


def encode_payload(name: int, prior: LatentPrior, coded: Sequence[Coded]) -> bytes:
    """The payload of all patches of a signal, plane after plane.

    One patch has a level, and blocks to the end. Several have a level and a number of blocks each, and then the first
    block of each, the second of each, and so on: what is cut off at the end are the least important ones.
    """
    head = wire.varint(name)
    levels = [wire.varint(patch.level + patch.saved * len(prior.weights)) for patch in coded]
    counts = [b""] if len(coded) == 1 else [wire.varint(len(patch.indices)) for patch in coded]
    head += b"".join(itertools.chain(*zip(levels, counts, strict=True)))
    own = [[(index, prior.bits - patch.saved) for index in patch.indices] for patch in coded]
    pairs = [pair for each in itertools.zip_longest(*own) for pair in each if pair is not None]
    return head + pack([index for index, _ in pairs], [bits for _, bits in pairs])


def decode_payload(config: CombinerConfig, cursor: wire.Cursor, grid: Grid, partial: bool = False) -> Patches:
    """The signal of a payload of which `config` was read. With `partial` blocks may be missing. Raises CorruptFile, and
    InrzipError if its prior is not there.
    """
    prior = latent_prior.find(config.prior)
    if isinstance(prior, FieldPrior):
        return decode_field(prior, cursor, grid, partial)
    layout = prior.layout
    if len(grid.shape) != layout.axes:
        raise CorruptFile(f"its prior is for signals of {layout.axes} axes, not of {len(grid.shape)}")
    n_planes = len(list(planes_of(grid.channels, layout.channels)))
    n = n_planes * int(np.prod(patch_counts(grid.shape, layout.patch), dtype=object))
    if n > MAX_PATCHES or n > max(1, cursor.remaining):
        raise CorruptFile(f"{n} patches in {cursor.remaining} bytes cannot be")
    coded = _decode_one(prior, cursor, partial) if n == 1 else _decode_several(prior, cursor, n, partial)
    return Patches(grid, layout.patch, Decoder(prior, coded, grid.channels, n_planes))


def _level(prior: LatentPrior, cursor: wire.Cursor) -> tuple[int, int]:
    """The level, and how many bits are saved at each index."""
    saved, level = divmod(cursor.varint(), len(prior.weights))
    if saved > max(prior.bits - LEAST_INDEX_BITS, 0):
        raise CorruptFile(f"level {level + saved * len(prior.weights)} of a prior of {len(prior.weights)}")
    return level, saved


def _decode_one(prior: LatentPrior, cursor: wire.Cursor, partial: bool) -> list[Coded]:
    level, saved = _level(prior, cursor)
    bits, most = prior.bits - saved, len(prior.sizes[level])
    data = cursor.take(cursor.remaining)
    count = 8 * len(data) // bits
    if not partial and (count > most or -(-count * bits // 8) != len(data)):
        raise CorruptFile(f"{len(data)} bytes are no blocks of its level")
    return [Coded(level, list(unpack(data, [bits] * min(count, most))), saved)]


def _decode_several(prior: LatentPrior, cursor: wire.Cursor, n: int, partial: bool) -> list[Coded]:
    heads = [(*_level(prior, cursor), cursor.varint()) for _ in range(n)]
    if any(count > len(prior.sizes[level]) for level, _, count in heads):
        raise CorruptFile("a patch has more blocks than its level")
    last = max(count for *_, count in heads)
    turns = [i for block in range(last) for i, (*_, count) in enumerate(heads) if block < count]
    bits = [prior.bits - heads[i][1] for i in turns]
    data = cursor.take(cursor.remaining)
    if not partial and -(-sum(bits) // 8) != len(data):
        raise CorruptFile(f"{len(turns)} blocks in {len(data)} bytes cannot be")
    coded = [Coded(level, [], saved) for level, saved, _ in heads]
    for i, index in zip(turns, unpack(data, bits), strict=False):
        coded[i].indices.append(index)
    return coded


class Decoder:
    """The patches of a signal, of which those looked at last are kept."""

    def __init__(self, prior: LatentPrior, coded: Sequence[Coded], channels: int, n_planes: int):
        self._prior, self._coded, self._channels, self._n_planes = prior, coded, channels, n_planes
        self._kept: dict[tuple[int, Real], Float[np.ndarray, "samples channels"]] = {}

    def values(self, numbers: list[int], real: Real = np.float32) -> Float[np.ndarray, "patches *patch channels"]:
        """See `CodedPatches`."""
        n = len(self._coded) // self._n_planes
        wanted = [(plane * n + number, real) for plane in range(self._n_planes) for number in numbers]
        missing = [key for key in wanted if key not in self._kept]
        if missing:
            found = decode_patches(self._prior, [self._coded[number] for number, _ in missing], real)
            self._kept = {k: self._kept[k] for k in wanted if k in self._kept} | dict(zip(missing, found, strict=True))
        parts = np.stack([self._kept[key] for key in wanted])
        joined = of_planes(np.stack(np.split(parts, self._n_planes)), self._channels)
        return joined.reshape(len(numbers), *self._prior.layout.patch, self._channels)


def decode_patches(
    prior: LatentPrior, coded: Sequence[Coded], real: Real = np.float32
) -> Float[ndarray, "patches samples channels"]:
    """The values of coded patches."""
    latents = np.stack([latents_of(prior, patch) for patch in coded]).astype(real)
    values: Float[ndarray, "patches samples channels"] = network.evaluate(prior.layout, prior.shared, latents, np)
    return values


def latents_of(prior: LatentPrior, coded: Coded) -> Float[ndarray, " latents"]:
    """The latents of a coded patch: those of blocks that are not there are 0."""
    values = np.zeros(prior.layout.n_latents, np.float32)
    for block, (members, index) in enumerate(zip(prior.blocks(coded.level), coded.indices, strict=False)):
        values[members] = relative_entropy.decoded(block, index, prior.scales[coded.level][members])
    return values
