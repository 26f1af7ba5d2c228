"""Coded patches as bytes and back (docs/format.md, "Combiner")."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import (
    DECODING_BYTES,
    MAX_PATCHES,
    POINTS_AT_ONCE,
    SAMPLE_BYTES,
    CombinerConfig,
    Patches,
    Real,
    of_planes,
    patch_counts,
    planes_of,
)
from inrzip.codecs import relative_entropy
from inrzip.codecs.learned_numbers import NumberDecoder, encode_numbers
from inrzip.codecs.relative_entropy import Unpacked, pack, take_block
from inrzip.priors import latent_prior
from inrzip.priors.field_prior import FieldPrior
from inrzip.priors.latent_prior import LatentPrior

from . import wire
from .errors import CorruptFile
from .field_payload import decode_field
from .header import VERSION
from .parted_payload import PARTED_FROM, PartedPatch, decode_parted, encode_parted, latents_of_parted

SPLIT_FROM, HEADS_FROM = 6, 7
"""Format versions that had blocks that are split, and heads of patches that are coded, first."""
PLAIN_HEADS, PARTED = 0, 1
"""What stands in place of the length of coded heads, plus 1, where there are none."""
PATCHES_PER_BYTE, BYTES_LEFT_OUT = 512, 4
"""That such heads tell of, at most, where so many bytes more are counted: a coder need not write the last zeros."""
BITS_OF_BYTE = 8
LATENTS_AT_ONCE = 1 << 20
"""Of patches that are evaluated side by side, but one patch at least."""
LEVEL, SAVED, BLOCKS = "level", "saved", "blocks"
"""Kinds of numbers in heads."""
LEAST_INDEX_BITS = 8
"""More than pad a file's last byte: so nobody takes what pads for an index."""


class Coded(NamedTuple):
    """A coded patch: the level, the indices of each of its blocks (more than one if it is split), and how many bits an
    index has less than the prior's full ones. `whole`: no block can be split, as in older files.
    """

    level: int
    blocks: list[tuple[int, ...]]
    saved: int = 0
    whole: bool = False


AnyCoded: TypeAlias = Coded | PartedPatch


def encode_payload(name: int, prior: LatentPrior, coded: Sequence[AnyCoded]) -> bytes:
    """The payload of all patches of a signal, plane after plane.

    One patch has a level, and blocks to the end. Several have a level and a number of blocks each, and then the first
    block of each, the second of each, and so on: what is cut off at the end are the least important ones. Many are
    patches of parts (`inrzip.parted_payload`).
    """
    parted = [patch for patch in coded if isinstance(patch, PartedPatch)]
    flat = [patch for patch in coded if isinstance(patch, Coded)]
    if parted:
        return wire.varint(name) + wire.varint(PARTED) + encode_parted(prior, parted)
    own = [[[(index, prior.bits - patch.saved) for index in block] for block in patch.blocks] for patch in flat]
    pairs = [pair for each in itertools.zip_longest(*own, fillvalue=()) for block in each for pair in block]
    heads = _encode_heads(prior, flat)
    return wire.varint(name) + heads + pack([index for index, _ in pairs], [bits for _, bits in pairs])


def _encode_heads(prior: LatentPrior, coded: Sequence[Coded]) -> bytes:
    """What is told of each patch besides its blocks: of several, coded if that is shorter."""
    levels = [wire.varint(patch.level + patch.saved * len(prior.weights)) for patch in coded]
    if len(coded) == 1:
        return levels[0]
    counts = [wire.varint(len(patch.blocks)) for patch in coded]
    plain = wire.varint(PLAIN_HEADS) + b"".join(itertools.chain(*zip(levels, counts, strict=True)))
    numbers: list[tuple[Hashable, int]] = []
    for patch in coded:
        saved, blocks = (SAVED, patch.level), (BLOCKS, patch.level)
        numbers += [(LEVEL, patch.level), (saved, patch.saved), (blocks, len(patch.blocks))]
    stream = encode_numbers(numbers) or bytes(1)
    return min(plain, wire.varint(len(stream) + 1) + stream, key=len)


