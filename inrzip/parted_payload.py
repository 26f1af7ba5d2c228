"""Many patches that know nothing of each other, each of whose blocks has as many bits as it is worth, as bytes and back
(docs/format.md, "Patches of parts").
"""

from __future__ import annotations

import itertools
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
    encoder = NumberEncoder()
    for patch in coded:
        encoder.number(LEVEL, patch.level)
        encoder.number((BLOCKS, patch.level), len(patch.blocks))
    for number in range(max(len(patch.blocks) for patch in coded)):
        for patch in coded:
            if number < len(patch.blocks):
                parted_blocks.write(encoder, patch.blocks[number], int(prior.sizes[patch.level][number]))
    return encoder.finish()


def decode_parted(prior: LatentPrior, data: bytes, n: int, partial: bool) -> list[PartedPatch]:
    """The inverse, for `n` patches. Raises CorruptFile."""
    source, heads = BlockReader(data, partial), []
    for _ in range(n):
        level = source.numbers.number(LEVEL)
        if level >= len(prior.weights):
            raise CorruptFile(f"level {level} of a prior of {len(prior.weights)}")
        heads.append((level, source.numbers.number((BLOCKS, level))))
        if heads[-1][1] > len(prior.sizes[level]):
            raise CorruptFile("a patch has more blocks than its level")
    found: list[list[Block]] = [[] for _ in heads]
    last = max(count for _, count in heads)
    turns = ((i, b) for b, (i, head) in itertools.product(range(last), enumerate(heads)) if b < head[1])
    for i, number in turns:
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
