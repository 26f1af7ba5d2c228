"""Coded fields of patches as bytes and back (docs/format.md, "Fields of patches")."""

from __future__ import annotations

import dataclasses
import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.architectures import combiner_field as fields
from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import MAX_PATCHES, Patches, Real, patch_counts
from inrzip.architectures.combiner_field import MARGIN, Field
from inrzip.codecs import parted_blocks, relative_entropy
from inrzip.codecs.learned_numbers import NumberEncoder
from inrzip.codecs.parted_blocks import NOTHING, Block, BlockReader
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.priors.field_prior import FieldPrior

from . import wire
from .errors import CorruptFile
from .header import VERSION
from .parted_payload import PARTED_FROM

HEAD_BYTES = 18
"""What a payload has besides classes and blocks, at most."""
TOTAL_BITS = 12
"""Of the classes' probabilities."""
TILE = 16
"""Patches along an axis that are decoded at once, with those around them."""
CLASS_WEIGHT = 4
"""What a class that was seen counts, where one that was not counts 1."""


@dataclasses.dataclass(frozen=True)
class CodedField:
    """A coded signal: the number of its lambda, each patch's class, what blocks are filled with, and the blocks."""

    weight: int
    classes: Int[ndarray, " patches"]
    fill: int
    blocks: Sequence[Block]


def encode_field(name: int, prior: FieldPrior, field: Field, coded: CodedField) -> bytes:
    """The payload."""
    classes = encode_classes(prior.classes, field, coded.classes)
    head = wire.varint(name) + wire.varint(coded.weight) + bytes([coded.fill]) + wire.varint(len(classes)) + classes
    encoder, every = NumberEncoder(), prior.blocks(coded.weight, coded.classes, field, coded.fill)
    for block, (_, members) in zip(coded.blocks, every, strict=False):
        parted_blocks.write(encoder, block, len(members))
    return head + wire.varint(len(coded.blocks)) + encoder.finish()


def shortened(name: int, prior: FieldPrior, field: Field, coded: CodedField, size: int) -> bytes:
    """The payload of at most `size` bytes, if need be without the last blocks. Without any, if that is not enough."""

    def payload(n_blocks: int) -> bytes:
        return encode_field(name, prior, field, dataclasses.replace(coded, blocks=coded.blocks[:n_blocks]))

    whole = payload(len(coded.blocks))
    if len(whole) <= size:
        return whole
    return payload(max(bisect_right(range(len(coded.blocks)), size, key=lambda n: len(payload(n))) - 1, 0))


def decode_field(prior: FieldPrior, cursor: wire.Cursor, grid: Grid, partial: bool, version: int = VERSION) -> Patches:
    """The signal of a payload of which the prior's name was read. Raises CorruptFile."""
    layout = prior.layout
    if len(grid.shape) != layout.axes or grid.channels not in (1, layout.channels):
        raise CorruptFile(f"its prior is for signals of {layout.axes} axes and {layout.channels} channels")
    field = prior.field(patch_counts(grid.shape, layout.patch))
    if field.n_patches > MAX_PATCHES:
        raise CorruptFile(f"{field.n_patches} patches; at most {MAX_PATCHES} are possible")
    weight, fill = cursor.varint(), cursor.byte()
    if weight >= len(prior.weights) or fill == 0:
        raise CorruptFile("it is of a quality that its prior does not have")
    classes = decode_classes(prior.classes, field, cursor.take(cursor.varint()))
    count = cursor.varint() if version >= PARTED_FROM else 0
    data = cursor.take(cursor.remaining)
    if count > parted_blocks.most_parts(len(data)):
        raise CorruptFile(f"{count} blocks in {len(data)} bytes cannot be")
    scales = prior.at_each(prior.scales, weight, classes, field)

    def read_as(partial: bool) -> Float[ndarray, " latents"]:
        found, blocks = np.zeros(len(scales), np.float32), prior.blocks(weight, classes, field, fill)
        if version >= PARTED_FROM:
            _read_blocks(blocks, count, data, scales, found, partial)
        else:
            _read_indices(blocks, data, scales, found, partial)
        return found

    latents = parted_blocks.whole_or_partial(read_as, partial)
    whole = fields.combined(layout, field, latents[None], np)[0]
    return Patches(grid, layout.patch, FieldDecoder(prior, field, whole, grid.channels))


Blocks = Iterator[tuple[int, Int[ndarray, " members"]]]
"""See `FieldPrior.blocks`."""


def _read_blocks(
    blocks: Blocks, count: int, data: bytes, scales: Int[ndarray, " latents"], latents: Float[ndarray, " latents"],
    partial: bool,
) -> None:  # fmt: skip
    """Fills `latents`. With `partial`, those of blocks that are wholly there."""
    source, done = BlockReader(data, partial), 0
    for _, members in itertools.islice(blocks, count):
        block = source.take(len(members))
        if block is None:
            return
        if block != (NOTHING,):  # they are 0 as it is
            latents[members] = parted_blocks.values(block, scales[members])
        done += 1
    if done < count:
        raise CorruptFile(f"{count} blocks of a signal that has {done}")
    source.finish()