def shortened(name: int, prior: LatentPrior, coded: Sequence[AnyCoded], size: int) -> bytes:
    """The payload of at most `size` bytes, if need be without the last blocks. Without any, if that is not enough."""
    blocks = sorted((number, i) for i, patch in enumerate(coded) for number in range(len(patch.blocks)))

    def payload(n_blocks: int) -> bytes:
        counts = Counter(i for _, i in blocks[:n_blocks])
        some = [_with_blocks(patch, counts[i]) for i, patch in enumerate(coded)]
        return encode_payload(name, prior, some)

    whole = payload(len(blocks))
    if len(whole) <= size:
        return whole
    return payload(max(bisect_right(range(len(blocks)), size, key=lambda n: len(payload(n))) - 1, 0))


def _with_blocks(coded: AnyCoded, count: int) -> AnyCoded:
    """With the first blocks only."""
    if isinstance(coded, PartedPatch):  # both look alike, but are not of one type
        return coded._replace(blocks=coded.blocks[:count])
    return coded._replace(blocks=coded.blocks[:count])


def decode_payload(
    config: CombinerConfig,
    cursor: wire.Cursor,
    grid: Grid,
    check_memory: Callable[[int], None],
    partial: bool = False,
    version: int = VERSION,
) -> Patches:
    """The signal of a payload of which `config` was read. `check_memory` is told how many bytes it will take, and may
    raise. With `partial` blocks may be missing. Raises CorruptFile, and InrzipError if its prior is not there.
    """
    prior = latent_prior.find(config.prior)
    if isinstance(prior, FieldPrior):
        check_memory(grid.n_points * DECODING_BYTES)
        return decode_field(prior, cursor, grid, partial, version)
    layout = prior.layout
    if len(grid.shape) != layout.axes:
        raise CorruptFile(f"its prior is for signals of {layout.axes} axes, not of {len(grid.shape)}")
    n_planes = len(list(planes_of(grid.channels, layout.channels)))
    n = n_planes * int(np.prod(patch_counts(grid.shape, layout.patch), dtype=object))
    most = PATCHES_PER_BYTE * (cursor.remaining + BYTES_LEFT_OUT) if version >= HEADS_FROM else cursor.remaining
    if n > MAX_PATCHES or n > max(1, most):
        raise CorruptFile(f"{n} patches in {cursor.remaining} bytes cannot be")
    points = n * math.prod(layout.patch)  # patches are evaluated whole
    at_once = min(points, max(POINTS_AT_ONCE, math.prod(layout.patch)))
    check_memory(at_once * DECODING_BYTES + points * SAMPLE_BYTES)
    coded: Sequence[AnyCoded]
    if n == 1:
        coded = [_decode_one(prior, cursor, partial, version < SPLIT_FROM)]
    else:
        coded = _decode_several(prior, cursor, n, partial, version)
    return Patches(grid, layout.patch, Decoder(prior, coded, grid.channels, n_planes))


def _level(prior: LatentPrior, cursor: wire.Cursor) -> tuple[int, int]:
    """The level, and how many bits are saved at each index."""
    saved, level = divmod(cursor.varint(), len(prior.weights))
    if saved > _most_saved(prior):
        raise CorruptFile(f"level {level + saved * len(prior.weights)} of a prior of {len(prior.weights)}")
    return level, saved


def _most_saved(prior: LatentPrior) -> int:
    return max(prior.bits - LEAST_INDEX_BITS, 0)


def _decode_heads(prior: LatentPrior, cursor: wire.Cursor, n: int, length: int) -> list[tuple[int, int, int]]:
    """Level, saved bits and number of blocks of each of several patches; `length` of what they are coded in, or 0."""
    decoder = NumberDecoder(cursor.take(length))
    heads = []
    for _ in range(n):
        if length:
            level = decoder.number(LEVEL)
            if level >= len(prior.weights):
                raise CorruptFile(f"level {level} of a prior of {len(prior.weights)}")
            saved, count = decoder.number((SAVED, level)), decoder.number((BLOCKS, level))
            if saved > _most_saved(prior):
                raise CorruptFile(f"{saved} bits of an index are saved")
        else:
            level, saved = _level(prior, cursor)
            count = cursor.varint()
        if count > len(prior.sizes[level]):
            raise CorruptFile("a patch has more blocks than its level")
        heads.append((level, saved, count))
    decoder.finish()
    return heads


