"""Many patches that know nothing of each other, each of whose blocks has as many bits as it is worth, as bytes and back
(docs/format.md, "Blocks of parts").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from inrzip.codecs import parted_blocks
from inrzip.codecs.learned_numbers import NumberEncoder
from inrzip.codecs.parted_blocks import Block, BlockReader
from inrzip.priors.latent_prior import LatentPrior

from .errors import CorruptFile

PARTED_FROM = 8
"""The format version that had blocks of parts first."""
LEVEL, BLOCKS = "level", "blocks"
"""Kinds of numbers that are told of each patch first."""


class PartedPatch(NamedTuple):
    """A coded patch: its level, and its blocks."""

    level: int
    blocks: Sequence[Block]


def encode_parted(prior: LatentPrior, coded: Sequence[PartedPatch]) -> bytes:
    """A stream: level and number of blocks of each patch; then the first block of each, the second of each, and so on:
    what is cut off at the end are the least important ones.
    """
    turns = _turns([len(patch.blocks) for patch in coded])
    told = turns[: parted_blocks.tellable([coded[i].blocks[number] for i, number in turns])]
    counts = Counter(i for i, _ in told)
    encoder = NumberEncoder()
    for i, patch in enumerate(coded):
        encoder.number(LEVEL, patch.level)
        encoder.number((BLOCKS, patch.level), counts[i])
    for i, number in told:
        parted_blocks.write(encoder, coded[i].blocks[number], int(prior.sizes[coded[i].level][number]))
    return encoder.finish()


def _turns(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Patch and number of each block, in order."""
    return [(i, b) for b in range(max(counts)) for i, count in enumerate(counts) if b < count]


def decode_parted(prior: LatentPrior, data: bytes, n: int, partial: bool) -> list[PartedPatch]:
    """The inverse, for `n` patches. Raises CorruptFile."""
    return parted_blocks.whole_or_partial(lambda partial: _decoded(prior, data, n, partial), partial)


def _decoded(prior: LatentPrior, data: bytes, n: int, partial: bool) -> list[PartedPatch]:
    source, heads = BlockReader(data, partial), []
    for _ in range(n):
        level = source.numbers.number(LEVEL)
        if level >= len(prior.weights):
            raise CorruptFile(f"level {level} of a prior of {len(prior.weights)}")
        heads.append((level, source.numbers.number((BLOCKS, level))))
        if heads[-1][1] > len(prior.sizes[level]):
            raise CorruptFile("a patch has more blocks than its level")
    found: list[list[Block]] = [[] for _ in heads]
    if sum(count for _, count in heads) > parted_blocks.most_parts(len(data)):
        raise CorruptFile(f"there are more blocks than {len(data)} bytes can tell of; get the file again")
    for i, number in _turns([count for _, count in heads]):
        block = source.take(int(prior.sizes[heads[i][0]][number]))
        if block is None:
            break
        found[i].append(block)
    else:
        source.finish()
    return [PartedPatch(level, blocks) for (level, _), blocks in zip(heads, found, strict=True)]


def latents_of_parted(prior: LatentPrior, coded: PartedPatch) -> Float[ndarray, " latents"]:
    """The latents of a coded patch: those of blocks that are not there are 0."""
    found = np.zeros(prior.layout.n_latents, np.float32)
    for members, block in zip(prior.blocks(coded.level), coded.blocks, strict=False):
        found[members] = parted_blocks.values(block, prior.scales[coded.level][members])
    return found