def _read_indices(
    blocks: Blocks, data: bytes, scales: Int[ndarray, " latents"], latents: Float[ndarray, " latents"], partial: bool
) -> None:
    """The same of files of older formats, whose blocks all have an index of so many bits."""
    known, again = itertools.tee(blocks)
    read = 0
    for index, (bits, members) in zip(relative_entropy.unpack(data, (bits for bits, _ in known)), again, strict=False):
        candidate = parted_blocks.candidates(index, 1, len(members))[0]
        latents[members] = relative_entropy.latents(candidate, scales[members])
        read += bits
    if not partial and 8 * len(data) - read >= 8:
        raise CorruptFile(f"{len(data)} bytes are no blocks of its quality")


# ---- classes ----


class _Counts:
    """How often each class came after each pair of what is before it along the first two axes."""

    def __init__(self, n: int):
        self._n = n
        self._seen: dict[tuple[int, int], list[int]] = {}

    def starts(self, context: tuple[int, int]) -> list[int]:
        """Of each class's interval, and the end."""
        # twice the counts of both neighbours alike, and those of all patches
        counts = self._of(context)
        every = self._of((-1, -1))
        joined = [a * 2 + b for a, b in zip(counts, every, strict=True)]
        room, total = (1 << TOTAL_BITS) - self._n, sum(joined)
        sizes = [1 + room * count // total for count in joined]
        sizes[-1] += (1 << TOTAL_BITS) - sum(sizes)
        return [0, *itertools.accumulate(sizes)]

    def add(self, context: tuple[int, int], value: int) -> None:
        for place in {context, (-1, -1)}:
            self._of(place)[value] += CLASS_WEIGHT

    def _of(self, context: tuple[int, int]) -> list[int]:
        return self._seen.setdefault(context, [1] * self._n)


def _contexts(field: Field, classes: Int[ndarray, " patches"], at: int) -> tuple[int, int]:
    """The smaller and the larger of the classes before a patch along its last two axes; n where there is none."""
    place, counts = np.unravel_index(at, field.counts), field.counts
    before = int(classes[at - 1]) if place[-1] else 0
    above = int(classes[at - counts[-1]]) if len(counts) > 1 and place[-2] else before
    return min(before, above), max(before, above)


def encode_classes(n: int, field: Field, classes: Int[ndarray, " patches"]) -> bytes:
    """The classes of all patches, of which there are `n`."""
    encoder, counts = RangeEncoder(), _Counts(n)
    for at, value in enumerate(map(int, classes)):
        context = _contexts(field, classes, at)
        starts = counts.starts(context)
        encoder.encode(starts[value], starts[value + 1] - starts[value], TOTAL_BITS)
        counts.add(context, value)
    return encoder.finish()


def decode_classes(n: int, field: Field, data: bytes) -> Int[ndarray, " patches"]:
    """The inverse. Raises CorruptFile."""
    decoder, counts = RangeDecoder(data), _Counts(n)
    classes = np.zeros(field.n_patches, np.int64)
    for at in range(field.n_patches):
        context = _contexts(field, classes, at)
        classes[at] = decoder.decode(counts.starts(context), TOTAL_BITS)
        counts.add(context, int(classes[at]))
    return classes


# ---- values ----


class FieldDecoder:
    """The patches of a signal, decoded tile by tile; those looked at last are kept."""

    def __init__(self, prior: FieldPrior, field: Field, latents: Float[ndarray, "patches latents"], channels: int):
        self._prior, self._counts, self._channels = prior, field.counts, channels
        self.latents = latents.reshape(*field.counts, -1)
        self._kept: dict[tuple[tuple[int, ...], Real], Float[ndarray, "*tile samples channels"]] = {}

    def values(self, numbers: list[int], real: Real = np.float32) -> Float[np.ndarray, "patches *patch channels"]:
        """See `CodedPatches`."""
        places = np.stack(np.unravel_index(numbers, self._counts), -1)
        tiles = [(tuple(map(int, place // TILE)), real) for place in places]
        self._kept = {tile: values for tile, values in self._kept.items() if tile in set(tiles)}
        parts = []
        for place, tile in zip(places, tiles, strict=True):
            if tile not in self._kept:
                self._kept[tile] = self._tile(*tile)
            parts.append(self._kept[tile][tuple(place % TILE)])
        layout = self._prior.layout
        found = np.stack(parts)
        if self._channels != layout.channels:
            found = found.mean(-1, keepdims=True)
        return found.reshape(len(numbers), *layout.patch, self._channels)

    def _tile(self, tile: tuple[int, ...], real: Real) -> Float[ndarray, "*tile samples channels"]:
        spans = [(i * TILE, min((i + 1) * TILE, n)) for i, n in zip(tile, self._counts, strict=True)]
        wide = [(max(a - MARGIN, 0), min(b + MARGIN, n)) for (a, b), n in zip(spans, self._counts, strict=True)]
        counts = tuple(b - a for a, b in wide)
        latents = self.latents[tuple(slice(*span) for span in wide)].reshape(1, math.prod(counts), -1)
        values = fields.evaluate(self._prior.layout, self._prior.shared, counts, latents.astype(real), np)
        inner = tuple(slice(a - first, b - first) for (a, b), (first, _) in zip(spans, wide, strict=True))
        found: Float[ndarray, "*tile samples channels"] = values.reshape(*counts, *values.shape[2:])[inner]
        return found