def _take_block(prior: LatentPrior, coded: Coded, source: Unpacked) -> bool:
    """Reads the next block of a patch. False if the source ends before it."""
    bits = prior.bits - coded.saved
    if coded.whole:
        index = source.take(bits)
        block: tuple[int, ...] = () if index is None else (index,)
    else:
        size = int(prior.sizes[coded.level][len(coded.blocks)])
        block = take_block(source.indices(bits), size, bits)
    coded.blocks.extend([block] if block else [])
    return bool(block)


def _decode_one(prior: LatentPrior, cursor: wire.Cursor, partial: bool, whole: bool) -> Coded:
    level, saved = _level(prior, cursor)
    coded, most = Coded(level, [], saved, whole), len(prior.sizes[level])
    data = cursor.take(cursor.remaining)
    source = Unpacked(data)
    there = True
    while there and len(coded.blocks) < most and source.left >= prior.bits - saved:
        there = _take_block(prior, coded, source)
    if not partial and (not there or source.left >= BITS_OF_BYTE):
        raise CorruptFile(f"{len(data)} bytes are no blocks of its level")
    return coded


def _decode_several(prior: LatentPrior, cursor: wire.Cursor, n: int, partial: bool, version: int) -> Sequence[AnyCoded]:
    length = cursor.varint() if version >= HEADS_FROM else 0
    if version >= PARTED_FROM:
        if length == PARTED:
            return decode_parted(prior, cursor.take(cursor.remaining), n, partial)
        length = max(length - 1, 0)
    heads = _decode_heads(prior, cursor, n, length)
    data = cursor.take(cursor.remaining)
    n_blocks, least = sum(count for *_, count in heads), sum(count * (prior.bits - saved) for _, saved, count in heads)
    if least > BITS_OF_BYTE * len(data) and not partial:
        raise CorruptFile(f"{n_blocks} blocks in {len(data)} bytes cannot be")
    source, coded = Unpacked(data), [Coded(level, [], saved, version < SPLIT_FROM) for level, saved, _ in heads]
    last = max(count for *_, count in heads)
    turns = (i for block in range(last) for i, (*_, count) in enumerate(heads) if block < count)
    there = all(_take_block(prior, coded[i], source) for i in turns)  # ends with the first that is not there
    if not partial and (not there or source.left >= BITS_OF_BYTE):
        raise CorruptFile(f"{n_blocks} blocks in {len(data)} bytes cannot be")
    return coded


class Decoder:
    """The patches of a signal, of which those looked at last are kept."""

    def __init__(self, prior: LatentPrior, coded: Sequence[AnyCoded], channels: int, n_planes: int):
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
    prior: LatentPrior, coded: Sequence[AnyCoded], real: Real = np.float32
) -> Float[ndarray, "patches samples channels"]:
    """The values of coded patches."""
    size = max(1, min(POINTS_AT_ONCE // math.prod(prior.layout.patch), LATENTS_AT_ONCE // prior.layout.n_latents))
    values = []
    for first in range(0, len(coded), size):
        latents = np.stack([latents_of(prior, patch) for patch in coded[first : first + size]]).astype(real)
        values.append(prior.layout.evaluate(prior.shared, latents, np))
    return np.concatenate(values)


def latents_of(prior: LatentPrior, coded: AnyCoded) -> Float[ndarray, " latents"]:
    """The latents of a coded patch: those of blocks that are not there are 0."""
    if isinstance(coded, PartedPatch):
        return latents_of_parted(prior, coded)
    values = np.zeros(prior.layout.n_latents, np.float32)
    bits = None if coded.whole else prior.bits - coded.saved
    for number, (members, block) in enumerate(zip(prior.blocks(coded.level), coded.blocks, strict=False)):
        values[members] = relative_entropy.decoded(number, block, bits, prior.scales[coded.level][members])
    return values
